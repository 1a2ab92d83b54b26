"""What quantising each group of layers alone does to the encoder's output and to the tokens."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from tdt.errors import OptionError
from tdt.profiling import edit_distance
from tdt.quantization.calibration import Progress, silent
from tdt.quantization.pipeline import Calibrated, quantise_layers
from tdt.quantization.switchable import SwitchableEncoder
from tdt.runtime import Backend

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tdt.protocols import Engine
    from tdt.quantization.recipe import Recipe
    from tdt.quantization.writer import QuantisedLinear
    from tdt.stages import Features, Float32

Level = Literal["part", "layer", "layer-part", "matrix"]
LEVELS: tuple[Level, ...] = get_args(Level)
DEFAULT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Damage:
    """What one selection of 8-bit layers does.

    Parameters
    ----------
    error : float
        ``|y - y0| / |y0|`` of the encoder output over all frames.
    worst_cosine : float
        Smallest cosine between a frame and its float32 counterpart.
    tokens_changed : float
        Edit distance between the token sequences, as a share of the float32 tokens; 0 where there are none.
    """

    error: float
    worst_cosine: float
    tokens_changed: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """A group of layers with the damage it does alone."""

    name: str
    part: str
    matrices: int
    weights: int
    damage: Damage

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


class Bench:
    """Measures the damage of any selection of groups on fixed clips.

    Parameters
    ----------
    calibrated : Calibrated
        The encoder and its statistics.
    recipe : Recipe
        How layers are quantised.
    level : str
        How layers are grouped.
    seconds : float
        Audio to measure on, taken from the calibration set.
    provider : str
        Where the encoder runs.
    threads : int, optional
        Threads inside an operator.
    """

    def __init__(
        self,
        calibrated: Calibrated,
        recipe: Recipe,
        level: Level = "layer-part",
        seconds: float = DEFAULT_SECONDS,
        provider: str = "cpu",
        threads: int | None = None,
    ) -> None:
        from tdt.encoding import FeatureExtractor
        from tdt.loading import make_engine
        from tdt.timeline import NULL

        if level not in LEVELS:
            raise OptionError("level", level, f"one of {', '.join(LEVELS)}")
        source, backend = calibrated.source, Backend.parse(provider)
        layers, _ = quantise_layers(calibrated, calibrated.linears, recipe)
        self.groups = group(layers, level)
        self.encoder = SwitchableEncoder(calibrated, self.groups, backend, threads)
        files = source.found.files
        self.engine: Engine = make_engine(files, source.spec, "auto", "auto", Backend(), threads, NULL)
        extract = FeatureExtractor(source.spec.n_mels, normalize=source.spec.normalize)
        self.features: list[Features] = [extract([piece]) for piece in _pieces(calibrated, seconds)]
        self.reference: list[Float32] = [self.encoder.run(item, ()) for item in self.features]
        self.reference_tokens = [self._tokens(frames) for frames in self.reference]

    def damage(self, quantised: Collection[str]) -> Damage:
        """Return what the groups in `quantised` do together."""
        wrong = right = 0.0
        worst, edits = 1.0, 0
        for features, exact, tokens in zip(self.features, self.reference, self.reference_tokens, strict=True):
            frames = self.encoder.run(features, quantised)
            wrong += float(np.square(frames - exact).sum())
            right += float(np.square(exact).sum())
            worst = min(worst, float(frame_cosines(frames, exact).min(initial=1.0)))
            edits += edit_distance(tokens, self._tokens(frames))
        count = sum(len(tokens) for tokens in self.reference_tokens)
        return Damage(float(np.sqrt(wrong / max(right, 1e-30))), worst, edits / count if count else 0.0)

    def close(self) -> None:
        """Release the sessions."""
        self.encoder.close()
        self.engine.close()

    def _tokens(self, frames: Float32) -> list[int]:
        from tdt.stages import Encoded

        time_major = np.ascontiguousarray(frames.transpose(0, 2, 1))
        encoded = Encoded(time_major, np.full(len(frames), time_major.shape[1], np.int64))
        hypotheses, _ = self.engine.decode(encoded)
        return [int(token) for token in hypotheses[0].token_ids]


def rank(bench: Bench, progress: Progress = silent) -> list[Ranked]:
    """Measure each group alone; the most harmful comes first."""
    ranked = []
    for done, (name, layers) in enumerate(bench.groups.items()):
        progress("measuring layers", done, len(bench.groups))
        parts = sorted({layer.linear.part for layer in layers})
        weights = sum(layer.weight.values.size for layer in layers)
        ranked.append(Ranked(name, "+".join(parts), len(layers), weights, bench.damage([name])))
    progress("measuring layers", len(bench.groups), len(bench.groups))
    return sorted(ranked, key=lambda item: -item.damage.error)


def group(layers: Sequence[QuantisedLinear], level: Level) -> dict[str, list[QuantisedLinear]]:
    """Group layers by part, by conformer layer, by both, or each by itself."""
    groups: dict[str, list[QuantisedLinear]] = {}
    for layer in layers:
        linear = layer.linear
        number = "outside layers" if linear.layer is None else f"layer {linear.layer}"
        name = {
            "part": linear.part,
            "layer": number,
            "layer-part": f"{number} {linear.part}",
            "matrix": linear.name,
        }[level]
        groups.setdefault(name, []).append(layer)
    return groups


def frame_cosines(left: Float32, right: Float32) -> Float32:
    """Return the cosine of each frame of two encoder outputs ``[B, D, T']``."""
    dots = np.sum(left * right, axis=1, dtype=np.float64)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.asarray(dots / np.maximum(norms, 1e-30), np.float32).ravel()


def _pieces(calibrated: Calibrated, seconds: float) -> list[Float32]:
    """Return pieces spread over the calibration set, `seconds` in all."""
    pieces = [piece for clip in calibrated.audio.clips for piece in clip.pieces()]
    order = np.random.default_rng(0).permutation(len(pieces))
    chosen: list[Float32] = []
    for index in order:
        if sum(map(len, chosen)) >= seconds * 16000:
            break
        chosen.append(pieces[int(index)])
    return chosen
