"""Log-mel features against NeMo's goldens, librosa's filterbank and the naive definition, over array libraries."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import array_api_strict
import numpy as np
import pytest

from tdt import errors
from tdt.audio.loading import load_audio
from tdt.encoding.features import FeatureExtractor, pad_short
from tdt.kernels.logmel import filterbank
from tdt.kernels.logmel.definition import valid_frames
from tdt.kernels.logmel.mel_cpu import LogMel

from .. import array_logmel, naive

if TYPE_CHECKING:
    from pathlib import Path

CLIPS = [f"{number:02d}" for number in range(1, 16)]
# onnx-asr's tolerance against NeMo's own float32 (two float32 FFTs differ by this).
ATOL, RTOL = 5e-4, 1e-4


def golden_clip(number: str, golden_folder: Path) -> tuple[str, np.ndarray, Any]:
    sound = next(p for p in sorted(golden_folder.glob(f"{number}_*")) if p.suffix in {".flac", ".wav"})
    return sound.stem, load_audio(sound).samples, np.load(sound.with_suffix(".npz"))


@pytest.mark.parametrize("number", CLIPS)
def test_features_are_nemos(number: str, golden_folder: Path, goldens: dict[str, dict[str, Any]]) -> None:
    clip, samples, golden = golden_clip(number, golden_folder)
    if "audio_16k" in golden:
        # The same library at the same quality: bit for bit, but for its own version (float32 rounding).
        np.testing.assert_allclose(samples, golden["audio_16k"], atol=1e-6)
    got = FeatureExtractor(128)([samples])
    raw = FeatureExtractor(128, normalize="none")([samples]).frames[0]
    valid = goldens[clip]["feature_len"]
    assert got.lengths.tolist() == [valid]
    assert got.frames.shape == (1, 128, goldens[clip]["feature_frames_total"])
    assert not got.frames[:, :, valid:].any()
    if "logmel_raw" in golden:
        np.testing.assert_allclose(raw, golden["logmel_raw"], atol=ATOL, rtol=RTOL)
    # A constant band is NeMo's own rounding noise, blown up by the division by its deviation.
    steady = raw[:, :valid].std(axis=1, ddof=1) < 0.02
    np.testing.assert_allclose(got.frames[0][~steady], golden["logmel_norm"][~steady], atol=ATOL, rtol=RTOL)
    assert steady.sum() < (129 if number == "09" else 40 if number == "12" else 1)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_stored_filterbanks_are_librosas(n_mels: int) -> None:
    # 5e-7: float32 rounding of weights up to 0.05, as onnx-asr asks of its own.
    np.testing.assert_allclose(filterbank.mel_filterbank(n_mels), filterbank.compute_filterbank(n_mels), atol=5e-7)
    np.testing.assert_allclose(filterbank.mel_filterbank(n_mels), naive.slaney_filterbank(n_mels), atol=5e-7)


def test_other_filterbanks_come_from_librosa() -> None:
    np.testing.assert_allclose(filterbank.mel_filterbank(64), naive.slaney_filterbank(64), atol=5e-7)


def test_where_librosa_may_keep_nothing_it_gets_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As another user without a home it cannot be imported: Numba finds no place for what it compiles."""
    from numba.core import config

    class Refusing:
        asked = 0

        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "librosa.filters":
                self.asked += 1
                if not config.CACHE_DIR:
                    raise RuntimeError("cannot cache function '__o_fold': no locator available")

    refusing = Refusing()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.delitem(sys.modules, "librosa.filters", raising=False)
    monkeypatch.setattr(sys, "meta_path", [refusing, *sys.meta_path])
    np.testing.assert_allclose(filterbank.compute_filterbank(64), naive.slaney_filterbank(64), atol=5e-7)
    assert refusing.asked == 2
    (mine,) = tmp_path.iterdir()
    assert mine.stat().st_mode & 0o777 == 0o700, "nobody else's, from the first folder on"
    assert config.CACHE_DIR == ""


@pytest.mark.parametrize("edges", ["constant", "reflect"])
@pytest.mark.parametrize("count", [160, 255, 319, 320, 1713])
def test_log_mel_is_the_definition(count: int, edges: Any, rng: np.random.Generator) -> None:
    samples = rng.normal(0, 0.1, count).astype(np.float32)
    wanted = naive.log_mel(samples, 80, edges)
    valid = count // 160 + (edges == "reflect")
    raw = FeatureExtractor(80, "none", edges)([samples])
    assert raw.lengths.tolist() == [valid]
    # float32 against float64 through an FFT of 512 points.
    np.testing.assert_allclose(raw.frames[0][:, :valid], wanted[:, :valid], atol=2e-4, rtol=2e-5)
    got = FeatureExtractor(80, "per_feature", edges)([samples])
    assert np.isfinite(got.frames).all()
    if valid > 1:
        np.testing.assert_allclose(got.frames[0], naive.normalize_per_feature(wanted, valid), atol=1e-3)
    else:
        assert not got.frames.any()


