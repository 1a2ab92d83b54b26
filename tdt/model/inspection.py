"""Describe a model: its numbers, files, precisions and checks. Pure, over what :mod:`tdt.model.layouts` read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tdt.errors import ModelError
from tdt.fusion import count_scripts
from tdt.model.sidecar import SIDECAR, summary
from tdt.onnxfile import read_small, weight_forms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tdt.model.finding import FoundModel
    from tdt.onnxfile import GraphInfo, WeightForm

_KINDS = {
    "float": "float32",
    "half": "float16",
    "dynamic": "int8, dynamically quantised",
    "qdq": "int8, statically quantised (Q/DQ)",
    "weight-only": "weights quantised, computation float32",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One graph of a model.

    Parameters
    ----------
    role : str
        encoder, decoder_joint, decoder or joiner.
    file : str
        File name.
    bytes, external_bytes : int
        Size of the file, and of its weights outside it.
    quantization : {"float", "half", "dynamic", "qdq", "weight-only"}
        Told by the operators of the graph.
    inputs, outputs : tuple of str
        Ports as ``name dtype[shape]``.
    forms : tuple of WeightForm
        In what bits and blocks weights are held and activations rounded, where not in plain float32.
    """

    role: str
    file: str
    bytes: int
    external_bytes: int
    quantization: str
    opset: int
    producer: str
    nodes: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    ir_version: int
    forms: tuple[WeightForm, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """Something that was looked at; `ok` is False where the model would run, but perhaps not as expected."""

    name: str
    ok: bool
    found: str


@dataclass(frozen=True, slots=True)
class Description:
    """All that `tdt inspect` shows; field names are those of its JSON.

    Parameters
    ----------
    max_encoder_frames : int or None
        Reach of the position table; None where the graph has none.
    max_seconds : float or None
        The same in seconds of audio.
    quantization : mapping or None
        Content of the sidecar file `quantization.json`.
    scripts : mapping
        Script → pieces with letters of it, for `tdt transcribe --script`; and those without letters.
    """

    model: str
    folder: str
    layout: str
    encoder_precision: str
    decoder_precision: str
    mel_bins: int
    normalize: str
    subsampling: int
    frame_seconds: float
    encoder_dim: int
    max_encoder_frames: int | None
    max_seconds: float | None
    vocabulary: int
    scripts: Mapping[str, int]
    blank_id: int
    durations: tuple[int, ...]
    max_symbols: int
    predictor_layers: int
    predictor_hidden: int
    parts: tuple[Part, ...]
    quantization: Mapping[str, Any] | None
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return the description as plain values, for JSON."""
        return {**asdict(self), "ok": self.ok}


def describe(found: FoundModel) -> Description:
    """Return the description of a model.

    Parameters
    ----------
    found : FoundModel
        From :func:`tdt.model.finding.inspect_model`.
    """
    spec, files = found.spec, found.files
    frames = spec.max_encoder_frames
    sidecar, sidecar_check = _sidecar(found)
    return Description(
        model=spec.name,
        folder=str(files.folder),
        layout=files.layout,
        encoder_precision=files.encoder_precision,
        decoder_precision=files.decoder_precision,
        mel_bins=spec.n_mels,
        normalize=spec.normalize,
        subsampling=spec.subsampling,
        frame_seconds=spec.frame_seconds,
        encoder_dim=spec.encoder_dim,
        max_encoder_frames=frames,
        max_seconds=None if frames is None else round(frames * spec.frame_seconds, 3),
        vocabulary=len(spec.pieces),
        scripts=count_scripts(spec.pieces),
        blank_id=spec.blank_id,
        durations=spec.durations,
        max_symbols=spec.max_symbols,
        predictor_layers=spec.predictor_layers,
        predictor_hidden=spec.predictor_hidden,
        parts=tuple(_part(role, graph) for role, graph in found.graphs.items()),
        quantization=sidecar,
        checks=(*_checks(found), *sidecar_check),
    )


def _part(role: str, graph: GraphInfo) -> Part:
    def shown(ports: Sequence[Any]) -> tuple[str, ...]:
        return tuple(f"{port.name} {port.dtype}{list(port.shape) if port.shape is not None else ''}" for port in ports)

    return Part(
        role=role,
        file=graph.path.name,
        bytes=graph.file_bytes,
        external_bytes=graph.external_bytes,
        quantization=graph.quantization,
        opset=graph.opsets.get("", graph.opsets.get("ai.onnx", 0)),
        producer=graph.producer,
        nodes=sum(graph.ops.values()),
        inputs=shown(graph.inputs),
        outputs=shown(graph.outputs),
        ir_version=graph.ir_version,
        forms=weight_forms(graph),
    )


def _checks(found: FoundModel) -> list[Check]:
    """Return what can be said beyond what loading insists on."""
    spec, graphs = found.spec, found.graphs
    encoder = graphs["encoder"]
    decoder = graphs.get("decoder_joint") or graphs["decoder"]
    width = len(spec.pieces) + len(spec.durations)
    checks = [
        Check(
            "vocabulary fits joint network",
            True,
            f"{len(spec.pieces)} pieces + {len(spec.durations)} durations = {width}",
        ),
    ]
    rows = decoder.embedding_rows
    if rows is not None:
        checks.append(Check("vocabulary fits embedding", rows == len(spec.pieces), f"{rows} rows"))
    strides = encoder.time_stride
    if strides > 1:
        checks.append(Check("subsampling fits strides", strides == spec.subsampling, f"strides multiply to {strides}"))
    cell = decoder.inputs[-1]
    if cell.fixed(1) == 1:
        checks.append(Check("state batch", True, f"{cell.name!r} has a constant batch of 1; it is freed at load"))
    free = encoder.inputs[0].fixed(0) is None
    checks.append(
        Check("encoder takes batches", free, "batch is free" if free else f"batch is {encoder.inputs[0].fixed(0)}")
    )
    external = sum(graph.external_bytes for graph in graphs.values())
    if external:
        checks.append(Check("external weights", True, f"{external / 1e6:.1f} MB, whole and inside the folder"))
    return checks


def _sidecar(found: FoundModel) -> tuple[Mapping[str, Any] | None, list[Check]]:
    path = found.files.folder / SIDECAR
    if not path.exists():
        return None, []
    try:
        content = json.loads(read_small(path, 1 << 20))
    except (ModelError, ValueError, RecursionError) as error:
        return None, [Check(SIDECAR, False, f"it cannot be read: {error}")]
    if not isinstance(content, dict):
        return None, [Check(SIDECAR, False, "it holds no JSON object")]
    return content, []


def render(description: Description) -> str:
    """Return a description as text for people, ending with a line break."""
    d = description
    reach = (
        "no position table" if d.max_encoder_frames is None else f"{d.max_encoder_frames} frames = {d.max_seconds:g} s"
    )
    rows = [
        ("model", d.model),
        ("folder", d.folder),
        ("layout", d.layout),
        ("features", f"{d.mel_bins} mel bins, normalised {d.normalize.replace('_', ' ')}"),
        (
            "encoder",
            f"{d.encoder_dim} numbers a frame, subsampling {d.subsampling}, {d.frame_seconds * 1000:g} ms a frame",
        ),
        ("longest audio", f"{reach} in one piece"),
        ("vocabulary", f"{d.vocabulary} pieces with the blank, which is {d.blank_id}"),
        ("scripts", ", ".join(f"{name} {count}" for name, count in d.scripts.items())),
        ("durations", ", ".join(map(str, d.durations)) + " encoder frames"),
        ("symbols", f"at most {d.max_symbols} on a frame"),
        ("predictor", f"{d.predictor_layers} LSTM layer{'s' * (d.predictor_layers > 1)} of {d.predictor_hidden}"),
    ]
    for part in d.parts:
        size = f"{part.bytes / 1e6:.1f} MB" + (f" + {part.external_bytes / 1e6:.1f} MB" if part.external_bytes else "")
        rows.append(
            (part.role, f"{part.file}, {size}, {_KINDS[part.quantization]}, opset {part.opset}, {part.nodes} nodes")
        )
        rows += [(f"{part.role}: weights", str(form)) for form in part.forms]
    if d.quantization is not None:
        plain = [(key, _value(value)) for key, value in d.quantization.items()]
        rows += [(f"quantised: {key}", value) for key, value in summary(d.quantization) or plain]
    rows += [(f"{'ok' if check.ok else 'CHECK'}: {check.name}", check.found) for check in d.checks]
    width = max(len(name) for name, _ in rows)
    return "".join(f"{name:<{width}}  {value}\n" for name, value in rows)


def _value(value: object) -> str:
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= 200 else shown[:197] + "..."
