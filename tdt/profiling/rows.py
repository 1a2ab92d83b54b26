"""A row of a benchmark: the samples, what follows from them, and the accuracy beside the speed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tdt.profiling.stats import Ratio, format_bytes, time_unit
from tdt.profiling.tables import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.profiling.cautions import Raised
    from tdt.profiling.stats import Summary
    from tdt.profiling.worker import Facts

JSON_VERSION = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One contender on one case.

    Parameters
    ----------
    contender : str
        Who: `tdt`, or the peer's name.
    model, provider, precision : str
        As asked for.
    batch : int
    clip_seconds : float
        Mean length of a clip.
    audio_seconds : float
        What a run transcribes.
    seconds : Summary
        Of a run; all samples are in it.
    first_seconds : float
        The first run, before any warm-up.
    tokens : int or None
        Recognised in a run; None where the contender does not tell them.
    load_seconds : float
    loaded_bytes, peak_bytes : int
        Resident size after loading, and at its largest while the case ran; of the contender's process alone.
    facts : Facts
    text : str
        Recognised in the first clip.
    agreement : float or None
        With the same model's float32 run on the CPU, 0..1; of tokens where the contender tells them, else of words.
    agreement_of : str
        `tokens` or `words`.
    word_error_rate : float or None
        Where references were given.
    cautions : tuple of Raised
    faster_than : dict
        Peer → its time over ours on the same case and precision, runs interleaved.
    """

    contender: str
    model: str
    provider: str
    precision: str
    batch: int
    clip_seconds: float
    audio_seconds: float
    seconds: Summary
    first_seconds: float
    tokens: int | None
    load_seconds: float
    loaded_bytes: int
    peak_bytes: int
    facts: Facts
    text: str
    agreement: float | None
    agreement_of: str
    word_error_rate: float | None
    cautions: tuple[Raised, ...]
    faster_than: dict[str, Ratio] = field(default_factory=dict)

    @property
    def rtfx(self) -> float:
        """Seconds of audio a second, by the median run."""
        return self.audio_seconds / self.seconds.median if self.seconds.median else 0.0

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens a second, by the median run; None where the contender does not tell its tokens."""
        if self.tokens is None or not self.seconds.median:
            return None
        return self.tokens / self.seconds.median

    @property
    def case(self) -> tuple[float, int]:
        """What rows must share to be compared: length and batch size."""
        return (round(self.clip_seconds, 2), self.batch)

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON has it."""
        plain = asdict(self)
        plain["cautions"] = [
            {"name": raised.caution.name.lower(), "seen": raised.seen, "remedy": raised.caution.value}
            for raised in self.cautions
        ]
        return {**plain, "rtfx": self.rtfx, "tokens_per_second": self.tokens_per_second}


def document(rows: Sequence[Row], environment: dict[str, Any], command: str) -> dict[str, Any]:
    """Return the whole benchmark as JSON has it."""
    head = {"schema": "tdt-bench", "version": JSON_VERSION, "command": command, "environment": environment}
    return {**head, "rows": [row.to_dict() for row in rows]}


_HEADS = (
    "contender", "model", "precision", "provider", "clip s", "batch", "median", "p95", "min", "RTFx", "tokens/s",
    "peak mem", "agreement", "WER",
)  # fmt: skip


def bench_table(rows: Sequence[Row], notes: Sequence[str] = ()) -> Table:
    """Return the table of all rows; the unit of time is that of the first row."""
    unit = time_unit(rows[0].seconds.median) if rows else time_unit(1.0)
    peers = list(dict.fromkeys(peer for row in rows for peer in row.faster_than))
    heads = tuple(f"{head} {unit.name}" if head in {"median", "p95", "min"} else head for head in _HEADS)
    cells = []
    for row in rows:
        seconds = (row.seconds.median, row.seconds.p95, row.seconds.minimum)
        cells.append(
            (
                row.contender,
                row.model,
                row.precision,
                row.provider,
                f"{row.clip_seconds:.1f}",
                str(row.batch),
                *(unit.text(value) for value in seconds),
                f"{row.rtfx:.1f}",
                "" if row.tokens_per_second is None else f"{row.tokens_per_second:.0f}",
                format_bytes(row.peak_bytes),
                ""
                if row.agreement is None
                else f"{row.agreement:.1%}" + ("" if row.agreement_of == "tokens" else " w"),
                "" if row.word_error_rate is None else f"{row.word_error_rate:.1%}",
                *(versus(row.faster_than.get(peer)) for peer in peers),
            )
        )
    return Table((*heads, *(f"vs {peer}" for peer in peers)), tuple(cells), left=4, notes=tuple(notes))


def versus(faster: Ratio | None) -> str:
    """Return how a row stands against a peer, in words that cannot be misread."""
    if faster is None:
        return ""
    if faster.value >= 1:
        return f"{faster}× faster"
    slower = Ratio(1 / faster.value, None if faster.stddev is None else faster.stddev / faster.value**2)
    return f"{slower}× SLOWER"


def gpu_table(rows: Sequence[Row]) -> Table | None:
    """Return what the card did in each row; None where no row used one."""
    cells = []
    for row in rows:
        use = row.facts.gpu
        if use is not None:
            figures = (use.sm_percent, use.memory_percent, use.sm_clock_mhz, use.power_watts)
            cells.append(
                (
                    row.contender,
                    row.model,
                    row.precision,
                    row.provider,
                    f"{row.clip_seconds:.1f}",
                    str(row.batch),
                    *("" if figure is None else f"{figure:.0f}" for figure in figures),
                    "" if use.energy_joules is None else f"{use.energy_joules:.1f}",
                    "" if use.peak_memory_bytes is None else format_bytes(use.peak_memory_bytes),
                )
            )
    heads = (*_HEADS[:6], "sm %", "mem %", "clock MHz", "power W", "energy J", "device mem")
    return Table(heads, tuple(cells), left=4) if cells else None