class Backend:
    """How to bring arrays into a library and back."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.xp: Any = array_api_strict if name == "array_api_strict" else np

    def array(self, values: np.ndarray) -> Any:
        if self.name == "array_api_strict":
            return self.xp.asarray(values.copy())
        taken = values.copy()
        taken.flags.writeable = self.name != "read-only numpy"
        return taken


@pytest.mark.parametrize("edges", ["constant", "reflect"])
@pytest.mark.parametrize("library", ["numpy", "read-only numpy", "array_api_strict"])
def test_core_runs_on_any_array_library(library: str, edges: Any, rng: np.random.Generator) -> None:
    backend = Backend(library)
    counts = np.array([1713, 160, 801])
    waveforms = np.zeros((3, 1713), np.float32)
    for row, count in enumerate(counts):
        waveforms[row, :count] = rng.normal(0, 0.1, count)
    window, bank = filterbank.hann_window(), filterbank.mel_filterbank(80)
    valid = np.array([valid_frames(int(count), edges) for count in counts])
    arguments = [backend.array(a) for a in (waveforms, counts, window, bank)]
    raw = array_logmel.log_mel(*arguments, xp=backend.xp, edges=edges)
    done = array_logmel.normalize_per_feature(raw, backend.array(valid), xp=backend.xp)
    assert raw.dtype == backend.xp.float32
    assert done.dtype == backend.xp.float32
    for row, count in enumerate(counts):
        wanted = naive.log_mel(waveforms[row, :count], 80, edges)[:, : valid[row]]
        # float32 against float64 through an FFT of 512 points.
        np.testing.assert_allclose(np.asarray(raw)[row, :, : valid[row]], wanted, atol=2e-4, rtol=2e-5)
        full = naive.normalize_per_feature(np.pad(wanted, ((0, 0), (0, raw.shape[2] - valid[row]))), valid[row])
        np.testing.assert_allclose(np.asarray(done)[row], full, atol=1e-3)
    masked = array_logmel.mask_frames(raw, backend.array(valid), xp=backend.xp)
    assert not np.asarray(masked)[1, :, valid[1] :].any()


@pytest.mark.parametrize("edges", ["constant", "reflect"])
def test_fast_path_is_the_core(edges: Any, rng: np.random.Generator) -> None:
    samples = rng.normal(0, 0.1, 16000 + 77).astype(np.float32)
    window, bank = filterbank.hann_window(), filterbank.mel_filterbank(128)
    count = np.array([len(samples)])
    core = array_logmel.log_mel(samples[None], count, window, bank, xp=np, edges=edges)
    fast, lengths = LogMel(128, "none", edges)([samples])
    # Both float32, another FFT: near-empty bins keep 1e-4 of a log unit.
    np.testing.assert_allclose(fast[0][:, : lengths[0]], core[0][:, : lengths[0]], atol=2e-4, rtol=2e-5)


@pytest.mark.parametrize("edges", ["constant", "reflect"])
def test_batch_gives_the_numbers_of_single_clips(edges: Any, rng: np.random.Generator) -> None:
    clips = [rng.normal(0, 0.1, count).astype(np.float32) for count in (160, 16000, 5321, 399, 16159, 320)]
    extractor = FeatureExtractor(128, edges=edges)
    together = extractor(clips)
    for row, clip in enumerate(clips):
        alone = extractor([clip])
        width = alone.frames.shape[2]
        assert together.lengths[row] == alone.lengths[0]
        assert np.array_equal(together.frames[row, :, :width], alone.frames[0])
        assert not together.frames[row, :, width:].any()


def test_threads_share_an_extractor(rng: np.random.Generator) -> None:
    from concurrent.futures import ThreadPoolExecutor

    extractor = FeatureExtractor(80)
    clips = [rng.normal(0, 0.1, 8000 + 160 * i).astype(np.float32) for i in range(8)]
    alone = [extractor([clip]).frames for clip in clips]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda clip: extractor([clip]).frames, clips * 4))
    for index, frames in enumerate(together):
        assert np.array_equal(frames, alone[index % 8])


def test_silence_and_empty_batches() -> None:
    silent = FeatureExtractor(128)([np.zeros(16000, np.float32)])
    assert np.abs(silent.frames).max() < 1e-3
    empty = FeatureExtractor(128)([])
    assert empty.frames.shape == (0, 128, 1)
    assert empty.lengths.shape == (0,)


def test_loud_samples_stay_finite(rng: np.random.Generator) -> None:
    quiet = rng.normal(0, 0.1, 4000).astype(np.float32)
    got = FeatureExtractor(80)([quiet * np.float32(1e11)]).frames
    assert np.isfinite(got).all()


@pytest.mark.parametrize(
    ("clip", "kind"),
    [
        (np.zeros(159, np.float32), errors.AudioTooShortError),
        (np.zeros(0, np.float32), errors.AudioTooShortError),
        (np.zeros((200, 2), np.float32), errors.AudioValueError),
        (np.zeros(200, np.int16), errors.AudioValueError),
        (np.full(200, np.nan, np.float32), errors.AudioValueError),
        (np.full(200, np.inf, np.float32), errors.AudioValueError),
        (["no samples"], errors.AudioValueError),
    ],
)
def test_bad_clips_are_refused(clip: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="Clip 1 of the batch"):
        FeatureExtractor(80)([np.zeros(160, np.float32), clip])


@pytest.mark.parametrize("options", [{"n_mels": 0}, {"n_mels": 258}, {"normalize": "all"}, {"edges": "wrap"}])
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(errors.OptionError, match=next(iter(options))):
        FeatureExtractor(**{"n_mels": 80, **options})


def test_short_clips_are_padded_as_nemo_does() -> None:
    clip = np.ones(4801, np.float32)
    padded, left = pad_short(clip)
    assert left == (16000 - 4801) // 2 == 5599
    assert len(padded) == 16000
    assert padded.dtype == np.float32
    assert padded[left : left + 4801].all()
    assert padded.sum() == 4801
    same, none = pad_short(np.ones(16000, np.float32))
    assert none == 0
    assert len(same) == 16000
