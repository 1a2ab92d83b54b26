"""Runs a benchmark: a process a contender, all of them in turn on the same clips, rows with accuracy and cautions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from tdt.errors import MeasurementError
from tdt.profiling.cases import words
from tdt.profiling.cautions import Observation, cautions
from tdt.profiling.rows import Row
from tdt.profiling.sampling import Budget, Samples, measure
from tdt.profiling.stats import agreement, edit_distance, ratio, summarize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from tdt.profiling.cases import Case
    from tdt.profiling.worker import Answer, Clips, Contender, Facts


@dataclass(frozen=True, slots=True)
class Entry:
    """One contender of a benchmark, and how its rows are labelled.

    Parameters
    ----------
    contender : Contender
    who, model, provider, precision : str
        Columns of its rows; `tdt` is us, any other name a peer.
    measured : bool
        False for one that only gives the answers which others are compared with.
    """

    contender: Contender
    who: str
    model: str
    provider: str
    precision: str
    measured: bool = True

    @property
    def label(self) -> str:
        """Return the entry in a few words."""
        return f"{self.who} {self.model} {self.precision} {self.provider}"


class Runner(Protocol):
    """What :class:`tdt.profiling.worker.Worker` does."""

    def load(self) -> tuple[float, int]: ...  # noqa: D102
    def set_case(self, clips: Clips, batch: int) -> None: ...  # noqa: D102
    def run(self) -> float: ...  # noqa: D102
    def peak_bytes(self) -> int: ...  # noqa: D102
    def answers(self) -> list[Answer]: ...  # noqa: D102
    def facts(self) -> Facts: ...  # noqa: D102


@dataclass(slots=True)
class _Loaded:
    """An entry that runs."""

    entry: Entry
    runner: Runner
    load_seconds: float
    loaded_bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rows, and entries that failed with the reason."""

    rows: list[Row]
    failed: list[tuple[Entry, str]]


def run_bench(
    entries: Sequence[Entry],
    cases: Sequence[Case],
    budget: Budget,
    *,
    open_runner: Callable[[str, Contender], AbstractContextManager[Runner]],
    note: Callable[[str], None] = lambda _: None,
    keep: Callable[[list[Row]], None] = lambda _: None,
) -> Outcome:
    """Measure every entry on every case.

    Entries of one model run in turn within a case. One that fails is noted and left out; the others go on.

    Parameters
    ----------
    entries : sequence of Entry
    cases : sequence of Case
    budget : Budget
    open_runner : callable
        Starts a contender: :class:`tdt.profiling.worker.Worker`.
    note : callable
        Gets a line for the reader when something begins or fails.
    keep : callable
        Gets all rows so far after each case, to be saved.
    """
    outcome = Outcome([], [])
    for model in dict.fromkeys(entry.model for entry in entries):
        loaded, closers = [], []
        try:
            for entry in (entry for entry in entries if entry.model == model):
                note(f"loading {entry.label}")
                try:
                    opened = open_runner(entry.label, entry.contender)
                    runner = opened.__enter__()
                    closers.append(opened)
                    loaded.append(_Loaded(entry, runner, *runner.load()))
                except MeasurementError as error:
                    _fail(outcome, entry, error, note)
            for case in cases if loaded else ():
                note(f"measuring {model}: {case.clip_seconds:.1f} s × {case.batch}, {len(loaded)} contenders in turn")
                outcome.rows.extend(
                    _measure_case(loaded, case, budget, lambda entry, error: _fail(outcome, entry, error, note))
                )
                keep(outcome.rows)
        finally:
            for opened in closers:
                opened.__exit__(None, None, None)
    return outcome


def _fail(outcome: Outcome, entry: Entry, error: MeasurementError, note: Callable[[str], None]) -> None:
    outcome.failed.append((entry, str(error)))
    note(str(error))


