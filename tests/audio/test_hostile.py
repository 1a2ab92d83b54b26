"""Files from strangers: no other file, no network, no guess by a name; bounded memory and reading, typed errors."""

from __future__ import annotations

import contextlib
import http.server
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tdt.audio import load_audio
from tdt.audio.formats import UNKNOWN, sniff
from tdt.audio.sources import open_bytes
from tdt.audio.views import View
from tdt.errors import AudioError, AudioNotFoundError, AudioReadError

from ..sound_files import KINDS, Kind, Pipe, by_ffmpeg, made, speech

FAULTS = Path(__file__).resolve().parents[1] / "data/faults"

PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:5,\n{0}\n#EXT-X-ENDLIST\n",
    "m3u": "{0}\n",
    "concat": "ffconcat version 1.0\nfile '{0}'\n",
    "pls": "[playlist]\nFile1={0}\nNumberOfEntries=1\n",
    "asx": '<asx version="3.0"><entry><ref href="{0}"/></entry></asx>',
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet '
    'mimeType="audio/mp4"><Representation id="1" bandwidth="1"><BaseURL>{0}</BaseURL></Representation></AdaptationSet>'
    "</Period></MPD>",
    "smil": '<smil><body><audio src="{0}"/></body></smil>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "avs": 'WavSource("{0}")\n',
    "edl": "FCM: NON-DROP FRAME\n001 {0} AA/V C 00:00:00:00 00:00:05:00 00:00:00:00 00:00:05:00\n",
    "subtitles": "1\n00:00:00,000 --> 00:00:01,000\n{0}\n",
    "svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{0}"/></svg>',
}


@pytest.mark.parametrize("name", ["upload.wav", "upload.m3u8", "upload", "upload.mp4"])
@pytest.mark.parametrize("playlist", PLAYLISTS)
def test_a_list_of_files_is_no_sound(playlist: str, name: str, tmp_path: Path) -> None:
    other = tmp_path / "other.mp3"
    other.write_bytes(made(Kind("mp3", "libmp3lame", 16000), 3.0))
    text = PLAYLISTS[playlist].format(other).encode()
    (tmp_path / name).write_bytes(text)
    for source in (tmp_path / name, text, Pipe(text)):
        with pytest.raises(AudioReadError, match="cannot be read as audio"):
            load_audio(source)


def test_the_uploaded_playlist_is_refused() -> None:
    with pytest.raises(AudioReadError, match="cannot be read as audio"):
        load_audio(FAULTS / "hls_upload.wav")


