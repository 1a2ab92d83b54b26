"""The decoder on a card against others of the same encoder output: the CPU's, and its own with half weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.cuda_arrays import fetched
from tdt.doctor.report import Check, Measured
from tdt.doctor.verdicts import distance
from tdt.errors import UnrecognizedGraphError

if TYPE_CHECKING:
    from tdt.protocols import Engine
    from tdt.recognizer import Recognizer
    from tdt.runtime import Backend
    from tdt.stages import Encoded

    Tokens = tuple[tuple[int, ...], ...]

# Least share of equal tokens: float32 sums differ in their last bits only, half weights are rounded to 11 bits.
_LEAST = {"native": 1.0, "float16": 0.98}
_NAMES = {"native": "the CPU", "float16": 'weights="float16"'}


def redecode(asr: Recognizer, backend: Backend, encoded: Encoded) -> dict[str, Tokens]:
    """Return what other decoders make of the same frames, where they were decoded on a card.

    Parameters
    ----------
    asr : Recognizer
        Whose model is meant.
    backend : Backend
        Its provider.
    encoded : Encoded
    """
    from tdt.decoding import CardEngine, NativeEngine
    from tdt.runtime import cooperative_problem, takes_stream
    from tdt.stages import Encoded

    if not takes_stream(backend) or cooperative_problem(backend.device_id):
        return {}
    try:
        native = NativeEngine(asr.files, asr.spec, weights="float32")
    except UnrecognizedGraphError:  # then the graphs decode, and there is nothing to compare
        return {}
    engines: dict[str, Engine] = {"native": native}
    engines["float16"] = CardEngine(asr.files, asr.spec, backend, weights="float16")
    host = fetched(encoded.frames)
    found = {}
    for name, engine in engines.items():
        hypotheses, _ = engine.decode(Encoded(host, encoded.lengths))
        found[name] = tuple(tuple(map(int, hypothesis.token_ids)) for hypothesis in hypotheses)
        engine.close()
    return found


def decoder_checks(measured: Measured) -> tuple[Check, ...]:
    """Judge what :func:`redecode` found."""
    checks = []
    for name, others in measured.redecoded.items():
        total = sum(map(len, others))
        wrong = sum(map(distance, measured.tokens, others))
        found = f"{total - wrong} of {total} tokens as {_NAMES[name]} gives them"
        checks.append(Check(f"decoder against {name}", 1.0 - wrong / max(total, 1) >= _LEAST[name], found))
    return tuple(checks)
