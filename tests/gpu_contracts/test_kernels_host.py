"""The CUDA kernels, run: the same source compiled for the host, called by the package's own CuPy code.

Real: the kernels' source, their launch grids and arguments, the barriers (deterministic, in two orders). Not real: the
device, its FFT (NumPy's here) and its speed.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tdt import errors
from tdt.audio.loading import load_audio
from tdt.encoding.features import FeatureExtractor
from tdt.kernels.logmel import cuda
from tdt.kernels.logmel.definition import valid_frames
from tdt.kernels.logmel.mel_cpu import LogMel

from .host_cuda import DeviceArray, Foreign, HostCupy, Stream, on_device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Install = Callable[..., HostCupy]

# Where the contracts are run on purpose, a missing compiler is a failure.
if not os.environ.get("TDT_GPU_CONTRACTS") and shutil.which("g++") is None:
    pytest.skip("needs g++", allow_module_level=True)


@pytest.fixture(scope="session")
def build_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold libraries of this run, so that no source is compiled twice."""
    return tmp_path_factory.mktemp("host-kernels")


@pytest.fixture
def host_cupy(build_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a host CuPy in the place of the real one."""

    def install(changes: dict[str, str] | None = None, *, descending: bool = False) -> HostCupy:
        made = HostCupy(build_folder, changes, descending=descending)
        monkeypatch.setitem(sys.modules, "cupy", made)
        forget()
        return made

    def forget() -> None:
        cuda._module.cache_clear()
        cuda._constants.cache_clear()

    yield install
    forget()


COUNTS = (5321, 160, 399, 2881, 319)


def batch(counts: tuple[int, ...] = COUNTS) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Clips of odd sizes, and their batch, with noise beyond their ends."""
    rng = np.random.default_rng(11)
    clips = [rng.normal(0, 0.1, count).astype(np.float32) for count in counts]
    waveforms = rng.normal(0, 9.0, (len(counts), max(counts))).astype(np.float32)
    for row, clip in zip(waveforms, clips, strict=True):
        row[: len(clip)] = clip
    return clips, waveforms, np.array(counts, np.int64)


def check_features(edges: Any, normalize: bool, n_mels: int = 80) -> None:
    clips, waveforms, lengths = batch()
    valid = np.array([valid_frames(len(clip), edges) for clip in clips], np.int64)
    got = cuda.features(waveforms, lengths, valid, n_mels, normalize=normalize, edges=edges)
    wanted, _ = LogMel(n_mels, "per_feature" if normalize else "none", edges)(clips)
    # The logarithm of near-empty bins amplifies the rounding of two different FFTs.
    np.testing.assert_allclose(got, wanted, atol=5e-4, rtol=1e-4)


@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("edges", ["constant", "reflect"])
def test_features_are_those_of_the_cpu(host_cupy: Install, edges: Any, normalize: bool, descending: bool) -> None:
    made = host_cupy(descending=descending)
    check_features(edges, normalize)
    assert [name for name, _ in made.launches] == ["window_frames", "log_mel", "normalize"]
    assert made.launches[0][1] == (34, 5), "several blocks in both directions"


def test_a_batch_gives_the_bits_of_single_clips(host_cupy: Install) -> None:
    host_cupy()
    clips, waveforms, lengths = batch()
    together = cuda.features(waveforms, lengths, lengths // 160, 128)
    for row, clip in enumerate(clips):
        count = np.array([len(clip)], np.int64)
        alone = cuda.features(clip[None], count, count // 160, 128)
        assert np.array_equal(together[row, :, : alone.shape[2]], alone[0])


# --- through the pipeline's own entry points --------------------------------------------------------------------------


@pytest.mark.parametrize("edges", ["constant", "reflect"])
def test_extractor_takes_device_arrays(host_cupy: Install, edges: Any) -> None:
    host_cupy()
    clips, _, _ = batch()
    extractor = FeatureExtractor(80, edges=edges)
    wanted = extractor(clips)
    mixed = [on_device(clips[0]), Foreign(clips[1]), *clips[2:]]
    for got in (extractor(mixed), extractor([on_device(c) for c in clips]), extractor(clips, device=0)):
        assert isinstance(got.frames, DeviceArray)
        assert type(got.lengths) is np.ndarray
        assert np.array_equal(got.lengths, wanted.lengths)
        np.testing.assert_allclose(got.frames, wanted.frames, atol=5e-4, rtol=1e-4)
    alone = extractor([on_device(clips[1])])
    np.testing.assert_allclose(alone.frames, extractor([clips[1]]).frames, atol=5e-4)
    assert extractor([], device=0).frames.shape == (0, 80, 1)


@dataclass
class Queue:
    pointer: int
    device_id: int = 0


def test_features_are_enqueued_on_the_shared_stream(host_cupy: Install) -> None:
    made = host_cupy()
    clips, _, _ = batch()
    extractor = FeatureExtractor(80)
    extractor([on_device(clips[0])], queue=Queue(0))
    extractor([on_device(clips[0])], queue=Queue(0x7700, device_id=1))  # of another card
    assert (made.launched_on, made.cuda.waits) == ({0}, [])
    made.launched_on.clear()
    got = extractor(clips, device=0, queue=Queue(0x7700))
    assert made.launched_on == {0x7700}
    assert made.cuda.waits == [(0x7700, 0)], "after what the caller has enqueued"
    assert [stream.ptr for stream in made.cuda.stack] == [0]
    np.testing.assert_allclose(got.frames, extractor(clips).frames, atol=5e-4, rtol=1e-4)
    with Stream(made.cuda, 0x7700):
        extractor([on_device(clips[0])], queue=Queue(0x7700))
    assert made.cuda.waits == [(0x7700, 0)], "on the caller's own stream there is nothing to wait for"


def test_device_audio_is_refused_as_host_audio_is(host_cupy: Install) -> None:
    host_cupy()
    extractor = FeatureExtractor(80)
    bad = np.ones(400, np.float32)
    bad[7] = np.nan
    with pytest.raises(errors.AudioValueError, match="Clip 1 of the batch holds NaN"):
        extractor([on_device(np.zeros(400, np.float32)), on_device(bad)])
    with pytest.raises(errors.AudioTooShortError):
        extractor([on_device(np.zeros(159, np.float32))])
    with pytest.raises(errors.AudioValueError, match="at sample 7"):
        load_audio(on_device(bad))
    with pytest.raises(errors.AudioValueError, match="int32"):
        load_audio(on_device(np.zeros(400, np.int32)))
    with pytest.raises(errors.AudioTooShortError):
        load_audio(on_device(np.zeros(159, np.float32)))
    with pytest.raises(errors.OptionError, match="channel"):
        load_audio(on_device(np.zeros(400, np.float32)), channel=1)


def test_device_audio_stays_on_the_device(host_cupy: Install) -> None:
    host_cupy()
    rng = np.random.default_rng(15)
    stereo = rng.normal(0, 0.1, (4410, 2)).astype(np.float32)
    got = load_audio(on_device(stereo), sample_rate=16000, channel=1).samples
    assert isinstance(got, DeviceArray)
    assert np.array_equal(got, stereo[:, 1])
    mono = on_device(stereo[:, 0].copy())
    assert np.shares_memory(load_audio(mono).samples, mono), "without a copy"
    whole = (stereo * 32767).astype(np.int16)
    assert np.array_equal(load_audio(on_device(whole)).samples, load_audio(whole).samples)
    resampled = load_audio(on_device(stereo), sample_rate=44100).samples
    assert np.array_equal(resampled, load_audio(stereo, sample_rate=44100).samples)


def test_without_cupy_a_device_array_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(errors.MissingDependencyError, match=r"parakeet-tdt\[cuda13\]"):
        load_audio(on_device(np.zeros(400, np.float32)))


# --- each kernel against NumPy, within 1e-5 ---------------------------------------------------------------------------


def check_window_frames() -> None:
    clips, waveforms, lengths = batch()
    window = cuda._constants(80, 0)[0]
    count = waveforms.shape[1] // 160 + 1
    for reflect in (0, 1):
        got = np.full((len(clips), count, 512), 7.0, np.float32)
        arguments = (waveforms, lengths, window, np.int64(waveforms.shape[1]), np.int32(reflect), got)
        cuda.kernel("features.cu", "window_frames")((count, len(clips)), (96,), arguments)
        for clip, frames in zip(clips, got, strict=True):
            signal = np.append(clip[:1], clip[1:] - np.float32(0.97) * clip[:-1])
            reach = 160 * count + 400
            mode: dict[str, Any] = {"mode": "reflect"} if reflect else {}
            signal = np.pad(signal, (200, reach), **mode)
            wanted = np.stack([signal[160 * t : 160 * t + 400] * window for t in range(count)])
            np.testing.assert_allclose(frames[:, :400], wanted, atol=1e-5)
            assert not frames[:, 400:].any()


def check_log_mel() -> None:
    rng = np.random.default_rng(12)
    _, weights, bands = cuda._constants(80, 0)
    frames = 35  # two full tiles and three frames
    spectra = (rng.normal(size=(3, frames, 257)) + 1j * rng.normal(size=(3, frames, 257))).astype(np.complex64)
    got = np.full((3, 80, frames), 7.0, np.float32)
    arguments = (spectra, weights, bands, np.int32(80), np.int32(frames), np.float32(2**-24), got)
    cuda.kernel("features.cu", "log_mel")((3, 3), (128,), arguments)
    bank = cuda.banks.mel_filterbank(80).astype(float)
    wanted = np.log(np.abs(spectra.astype(complex)) ** 2 @ bank.T + 2**-24).transpose(0, 2, 1)
    np.testing.assert_allclose(got, wanted, atol=1e-5, rtol=1e-5)


def check_normalize() -> None:
    rng = np.random.default_rng(13)
    valid = np.array([611, 1, 0, 257, 2], np.int64)
    energies = rng.normal(-8, 3, (5, 3, 613)).astype(np.float32)
    for scale in (0, 1):
        got = energies.copy()
        arguments = (got, valid, np.int32(613), np.int32(scale), np.float64(1e-5))
        cuda.kernel("features.cu", "normalize")((3, 5), (256,), arguments)
        for row, count in enumerate(valid):
            wanted = np.zeros((3, 613))
            part = energies[row, :, :count].astype(float)
            if scale and count:
                part = part - part.mean(axis=1, keepdims=True)
                deviation = part.std(axis=1, ddof=1, keepdims=True) if count > 1 else np.zeros((3, 1))
                part = part / (deviation + 1e-5)
            wanted[:, :count] = part
            np.testing.assert_allclose(got[row], wanted, atol=1e-5)


CHECKS = {
    "window_frames": check_window_frames,
    "log_mel": check_log_mel,
    "normalize": check_normalize,
}


@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("name", CHECKS)
def test_kernel_gives_numpys_numbers(host_cupy: Install, name: str, descending: bool) -> None:
    host_cupy(descending=descending)
    CHECKS[name]()


BREAKS = [
    ("window_frames", "0.97f", "0.9701f"),
    ("window_frames", "position < length;", "position < samples;"),
    ("window_frames", "2 * last - turn : turn", "2 * last - turn - 1 : turn"),
    ("window_frames", "i < WINDOW &&", "i < WINDOW - 9 &&"),
    ("log_mel", "__syncthreads();\n    for (int i = threadIdx.x; i < n_mels", "for (int i = threadIdx.x; i < n_mels"),
    ("log_mel", "real * real + imaginary", "real * real - imaginary"),
    ("log_mel", "energy + guard", "energy + 1e-4f + guard"),
    ("log_mel", "(long long)blockIdx.y * frames + begin", "begin"),
    ("normalize", "sums[threadIdx.x] = own;\n    __syncthreads();", "sums[threadIdx.x] = own;"),
    ("normalize", "sums[threadIdx.x + half];\n        __syncthreads();", "sums[threadIdx.x + half];"),
    ("normalize", "count > 1 ? count - 1 : 1", "count"),
    ("normalize", "t < count ? (float)", "t <= count ? (float)"),
]


@pytest.mark.parametrize(("name", "old", "new"), BREAKS, ids=[f"{b[0]}-{i}" for i, b in enumerate(BREAKS)])
def test_a_broken_kernel_is_caught(host_cupy: Install, name: str, old: str, new: str) -> None:
    sources = [(cuda.SOURCES / file).read_text() for file in ("features.cu",)]
    assert sum(source.count(old) for source in sources) == 1, "the break must hit the source once"
    caught = 0
    for descending in (False, True):
        host_cupy({old: new}, descending=descending)
        try:
            CHECKS[name]()
        except AssertionError:
            caught += 1
    assert caught


def test_every_kernel_is_checked_and_broken() -> None:
    from .host_cuda import KERNEL

    kernels = {name for path in cuda.SOURCES.glob("*.cu") for name in KERNEL.findall(path.read_text())}
    assert kernels == set(CHECKS) == {name for name, _, _ in BREAKS}
