"""Shards on a Ray cluster, by Ray Data: it places the workers, and does again what a lost node had under way.

A shard is a block of one row. Reports come back to the driver, which alone writes: no disk is shared but for the audio.
A shard whose workers die each time is given up after as many as in a run without Ray, and costs no other its own.
"""

from __future__ import annotations

import logging
import pickle
import zlib
from typing import TYPE_CHECKING, Any

from tdt.corpus.local import ATTEMPTS
from tdt.corpus.work import Report, Settings, Worker
from tdt.dependencies import extra
from tdt.errors import ClusterError, TdtError, WorkerDiedError
from tdt.failures import outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tdt.corpus.shards import Shard


class RayWorker:
    """A worker as Ray Data calls one: a batch of shards in, their reports out.

    Parameters
    ----------
    settings : Settings
    threads : int, optional
    """

    def __init__(self, settings: Settings, threads: int | None) -> None:
        self._worker = outcome(lambda: Worker(settings, threads), "the model")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Do the shards of a batch; a model that could not be loaded fails each of them."""
        shards = [unpacked(packed) for packed in batch["shard"]]
        worker = self._worker
        if isinstance(worker, TdtError):
            failure = worker
            reports = [Report(shard.number, shard.pack.identity(), failure=failure) for shard in shards]
        else:
            reports = [worker(shard) for shard in shards]
        return {"report": [packed(report) for report in reports]}


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
    rows: list[dict[str, bytes]] = []
    awaited: dict[int, Any] = {}
    for shard in shards:
        rows.append({"shard": packed(shard)})
        awaited[shard.number] = shard.pack.identity()
    workers = workers or _room(ray, threads, gpus_per_worker, len(rows))
    data = ray.data.from_items(rows, override_num_blocks=len(rows))
    del rows
    try:
        for row in _mapped(ray, data, (settings, threads), workers, threads, gpus_per_worker or 0):
            report = unpacked(row["report"])
            del awaited[report.number]
            yield report
    except ray.exceptions.RayError as error:
        raise ClusterError(f"{type(error).__name__}: {str(error).splitlines()[-1:]}") from error
    for number, identity in awaited.items():
        yield Report(number, identity, failure=WorkerDiedError(number, ATTEMPTS, "Ray's logs say how"))


def _mapped(ray: Any, data: Any, given: tuple[Any, ...], workers: int, cpus: int, gpus: float) -> Iterator[Any]:
    """Return the rows that workers make of shards, but for those of which they died each time."""
    done = data.map_batches(
        RayWorker,
        fn_constructor_args=given,
        batch_size=1,
        # One at a time: what waits at an actor that dies would count that as a try of its own.
        compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
        num_cpus=cpus,
        num_gpus=gpus,
        ray_remote_args_fn=lambda: {"max_restarts": -1, "max_task_retries": ATTEMPTS - 1},
    )
    done.context.enable_progress_bars = False
    done.context.max_errored_blocks = -1  # a shard that is given up ends no other
    found: Iterator[Any] = iter(done.iter_rows())
    return found


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
    return ray