def _measure_case(
    loaded: list[_Loaded], case: Case, budget: Budget, fail: Callable[[Entry, MeasurementError], None]
) -> list[Row]:
    """Return the rows of one case; a contender that fails on its first run of it loses this case only."""
    clips = [clip.samples for clip in case.clips]
    ready, firsts = [], []
    for one in loaded:
        try:
            one.runner.set_case(clips, case.batch)
            firsts.append(one.runner.run())
            ready.append(one)
        except MeasurementError as error:
            fail(one.entry, error)
    base = next((one.runner.answers() for one in ready if _is_base(one.entry)), None)
    timed = [(one, first) for one, first in zip(ready, firsts, strict=True) if one.entry.measured]
    samples = measure([one.runner.run for one, _ in timed], [first for _, first in timed], budget)
    rows = []
    for (one, _), taken in zip(timed, samples, strict=True):
        peak, answers = one.runner.peak_bytes(), one.runner.answers()
        row = _row(one, case, taken, answers, peak)
        rate = word_error_rate(case.references, answers)
        rows.append(replace(row, agreement=_agreement(row, answers, base), word_error_rate=rate))
    return _compared(rows)


def _is_base(entry: Entry) -> bool:
    """Tell whether this is the run that accuracy is measured against."""
    return (entry.who, entry.provider, entry.precision) == ("tdt", "cpu", "float32")


def _row(one: _Loaded, case: Case, taken: Samples, answers: list[Answer], peak_bytes: int) -> Row:
    facts, entry, seconds = one.runner.facts(), one.entry, summarize(taken.timed)
    known = [answer.token_ids for answer in answers if answer.token_ids is not None]
    tokens = sum(map(len, known)) if len(known) == len(answers) else None
    seen = Observation(
        seconds=seconds,
        first_seconds=taken.first,
        asked=entry.provider.split(":", 1)[0].split(",", 1)[0],
        active=facts.active,
        compiled_ms=sum(facts.compiled_ms[-len(taken.timed) :]),
        profile=facts.profile,
        gpu=facts.gpu,
        placement=facts.placement,
    )
    return Row(
        contender=entry.who,
        model=entry.model,
        provider=entry.provider,
        precision=entry.precision,
        batch=case.batch,
        clip_seconds=case.clip_seconds,
        audio_seconds=case.audio_seconds,
        seconds=seconds,
        first_seconds=taken.first,
        tokens=tokens,
        load_seconds=one.load_seconds,
        loaded_bytes=one.loaded_bytes,
        peak_bytes=peak_bytes,
        facts=facts,
        text=answers[0].text if answers else "",
        agreement=None,
        agreement_of="words" if tokens is None else "tokens",
        word_error_rate=None,
        cautions=tuple(cautions(seen)),
    )


def _agreement(row: Row, answers: list[Answer], base: list[Answer] | None) -> float | None:
    if base is None:
        return None
    if row.agreement_of == "tokens":
        return agreement([a.token_ids or () for a in answers], [b.token_ids or () for b in base])
    return agreement([words(a.text) for a in answers], [words(b.text) for b in base])


def word_error_rate(references: Sequence[str] | None, answers: Iterable[Answer]) -> float | None:
    """Return edits of words over words said, all clips together; None without references."""
    if references is None:
        return None
    said = [words(reference) for reference in references]
    edits = sum(edit_distance(words(answer.text), one) for answer, one in zip(answers, said, strict=True))
    return edits / max(1, sum(map(len, said)))


def _compared(rows: list[Row]) -> list[Row]:
    """Give our rows their ratio to each peer on the same case and precision."""
    peers = [row for row in rows if row.contender != "tdt"]
    return [
        row
        if row.contender != "tdt"
        else replace(
            row,
            faster_than={
                peer.contender: ratio(peer.seconds, row.seconds)
                for peer in peers
                if (peer.precision, peer.provider) == (row.precision, row.provider)
            },
        )
        for row in rows
    ]
