"""What only a card can show of the features: the kernels' numbers, streams, sharing and memory there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tdt.audio.loading import load_audio
from tdt.encoding.features import FeatureExtractor
from tdt.kernels.logmel import filterbank

from .. import array_logmel

pytestmark = pytest.mark.gpu

COUNTS = (80000, 160, 16077, 479999, 5321)
# The logarithm of near-empty bins amplifies the rounding of two different FFTs.
CLOSE = {"atol": 5e-4, "rtol": 1e-4}


@pytest.fixture
def cupy() -> Any:
    module = pytest.importorskip("cupy", reason="needs CuPy and an NVIDIA card")
    try:
        count = module.cuda.runtime.getDeviceCount()
    except module.cuda.runtime.CUDARuntimeError as error:
        pytest.skip(f"needs an NVIDIA card: {error}")
    if count == 0:
        pytest.skip("needs an NVIDIA card")
    return module


@pytest.fixture
def clips(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.normal(0, 0.1, count).astype(np.float32) for count in COUNTS]


@pytest.mark.parametrize("edges", ["constant", "reflect"])
@pytest.mark.parametrize("n_mels", [80, 128])
def test_kernels_give_the_cpus_features(cupy: Any, clips: list[np.ndarray], edges: Any, n_mels: int) -> None:
    extractor = FeatureExtractor(n_mels, edges=edges)
    wanted, got = extractor(clips), extractor(clips, device=0)
    assert np.array_equal(got.lengths, wanted.lengths)
    np.testing.assert_allclose(cupy.asnumpy(got.frames), wanted.frames, **CLOSE)


def test_the_generic_core_gives_the_kernels_features(cupy: Any, clips: list[np.ndarray]) -> None:
    waveforms = np.zeros((len(clips), max(COUNTS)), np.float32)
    for row, clip in zip(waveforms, clips, strict=True):
        row[: len(clip)] = clip
    lengths = cupy.asarray(np.array(COUNTS, np.int64))
    window, bank = cupy.asarray(filterbank.hann_window()), cupy.asarray(filterbank.mel_filterbank(128))
    raw = array_logmel.log_mel(cupy.asarray(waveforms), lengths, window, bank, xp=cupy)
    core = array_logmel.normalize_per_feature(raw, lengths // 160, xp=cupy)
    fused = FeatureExtractor(128)(clips, device=0).frames
    np.testing.assert_allclose(cupy.asnumpy(core), cupy.asnumpy(fused), **CLOSE)


def test_a_batch_gives_the_numbers_of_single_clips(cupy: Any, clips: list[np.ndarray]) -> None:
    extractor = FeatureExtractor(128)
    together = cupy.asnumpy(extractor(clips, device=0).frames)
    for row, clip in enumerate(clips):
        alone = cupy.asnumpy(extractor([cupy.asarray(clip)]).frames)[0]
        # cuFFT may choose another plan for another batch.
        np.testing.assert_allclose(together[row, :, : alone.shape[1]], alone, **CLOSE)


def test_kernels_run_on_the_callers_stream(cupy: Any, clips: list[np.ndarray]) -> None:
    extractor = FeatureExtractor(128)
    wanted = extractor(clips).frames
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        samples = [cupy.asarray(clip) for clip in clips]
        got = extractor(samples).frames
        got = got * 1.0  # later work on the same stream sees the features
    stream.synchronize()
    np.testing.assert_allclose(cupy.asnumpy(got), wanted, **CLOSE)


def test_device_audio_is_shared(cupy: Any, clips: list[np.ndarray]) -> None:
    samples = cupy.asarray(clips[0])
    loaded = load_audio(samples).samples
    assert loaded.data.ptr == samples.data.ptr
    assert isinstance(FeatureExtractor(128)([loaded]).frames, cupy.ndarray)


def test_steady_state_allocates_nothing(cupy: Any, clips: list[np.ndarray]) -> None:
    extractor, pool = FeatureExtractor(128), cupy.get_default_memory_pool()
    samples = [cupy.asarray(clip) for clip in clips]
    extractor(samples)
    held = pool.total_bytes()
    for _ in range(100):
        extractor(samples)
    assert pool.total_bytes() == held
