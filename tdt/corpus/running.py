"""A corpus from its inputs to the folder of its texts: what is done already is found, the rest given to the workers."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.cores import usable_cores
from tdt.corpus import summary as numbers
from tdt.corpus.files import absolute
from tdt.corpus.readers import items_of, packs_of
from tdt.corpus.rendering import schema_of
from tdt.corpus.shards import Shard, ShardRule, numbered
from tdt.corpus.writing import RunFolder
from tdt.dependencies import installed
from tdt.errors import RunFolderError, ShardError
from tdt.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tdt.corpus.summary import Progress
    from tdt.corpus.work import Report, Settings

# So many shards that fail as a whole end a run: what all of them need is gone.
MOST_FAILURES = 8
# Of the machine's memory, what the models of all workers may take, and what one takes of its files' size.
_MEMORY_SHARE, _MODEL_TIMES = 0.5, 3


@dataclass(frozen=True, slots=True)
class Hardware:
    """Where the work is done; it changes nothing that is written.

    Parameters
    ----------
    workers : int, optional
        By default one a core, or a card; fewer where their models would take more than half of the memory.
    threads : int, optional
        Inside each stage of each worker; by default the workers share the cores.
    gpus_per_worker : float, optional
        Cards of each worker, 1 by default; 0.5 lets two share one.
    ray : str, optional
        Address of a Ray cluster; this machine alone where not given.
    """

    workers: int | None = None
    threads: int | None = None
    gpus_per_worker: float | None = None
    ray: str | None = None


@dataclass(slots=True)
class Plan:
    """What an input holds, found without any audio.

    Parameters
    ----------
    identities : list of str
        Of each shard.
    items : int
        That are known before the audio is read: those of a tar are not.
    seconds : float
        Of sound, as far as the input says.
    unknown : int
        Items that do not say how long they are.
    unread : int
        Shards whose items are not known.
    """

    identities: list[str] = field(default_factory=list)
    items: int = 0
    seconds: float = 0.0
    unknown: int = 0
    unread: int = 0

    @classmethod
    def of(cls, inputs: Sequence[str], rule: ShardRule) -> Plan:
        """Read the inputs' lists through.

        Raises
        ------
        ManifestError, AudioError
            One is none, or cannot be opened.
        """
        plan = cls()
        for shard in numbered(packs_of(inputs, rule)):
            plan.identities.append(shard.pack.identity())
            plan.items += shard.pack.items or 0
            plan.seconds += shard.pack.seconds
            plan.unread += shard.pack.items is None
            plan.unknown += shard.pack.lengths.count(None) if shard.pack.lengths else shard.pack.items or 0
        return plan


def label(
    inputs: Sequence[str],
    folder: str | Path,
    settings: Settings,
    *,
    rule: ShardRule | None = None,
    hardware: Hardware | None = None,
    resume: bool = False,
    progress: Callable[[Progress], object] | None = None,
) -> dict[str, Any]:
    """Transcribe a corpus into a folder, and return the run's summary.

    Parameters
    ----------
    inputs : sequence of str
        Manifests, tars, Parquet files, folders; patterns of them.
    folder : str or Path
    settings : Settings
    rule : ShardRule, optional
    hardware : Hardware, optional
    resume : bool
        Go on where a run was stopped.
    progress : callable, optional
        Called after each shard.

    Raises
    ------
    ManifestError, AudioError
        An input is none, or cannot be opened.
    RunFolderError
        The folder holds another run, or one that was stopped, without `resume`.
    ShardError
        Some shards could not be done; the others are.
    OutputError
        The folder cannot be written; what is done stays.
    """
    rule, hardware, inputs = rule or ShardRule(), hardware or Hardware(), absolute(inputs)
    settings = _with_schema(settings, inputs, rule)
    plan = Plan.of(inputs, rule)
    with RunFolder(Path(folder), fingerprint(settings, rule), settings.format) as run:
        left = _left(run, plan, resume=resume)
        if not left and run.journal.fingerprint is not None and (there := run.summary()) and there.get("complete"):
            return there
        run.begin()
        shards = (shard for shard in numbered(packs_of(inputs, rule)) if shard.number in left)
        failures = _work(run, shards, settings, hardware, len(left), len(plan.identities), progress)
        versions = {"tdt": __version__, **installed(("onnxruntime-gpu", "onnxruntime", "numpy", "numba", "ray"))}
        summed = numbers.summary(run.journal, len(plan.identities), versions)
        run.summarise(summed)
    if failures:
        raise ShardError([number for number, _ in failures], failures[0][1])
    return summed


def _work(
    run: RunFolder,
    shards: Iterator[Shard],
    settings: Settings,
    hardware: Hardware,
    left: int,
    count: int,
    progress: Callable[[Progress], object] | None,
) -> list[tuple[int, str]]:
    """Have the shards done and commit them; return those that failed as a whole, and why."""
    began, fresh = time.monotonic(), set[int]()
    under_way: dict[int, Shard] = {}

    def taken() -> Iterator[Shard]:
        for shard in shards:
            under_way[shard.number] = replace(shard, pack=replace(shard.pack, text=b"", lengths=()))
            yield shard

    failures: list[tuple[int, str]] = []
    reports = _reports(taken(), settings, hardware, left)
    try:
        for report in reports:
            shard = under_way.pop(report.number, None)
            if shard is None:  # came twice
                continue
            if report.failure is not None:
                failures.append((report.number, str(report.failure)))
                if len(failures) >= MOST_FAILURES:
                    break
                continue
            run.commit(shard, report)
            fresh.add(report.number)
            if progress is not None:
                progress(numbers.progress(run.journal, count, fresh, time.monotonic() - began))
    finally:
        reports.close()  # type: ignore[attr-defined]  # a generator
    return sorted(failures)


def _reports(shards: Iterator[Shard], settings: Settings, hardware: Hardware, left: int) -> Iterator[Report]:
    if not left:
        yield from ()
        return
    if hardware.ray is not None:
        from tdt.corpus.on_ray import run_on_ray

        yield from run_on_ray(
            shards, settings, hardware.ray, hardware.workers, hardware.threads, hardware.gpus_per_worker
        )
        return
    from tdt.corpus.local import run_local

    workers, threads, cards = share(settings, hardware, left)
    yield from run_local(shards, settings, workers, threads, cards)


def share(settings: Settings, hardware: Hardware, shards: int) -> tuple[int, int | None, list[str]]:
    """Return workers, threads of each, and their cards, for this machine.

    On a CPU a worker with one thread a core does most: what is not a matrix product uses the others, too.
    """
    if not str(settings.options.get("provider", "cpu")).startswith("cpu"):
        cards = _cards()
        each = hardware.gpus_per_worker or 1.0
        workers = hardware.workers or max(1, int(len(cards) / each))
        per_card = max(1, round(1 / each)) if each < 1 else 1
        return min(workers, shards), hardware.threads, [card for card in cards for _ in range(per_card)]
    cores = usable_cores()
    workers = hardware.workers or min(max(1, cores // (hardware.threads or 1)), _models_in_memory(settings))
    workers = min(workers, shards)
    return workers, hardware.threads or max(1, cores // workers), []


def _cards() -> list[str]:
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if seen is not None:
        return [card for card in seen.split(",") if card]
    from tdt.runtime import read_driver

    return [str(number) for number in range(max(1, len(read_driver().cards)))]


def _models_in_memory(settings: Settings) -> int:
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        memory = 4 << 30
    files = [file for file in _model_files(settings)[0].folder.iterdir() if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    return max(1, int(_MEMORY_SHARE * memory / max(1, _MODEL_TIMES * size)))


def _model_files(settings: Settings) -> Any:
    from tdt.model import find_model

    return find_model(settings.options.get("model"), precision=settings.options.get("precision"))


def fingerprint(settings: Settings, rule: ShardRule) -> dict[str, Any]:
    """Return all that decides what is written, apart from the input."""
    import hashlib

    from tdt.runtime import model_key

    files, spec = _model_files(settings)
    graphs = [file for file in (files.encoder, files.decoder_joint, files.decoder, files.joiner) if file is not None]
    marks = [model_key.model_key(graph) for graph in graphs] + [
        hashlib.sha256(files.vocabulary.read_bytes()).hexdigest()
    ]
    options = {name: value for name, value in settings.options.items() if value is not None and name != "model"}
    if "provider" in options:
        options["provider"] = str(options["provider"]).replace(":0", "", 1)
    return {
        "tdt": __version__,
        "model": spec.name,
        "model_hash": hashlib.sha256("".join(marks).encode()).hexdigest()[:16],
        "format": settings.format,
        "shard_items": rule.items,
        "shard_seconds": rule.seconds,
        **({"column": settings.column} if settings.column else {}),
        **({"schema": settings.schema} if settings.schema else {}),
        **options,
    }


def _with_schema(settings: Settings, inputs: Sequence[str], rule: ShardRule) -> Settings:
    """Return the settings with the columns of Parquet output: those of the first line that is one."""
    if settings.format != "parquet":
        return settings
    lines = chain.from_iterable(items_of(pack, settings.column) for pack in packs_of(inputs, rule))
    first = next((item.line for item in lines if item.problem is None), {})
    return replace(settings, schema=schema_of(first))


def _left(run: RunFolder, plan: Plan, *, resume: bool) -> set[int]:
    """Return the shards that are not done.

    Raises
    ------
    RunFolderError
        The input is not what the done ones were made of, or a run was stopped and is not to be resumed.
    """
    done = run.journal.done
    for number, entry in sorted(done.items()):
        known = plan.identities[number] if number < len(plan.identities) else "nothing"
        if known != entry.id:
            problem = f"{entry.file} was made of another input than shard {number} of this one; take another folder"
            raise RunFolderError(str(run.path), problem)
    left = set(range(len(plan.identities))) - set(done)
    if left and run.journal.fingerprint is not None and not resume:
        problem = f"a run was stopped there, with {len(done)} of {len(plan.identities)} shards done; --resume goes on"
        raise RunFolderError(str(run.path), problem)
    return left
