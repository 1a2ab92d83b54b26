"""What depends on the machine and the process: instruction sets compiled for, the compile cache, shared utterances."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tdt.decoding import cores, helpers, native
from tdt.model.finding import find_model
from tdt.stages import Encoded

from .. import tiny_models
from .test_native_engine import same

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import json, sys
import numpy as np
from tdt.kernels.decoder import lockstep
from tdt.model.finding import find_model
from tdt.decoding.native import NativeEngine
from tdt.stages import Encoded
model = find_model()
clip = np.load(sys.argv[1])["encoder_out"].T[None]
found = []
for weights in ("float32", "int8"):
    for screening in (False, True):
        engine = NativeEngine(*model, weights=weights, screening=screening)
        found.append(engine.decode(Encoded(clip, np.array([clip.shape[1]])))[0][0].token_ids.tolist())
stats = lockstep.run.stats
print(json.dumps([engine.isa, found, sum(stats.cache_hits.values()), sum(stats.cache_misses.values())]))
"""


def run(clip: Path, cache: Path, **environment: str) -> Any:
    import json

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(clip)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "isa"),
    [
        ({}, None),
        ({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+avx,+fma,+sse2,+ssse3,+sse4.1,+64bit"}, "avx2"),
        ({"NUMBA_CPU_NAME": "generic"}, "portable"),
    ],
    ids=["this machine", "AVX2 only", "portable"],
)
def test_machines_of_all_kinds_and_the_second_start(
    tmp_path: Path, golden_folder: Path, goldens: dict[str, Any], environment: dict[str, str], isa: str | None
) -> None:
    """Compiled for another machine, the answer is the same; a second process finds the code compiled."""
    from llvmlite import binding

    if isa == "avx2" and not binding.get_host_cpu_features().get("avx2"):
        pytest.skip("this machine cannot run AVX2 code")
    clip = golden_folder / "01_hibari-heart.npz"
    first = run(clip, tmp_path, **environment)
    assert isa is None or first[0] == isa
    assert first[2:] == [0, 1]
    expected = goldens["01_hibari-heart"]["token_ids"]
    assert first[1] == [expected] * 4
    if isa is None:
        assert run(clip, tmp_path, **environment) == [*first[:2], 1, 0]


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("batch", [1, 2, 9])
@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_what_threads_share_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: Any, batch: int, window: int
) -> None:
    shape = tiny_models.Shape(layers=2, vocab=3000, hidden=160, joint=160, blank_bias=2.0)
    files, spec = find_model(tiny_models.write(tmp_path, shape))
    frames = np.random.default_rng(2).standard_normal((batch, 40, spec.encoder_dim)).astype(np.float32)
    encoded = Encoded(frames, 40 - 3 * np.arange(batch))
    options: Any = {"weights": weights, "screening": True, "window": window}
    alone, _ = native.NativeEngine(files, spec, threads=1, **options).decode(encoded)
    monkeypatch.setattr(helpers, "_SHARED_BYTES", 0)
    for threads in (2, 4, 9):
        engine = native.NativeEngine(files, spec, threads=threads, **options)
        for _ in range(10):
            together, _ = engine.decode(encoded)
            assert all(same(*pair) for pair in zip(together, alone, strict=True))
        engine.close()
    assert len(alone[0]) > 10


@pytest.mark.parametrize(
    ("batch", "threads", "idle", "expected"),
    [
        (1, 1, 8, (1, 0)),
        (5, 1, 8, (1, 0)),
        (1, 2, 1, (1, 1)),
        (7, 2, 1, (1, 1)),
        (7, 2, 0, (1, 1)),  # whether the second core is really taken is found out by measuring
        (7, 16, -4, (1, 3)),
        (1, 16, 15, (1, 3)),
        (64, 16, 15, (4, 3)),
        (3, 16, 15, (3, 3)),
        (64, 6, 8, (2, 2)),
    ],
)
def test_how_threads_are_put_to_work(batch: int, threads: int, idle: int, expected: tuple[int, int]) -> None:
    assert cores.teams_for(batch, threads, idle, most=4, helped=True) == expected
    assert cores.teams_for(batch, threads, idle, most=4, helped=False) == (expected[0], 0)
