"""On a real Ray cluster, three nodes of one CPU on this machine: the bytes are those of the local run.

Run by `tools/test-ray`, in an environment of its own; skipped where Ray is not installed. What mocks would hide: that a
lost node's blocks come back, that none comes twice, that reports cross machines whole, that a driver can be gone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tdt.corpus import Hardware, Settings, ShardRule, label, on_ray
from tdt.errors import ShardError

from .making import MAKERS, parts, recordings, texts

pytest.importorskip("ray")

if TYPE_CHECKING:
    from collections.abc import Iterator

# Ray's own doing, in threads and at exit.
pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.slow,
]

SETTINGS = Settings({"detail": "tokens"})
RULE = ShardRule(24)
STORE_BYTES = 100_000_000


def told(text: str) -> None:
    """Say a figure, to whoever runs pytest with -s."""
    sys.stdout.write(f"\n{text}\n")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": STORE_BYTES})
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """400 short clips and 6 recordings of more than a minute."""
    return recordings(tmp_path_factory.mktemp("corpus") / "clips", 400, 6)


@pytest.fixture(scope="module")
def inputs(clips: list[Path]) -> list[str]:
    """The same recordings in every format, the manifest first."""
    return [name for maker in MAKERS.values() for name in maker(clips)]


@pytest.fixture(scope="module")
def expected(inputs: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What this machine writes without Ray."""
    out = tmp_path_factory.mktemp("local") / "out"
    began = time.monotonic()
    summary = label(inputs, out, SETTINGS, rule=RULE, hardware=Hardware(workers=2))
    told(f"local, 2 workers: {time.monotonic() - began:.1f} s, worker seconds {summary['worker_seconds']}")
    assert (summary["items"], summary["failed"]) == (5 * 406, 0)
    assert all(line["pred_text"] for line in texts(out))
    return parts(out)


def head(inputs: list[str], shards: int) -> str:
    """Write the first lines of the manifest, which is the first input, as one of so many shards."""
    path = Path(inputs[0]).with_name(f"head-{shards}.jsonl")
    lines = Path(inputs[0]).read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: RULE.items * shards]))
    return str(path)


def first(expected: dict[str, bytes], shards: int) -> dict[str, bytes]:
    """The parts that come of them."""
    return dict(list(expected.items())[:shards])


def test_every_format_on_three_workers(
    cluster: Any, inputs: list[str], expected: dict[str, bytes], tmp_path: Path
) -> None:
    began = time.monotonic()
    hardware = Hardware(workers=3, ray=cluster.address)
    summary = label(inputs, tmp_path / "out", SETTINGS, rule=RULE, hardware=hardware)
    told(f"Ray, 3 workers: {time.monotonic() - began:.1f} s, worker seconds {summary['worker_seconds']}")
    assert parts(tmp_path / "out") == expected
    numbers = [line["number"] for line in texts(tmp_path / "out") if "number" in line]
    assert sorted(numbers) == sorted([*range(406), *range(406)]), "every item once, in the manifest and the table"


@pytest.mark.parametrize("workers", [1, 2])
def test_fewer_workers(
    workers: int, cluster: Any, inputs: list[str], expected: dict[str, bytes], tmp_path: Path
) -> None:
    hardware = Hardware(workers=workers, ray=cluster.address)
    label([head(inputs, 6)], tmp_path / "out", SETTINGS, rule=RULE, hardware=hardware)
    assert parts(tmp_path / "out") == first(expected, 6)


DRIVER = """
import sys
from tdt.corpus import Hardware, Settings, ShardRule, label
label([sys.argv[1]], sys.argv[2], Settings({"detail": "tokens"}), rule=ShardRule(24),
      hardware=Hardware(workers=2, ray=sys.argv[3]))
"""


def test_a_killed_driver(cluster: Any, inputs: list[str], expected: dict[str, bytes], tmp_path: Path) -> None:
    """What would be caught: parts that are half written, shards done again or left out when the run goes on."""
    manifest, out = head(inputs, 12), tmp_path / "out"
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, manifest, str(out), cluster.address])
    deadline = time.monotonic() + 120
    while len(list(out.glob("part-*"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    done = parts(out)
    assert 0 < len(done) < 12, "the driver was to be killed in the middle"
    hardware = Hardware(workers=2, ray=cluster.address)
    label([manifest], out, SETTINGS, rule=RULE, hardware=hardware, resume=True)
    assert parts(out) == first(expected, 12)
    entries = [json.loads(line) for line in (out / "_progress.jsonl").read_bytes().splitlines()]
    assert sorted(entry["shard"] for entry in entries if "shard" in entry) == list(range(12))


def test_transcriber_in_ray_data(cluster: Any, clips: list[Path], inputs: list[str]) -> None:
    """The class as users map it, over Ray's own reader of WebDataset, with its suffix columns."""
    import ray

    import tdt.corpus

    tars = str(clips[0].parent / "tars/shard-000.tar")
    data = ray.data.read_webdataset(tars, decoder=None).map_batches(
        tdt.corpus.Transcriber, batch_size=32, compute=ray.data.ActorPoolStrategy(size=1), num_cpus=1
    )
    found = {row["__key__"]: row for row in data.take_all()}
    assert len(found) == 102
    assert all(row["pred_text"] and row["error"] is None and "flac" not in row for row in found.values())


class Deadly(on_ray.RayWorker):
    """A worker that dies of its third shard, as one that needs more memory than there is."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        worker: Any = self._worker
        self._worker = lambda shard: os._exit(1) if shard.number == 2 else worker(shard)


def test_a_shard_that_always_kills_its_worker(
    cluster: Any, inputs: list[str], expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be caught: a run that goes on for ever, or that ends for all because of one."""
    hardware = Hardware(workers=2, ray=cluster.address)
    with monkeypatch.context() as patched:
        patched.setattr(on_ray, "RayWorker", Deadly)
        with pytest.raises(ShardError, match="number 2: The worker of shard 2 died 3 times") as caught:
            label([head(inputs, 4)], tmp_path / "out", SETTINGS, rule=RULE, hardware=hardware)
    assert caught.value.shards == [2]
    whole = first(expected, 4)
    left = parts(tmp_path / "out")
    assert left == {name: whole[name] for name in left}
    assert len(left) == 3
    label([head(inputs, 4)], tmp_path / "out", SETTINGS, rule=RULE, hardware=hardware, resume=True)
    assert parts(tmp_path / "out") == whole


def test_a_killed_node(cluster: Any, inputs: list[str], expected: dict[str, bytes], tmp_path: Path) -> None:
    """What would be caught: blocks of the lost node that never come, or come twice. Last, as a node is gone then."""
    nodes = [node for node in cluster.worker_nodes if node is not cluster.head_node]
    killed: list[Any] = []

    def kill(progress: Any) -> None:
        if progress.shards == 4:
            killed.append(nodes[0])
            cluster.remove_node(nodes[0], allow_graceful=False)

    hardware = Hardware(workers=3, ray=cluster.address)
    summary = label(inputs[:1], tmp_path / "out", SETTINGS, rule=RULE, hardware=hardware, progress=kill)
    assert killed
    assert summary["items"] == 406
    assert parts(tmp_path / "out") == first(expected, 17)
