"""Shards on a Ray cluster, by Ray Data: it places the workers, and does again what a lost node had under way.

A shard is a block of one row. Reports come back to the driver, which alone writes: no disk is shared but for the audio.
A shard whose workers die each time is given up after as many as in a run without Ray, and costs no other its own.
"""

from __future__ import annotations

import logging
import pickle
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from tdt.corpus.local import ATTEMPTS
from tdt.corpus.work import Report, Settings, Worker
from tdt.dependencies import extra
from tdt.errors import ClusterError, TdtError, WorkerDiedError
from tdt.failures import outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tdt.corpus.shards import Shard


class Attempts:
    """Counts how often a shard has been begun and not ended: an actor beside the driver.

    Ray's own count of retries would be used up by a node that is gone before the cluster has noticed.
    """

    def __init__(self) -> None:
        self._begun: Counter[int] = Counter()

    def begin(self, number: int) -> int:
        """Take note that a worker begins a shard; return how often one has by now."""
        self._begun[number] += 1
        return self._begun[number]

    def end(self, number: int) -> None:
        """Take note that the worker lives on."""
        self._begun.pop(number, None)


class RayWorker:
    """A worker as Ray Data calls one: a batch of shards in, their reports out.

    Parameters
    ----------
    settings : Settings
    threads : int, optional
    attempts : actor
        An :class:`Attempts`.
    """

    def __init__(self, settings: Settings, threads: int | None, attempts: Any) -> None:
        self._worker: Callable[[Shard], Report] | TdtError = outcome(lambda: Worker(settings, threads), "the model")
        self._attempts = attempts

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Do the shards of a batch; a model that could not be loaded fails each of them."""
        return {"report": [packed(self._report(unpacked(shard))) for shard in batch["shard"]]}

    def _report(self, shard: Shard) -> Report:
        if isinstance(self._worker, TdtError):
            return Report(shard.number, shard.pack.identity(), failure=self._worker)
        if _ray().get(self._attempts.begin.remote(shard.number)) > ATTEMPTS:
            died = WorkerDiedError(shard.number, ATTEMPTS, "Ray's logs say how")
            return Report(shard.number, shard.pack.identity(), failure=died)
        report = self._worker(shard)
        self._attempts.end.remote(shard.number)
        return report


def run_on_ray(
    shards: Iterable[Shard],
    settings: Settings,
    address: str,
    workers: int | None,
    threads: int | None,
    gpus_per_worker: float | None = None,
) -> Iterator[Report]:
    """Yield the reports of shards, in the order in which they end.

    Parameters
    ----------
    shards : iterable of Shard
    settings : Settings
    address : str
        Of a cluster; "auto" for the one that runs here; "local" starts one on this machine.
    workers : int, optional
        Actors; by default as many as the cluster has room for.
    threads : int, optional
        Cores of each, and threads inside each stage: 1 by default.
    gpus_per_worker : float, optional
        Cards of each, perhaps a part of one.

    Raises
    ------
    ClusterError
        The cluster is gone.
    MissingDependencyError
    """
    ray = _ray()
    for name in ("ray", "ray.data"):  # what it says at each step is in its dashboard and logs, too
        logging.getLogger(name).setLevel(logging.WARNING)
    if not ray.is_initialized():
        ray.init(address=None if address == "local" else address, log_to_driver=False)
    threads = threads or 1
    rows = [{"shard": packed(shard)} for shard in shards]
    workers = workers or _room(ray, threads, gpus_per_worker, len(rows))
    data = ray.data.from_items(rows, override_num_blocks=len(rows))
    del rows
    try:
        attempts = _beside_the_driver(ray, Attempts)
        for row in _mapped(ray, data, (settings, threads, attempts), workers, threads, gpus_per_worker or 0):
            yield unpacked(row["report"])
    except ray.exceptions.RayError as error:
        raise ClusterError(f"{type(error).__name__}: {str(error).splitlines()[-1:]}") from error


def _mapped(ray: Any, data: Any, given: tuple[Any, ...], workers: int, cpus: int, gpus: float) -> Iterator[Any]:
    """Return the rows that workers make of shards; one that dies is replaced, and its shard done again."""
    done = data.map_batches(
        RayWorker,
        fn_constructor_args=given,
        batch_size=1,
        # One at a time: the last shards are for whoever is free.
        compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
        num_cpus=cpus,
        num_gpus=gpus,
    )
    done.context.enable_progress_bars = False
    found: Iterator[Any] = iter(done.iter_rows())
    return found


def _beside_the_driver(ray: Any, kind: type) -> Any:
    """Return an actor on the driver's node, which nothing outlives."""
    here = ray.get_runtime_context().get_node_id()
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=strategy)(kind).remote()


def _room(ray: Any, threads: int, gpus_per_worker: float | None, shards: int) -> int:
    """Return how many workers a cluster has room for."""
    there = ray.cluster_resources()
    rooms = [there.get("CPU", 1) // threads]
    if gpus_per_worker:
        rooms.append(there.get("GPU", 0) // gpus_per_worker)
    return max(1, min(shards, *map(int, rooms)))


def packed(value: Any) -> bytes:
    """Return a shard or a report as bytes; a million lines of a manifest are some tens of megabytes."""
    return zlib.compress(pickle.dumps(value, protocol=5), 1)


def unpacked(data: bytes) -> Any:
    """Return what was packed."""
    return pickle.loads(zlib.decompress(data))  # noqa: S301  our own, on its way through the cluster


def _ray() -> Any:
    with extra("ray", "--ray", "pip install 'parakeet-tdt[ray]'"):
        import ray
        import ray.data
        import ray.util.scheduling_strategies
    return ray