@pytest.mark.parametrize(
    "name", ["concat:a.wav|b.wav", "http://127.0.0.1:{0}/a.wav", "file:a.wav", "data:,x", "pipe:0", "-i"]
)
def test_a_path_is_a_path_and_no_protocol(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    monkeypatch.chdir(tmp_path)
    for file in ("a.wav", "b.wav"):
        Path(file).write_bytes(made(KINDS[0], 3.0))
    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(AudioNotFoundError, match="does not exist"):
            load_audio(name.format(server.server_address[1]))
        server.shutdown()
    assert asked == []


def test_references_inside_containers_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An MP4 file may say that its samples lie in another one."""
    from tdt.audio import containers

    asked: list[str] = []
    monkeypatch.setattr(containers, "_refuse", lambda url, *_: asked.append(url))
    content = bytearray(made(Kind("mov", "pcm_s16le", 16000), 3.0))
    at = content.index(b"dref") + 12  # its only entry says, by a flag, that the samples are in this file
    assert int.from_bytes(content[at : at + 4]) == 12
    content[at + 4 : at + 12] = b"alis\0\0\0\0"
    with contextlib.suppress(AudioError):
        load_audio(bytes(content))
    assert asked == []


def test_ffmpeg_is_told_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    told: dict[str, Any] = {}
    real = av.open

    def watched(file: Any, mode: str, **settings: Any) -> Any:
        told.update(settings, file=file)
        return real(file, mode, **settings)

    monkeypatch.setattr(av, "open", watched)
    load_audio(made(Kind("mp4", "aac", 44100), 3.0))
    options = told["container_options"]
    assert isinstance(told["file"], View)
    assert told["format"] == options["format_whitelist"] == "mov"
    assert options["protocol_whitelist"] == "none"
    assert "h264" not in options["codec_whitelist"].split(",")
    assert {"aac", "pcm_s16le"} <= set(options["codec_whitelist"].split(","))
    assert int(options["probesize"]) <= 5_000_000
    with pytest.raises(PermissionError):
        told["io_open"]("/etc/passwd", 1, {})


def test_pictures_are_not_decoded() -> None:
    """Only decoders of sound are there to be attacked: a film's pictures stay as they are."""
    import av

    file = by_ffmpeg({"": speech(1.0)[:, None]}, 16000, "matroska", "pcm_s16le")
    assert len(load_audio(file).samples) == 16000
    for codec in ("h264", "hevc", "av1", "vp9", "mjpeg", "png"):
        assert codec in av.codecs_available


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n",
        b"%PDF-1.7\n",
        b"PK\x03\x04",
        b"\x1f\x8b\x08",
        b"MZ\x90",
        b"\x7fELF",
        b"GIF89a",
        b"\xff\xd8\xff\xe0",
    ],
    ids=["png", "pdf", "zip", "gzip", "exe", "elf", "gif", "jpeg"],
)
def test_other_files_are_no_sound(content: bytes) -> None:
    content += np.random.default_rng(11).bytes(50_000)
    assert sniff(open_bytes(content, "x")) is UNKNOWN  # type: ignore[arg-type]
    with pytest.raises(AudioReadError, match="cannot be read as audio"):
        load_audio(content)


def test_noise_is_no_sound() -> None:
    for seed in range(10):
        with pytest.raises(AudioReadError, match="cannot be read as audio"):
            load_audio(np.random.default_rng(seed).bytes(100_000))


def test_a_demuxer_in_circles_is_stopped() -> None:
    view = View(open_bytes(b"x" * 1000, "loop.mkv"), 0, 1000)  # type: ignore[arg-type]
    for _ in range(200_000):
        view.seek(0)
        if not view.read(100_000):
            break
    with pytest.raises(AudioReadError, match="circles"):
        view.check()


def test_nothing_is_written_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    content = made(Kind("adts", "aac", 16000), 3.0)
    damaged = bytearray(content)
    for at in np.random.default_rng(2).integers(100, len(damaged), 400):
        damaged[at] ^= 0x55
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger("tdt"), "disabled", True)
        with contextlib.suppress(AudioError):
            load_audio(bytes(damaged))
    assert capfd.readouterr() == ("", "")


PEAK = """
import resource, sys
from tdt.audio import BlockReader
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with BlockReader(sys.argv[1]) as reader:
    seconds = sum(map(len, reader)) / 16000
print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_hours_of_silence_in_a_small_file_take_little_memory(tmp_path: Path) -> None:
    """Two hours of it took 1.4 GB: all that was decoded waited in a queue. Ten minutes would show it."""
    path = tmp_path / "silence.mka"
    path.write_bytes(by_ffmpeg({"": np.zeros((48_000 * 600, 2), np.float32)}, 48000, "matroska", "flac"))
    assert path.stat().st_size < 1_000_000
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    assert seconds == pytest.approx(600, abs=0.1)
    assert megabytes < 100, "FFmpeg's libraries, and a block"


def test_a_channel_count_from_a_liar_takes_no_memory() -> None:
    content = bytearray(made(KINDS[0], 3.0))
    content[22:24] = (60_000).to_bytes(2, "little")
    for source in (bytes(content), Pipe(bytes(content))):
        with pytest.raises(AudioError):
            load_audio(source)


def test_errors_name_the_file_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "odd name.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0" + os.urandom(5000))
    with pytest.raises(AudioReadError, match=r"odd name\.m4a cannot be read as audio \(.+\); .*expected. Check"):
        load_audio(path)
