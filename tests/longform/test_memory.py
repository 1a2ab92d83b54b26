"""Memory of a whole process: a transcription takes no more for what PyAV decodes than for what libsndfile does."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ..sound_files import by_ffmpeg, by_sndfile, speech

if TYPE_CHECKING:
    from pathlib import Path

PEAK = """
import resource, sys
import tdt
with tdt.load() as asr:
    seconds = asr.transcribe(sys.argv[1]).audio_seconds
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
SECONDS = 90.0  # more than a window


def peak(path: Path) -> int:
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    seconds, used = done.stdout.split()
    assert float(seconds) == pytest.approx(SECONDS, abs=0.1)
    return int(used)


def test_m4a_takes_hardly_more_than_flac(tmp_path: Path) -> None:
    """An hour of each: `tools/bench_reading.py --transcribe`."""
    (tmp_path / "a.flac").write_bytes(by_sndfile(speech(SECONDS), 16000, "FLAC"))
    (tmp_path / "a.m4a").write_bytes(by_ffmpeg({"": speech(SECONDS)[:, None]}, 16000, "ipod", "aac"))
    assert peak(tmp_path / "a.m4a") < 1.2 * peak(tmp_path / "a.flac")
