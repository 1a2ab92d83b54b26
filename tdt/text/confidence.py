"""How sure the model was of tokens and words, by NeMo's measures, with or without blanks and durations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from tdt.checks import instance, one_of
from tdt.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tdt.spec import ModelSpec
    from tdt.stages import Hypothesis

Method = Literal["entropy", "max_prob"]
Aggregation = Literal["min", "mean", "max", "prod"]
CONFIDENCES: tuple[str, ...] = get_args(Method)
AGGREGATIONS: tuple[str, ...] = get_args(Aggregation)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


_AGGREGATE: dict[str, Callable[[Sequence[float]], float]] = {"min": min, "mean": _mean, "max": max, "prod": math.prod}


@dataclass(frozen=True, slots=True)
class Confidence:
    """How confidences are made of what the decoder computed; NeMo's `confidence_cfg`.

    Parameters
    ----------
    method : {"entropy", "max_prob"}
        Measure of one step: "entropy" is NeMo's default (Tsallis, alpha 0.33, exponential normalisation); "max_prob" is
        the probability of the best, stretched so that a uniform guess is 0 (alpha 1). Both are of the distribution that
        the model itself gives: with phrases, a language model or a mask, of the token that would have been emitted
        without.
    aggregation : {"min", "mean", "max", "prod"}
        What makes one number of several: of the tokens of a word, and of whatever else counts.
    exclude_blank : bool
        Whether blanks do not count. They belong to the token before them; those before the first token to none.
    include_duration : bool
        Whether the duration of a step counts beside its token. As in NeMo its measure is that of a choice among all
        tokens and the blank, although there are only a few durations: even a uniform one is far above 0.

    Raises
    ------
    OptionError
        Where one of them has another value.

    Notes
    -----
    Source: NeMo `asr_confidence_utils.py`, `rnnt_decoding.py: compute_confidence`,
    `tdt_label_looping.py: _get_step_confidence`. Blanks and durations need an engine that writes them down, the native
    one, and greedy decoding.

    Examples
    --------
    >>> import tdt
    >>> tdt.Confidence("max_prob", "mean").needs_steps
    False
    """

    method: Method = "entropy"
    aggregation: Aggregation = "min"
    exclude_blank: bool = True
    include_duration: bool = False

    def __post_init__(self) -> None:
        one_of("method", self.method, CONFIDENCES)
        one_of("aggregation", self.aggregation, AGGREGATIONS)
        for name in ("exclude_blank", "include_duration"):
            instance(name, getattr(self, name), bool, "True or False")

    @property
    def needs_steps(self) -> bool:
        """Whether more than the tokens' own measures is needed: blanks, or durations."""
        return self.include_duration or not self.exclude_blank

    def of_tokens(self, hypothesis: Hypothesis, spec: ModelSpec) -> list[float]:
        """Return each token's confidence in 0..1.

        Raises
        ------
        OptionError
            For a hypothesis that lacks what is to be counted.
        """
        size = spec.blank_id + 1
        logprobs = hypothesis.logprobs if hypothesis.top_logprobs is None else hypothesis.top_logprobs
        values = self._measured(logprobs, hypothesis.entropy_confidences, size)
        if not self.needs_steps or not values:
            return values
        steps = hypothesis.steps
        if steps is None:
            raise OptionError("confidence", self, "one of tokens alone, as this hypothesis carries no steps")
        if self.include_duration:
            values = self._paired(values, steps.durations, size)
        if self.exclude_blank:
            return values
        blanks = self._measured(steps.blanks[:, 0], steps.blanks[:, 1], size)
        if self.include_duration:
            blanks = self._paired(blanks, steps.blanks[:, 2:], size)
        groups = [[value] for value in values]
        for owner, blank in zip(steps.owners(hypothesis.frames).tolist(), blanks, strict=True):
            if owner:
                groups[owner - 1].append(blank)
        return [self.of_word(group) for group in groups]

    def of_word(self, tokens: Sequence[float]) -> float:
        """Return the confidence of a word whose tokens have these."""
        return _AGGREGATE[self.aggregation](tokens)

    def _measured(self, logprobs: Any, entropies: Any, size: int) -> list[float]:
        """Return the measure of each of several steps, within 0 and 1."""
        if self.method == "max_prob":
            return [_unit((math.exp(logprob) * size - 1) / (size - 1)) for logprob in logprobs.tolist()]
        if entropies is None:
            raise OptionError("confidence", self, "'max_prob', as this hypothesis carries no entropy_confidences")
        return [_unit(entropy) for entropy in entropies.tolist()]

    def _paired(self, tokens: Sequence[float], durations: Any, size: int) -> list[float]:
        """Return the aggregate of each step's token or blank with its duration, whose measures are [N, 2]."""
        measured = self._measured(durations[:, 0], durations[:, 1], size)
        return [self.of_word(pair) for pair in zip(tokens, measured, strict=True)]


ConfidenceLike: TypeAlias = Confidence | str
_EXPECTED = (
    f"one of {', '.join(CONFIDENCES)}, perhaps followed by commas and {', '.join(AGGREGATIONS)}, blanks, durations; "
    "or a tdt.Confidence"
)


def confidence_of(given: object) -> Confidence:
    """Return a confidence as it is, or what a text says: "max_prob", or "max_prob,mean,blanks,durations".

    The method comes first; what is not said is as NeMo has it by default.

    Raises
    ------
    OptionError
        Where it is neither.
    """
    if isinstance(given, Confidence):
        return given
    method, *words = given.split(",") if isinstance(given, str) else [""]
    aggregations = [word for word in words if word in AGGREGATIONS]
    known = len(aggregations) <= 1 and len(set(words)) == len(words)
    if method not in CONFIDENCES or not known or not {*words} <= {*AGGREGATIONS, "blanks", "durations"}:
        raise OptionError("confidence", given, _EXPECTED)
    aggregation: Any = aggregations[0] if aggregations else "min"
    return Confidence(method, aggregation, "blanks" not in words, "durations" in words)  # type: ignore[arg-type]


def _unit(value: float) -> float:
    return min(max(float(value), 0.0), 1.0)
