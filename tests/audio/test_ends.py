"""Where a file ends: read to the real end where files are joined, told where one is cut, tags and junk left out."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt
from tdt.audio import BlockReader, load_audio, open_source
from tdt.audio.decoders import open_sound
from tdt.audio.ending import Claims, unpacks_without_end
from tdt.audio.sources import open_bytes
from tdt.audio.structure.tags import end_of_sound
from tdt.errors import AudioReadError, AudioTailError

from ..sound_files import KINDS, Kind, Pipe, by_ffmpeg, by_sndfile, made, speech

if TYPE_CHECKING:
    from collections.abc import Iterator

WAV, FLAC = Kind("WAV", "PCM_16", 16000, "sndfile"), Kind("FLAC", "PCM_16", 16000, "sndfile")
VORBIS, OPUS = Kind("OGG", "VORBIS", 44100, "sndfile"), Kind("OGG", "OPUS", 16000, "sndfile")
MP3 = Kind("MP3", "MPEG_LAYER_III", 44100, "sndfile")
FAULTS = Path(__file__).resolve().parents[1] / "data/faults"
SECONDS = 5.0
WORDS = "The open source project has improved the first language model."
# What says nowhere where it ends: tools/readme/audio.md names the same.
CANNOT_TELL = {"mpeg"}
# Whose joined files are read to the end of the first only, as nothing in them says where another begins.
NOT_JOINED = {"CAF", "VOC", "NIST", "tta", "wv"}


def heard(source: Any) -> tuple[np.ndarray, AudioTailError | None]:
    """Return the samples of a source, and the error that it breaks off."""
    audio, problem = open_source(source, 10**9).load()
    return audio.samples, problem


def ways(content: bytes) -> Iterator[Any]:
    yield content
    yield Pipe(content)


# --- joined -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.container not in NOT_JOINED], ids=str)
def test_joined_files_are_read_to_the_end(kind: Kind) -> None:
    content = made(kind, SECONDS)
    alone = len(load_audio(content).samples)
    for source in ways(content + content):
        both, problem = heard(source)
        assert problem is None
        assert abs(len(both) - 2 * alone) <= 3


@pytest.mark.parametrize(
    "kinds",
    [
        [VORBIS, Kind("OGG", "VORBIS", 16000, "sndfile")],
        [OPUS, Kind("OGG", "VORBIS", 16000, "sndfile"), Kind("ogg", "flac", 16000)],
        [WAV, Kind("WAV", "FLOAT", 44100, "sndfile")],
        [FLAC, Kind("FLAC", "PCM_16", 44100, "sndfile")],
        [MP3, Kind("mp3", "libmp3lame", 16000)],
        [Kind("adts", "aac", 16000), Kind("adts", "aac", 44100)],
        [Kind("mp4", "aac", 16000), Kind("mp4", "alac", 16000)],
    ],
    ids=lambda kinds: "+".join(map(str, kinds)),
)
def test_joined_files_may_be_of_other_rates(kinds: list[Kind]) -> None:
    """Each is resampled by itself, and sounds as it does alone."""
    contents = [made(kind, SECONDS) for kind in kinds]
    expected = np.concatenate([load_audio(content).samples for content in contents])
    for source in ways(b"".join(contents)):
        samples, problem = heard(source)
        assert problem is None
        if kinds[0].container != "adts":  # one decoder goes through: its first frame is no longer the first
            np.testing.assert_array_equal(samples, expected)
        assert abs(len(samples) - len(expected)) < 1600


def test_joined_files_claim_their_length_together() -> None:
    for kind in (
        OPUS,
        Kind("mp3", "libmp3lame", 16000),
        WAV,
    ):
        content = made(kind, SECONDS)
        with BlockReader(content + content) as reader:
            assert reader.seconds == pytest.approx(2 * SECONDS, abs=0.4)


def test_a_chained_stream_says_both_sentences() -> None:
    with tdt.load() as asr:
        assert asr.transcribe(FAULTS / "x_chain.ogg").text.startswith(WORDS + " Hello world.")


# --- cut --------------------------------------------------------------------------------------------------------------


def is_read_backwards(kind: Kind) -> bool:
    """Say whether the table of contents lies behind the sound; fragments have one each."""
    return kind.container in {"mp4", "ipod", "mov", "3gp"} and not kind.options


def cuts(content: bytes) -> list[int]:
    """Return places to cut at, none between two frames by chance for most formats."""
    return [len(content) * share // 100 + 3 for share in (45, 67, 89)]


TELLING = [kind for kind in KINDS if kind.container not in CANNOT_TELL and not is_read_backwards(kind)]


@pytest.mark.parametrize("kind", TELLING, ids=str)
def test_what_is_cut_gives_what_is_there_and_tells(kind: Kind) -> None:
    content = made(kind, 20.0 if kind.codec == "wavpack" else SECONDS)  # its blocks hold seconds
    whole = load_audio(content).samples
    answers = [heard(source) for at in cuts(content) for source in ways(content[:at])]
    for samples, problem in answers:
        assert 0.1 * len(whole) < len(samples) < len(whole)
        assert problem is None or problem.seconds == pytest.approx(len(samples) / 16000, abs=1e-3)
    told = sum(problem is not None for _, problem in answers)
    assert told >= len(answers) - 2, "one cut may fall between two frames"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if is_read_backwards(kind)], ids=str)
def test_what_is_cut_before_its_table_of_contents_is_refused(kind: Kind) -> None:
    content = made(kind, SECONDS)
    for at in cuts(content):
        for source in ways(content[:at]):
            with pytest.raises(AudioReadError, match="table of contents"):
                heard(source)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.container in CANNOT_TELL], ids=str)
def test_what_cannot_tell_gives_what_is_there(kind: Kind) -> None:
    content = made(kind, SECONDS)
    samples, problem = heard(content[: len(content) * 2 // 3])
    assert problem is None
    assert 0.5 < len(samples) / 16000 / SECONDS < 0.7


@pytest.mark.parametrize(
    "kind",
    [Kind("mp4", "aac", 44100), Kind("webm", "libopus", 48000), WAV],
    ids=str,
)
def test_a_cut_recording_is_transcribed_up_to_there(kind: Kind, tmp_path: Path) -> None:
    """Short and long alike: the words that are there, and the error."""
    content = faststart(tmp_path) if kind.container == "mp4" else made(kind, SECONDS)
    content = content[: len(content) * 3 // 4]
    with tdt.load() as asr:
        for chunk in (60.0, 2.0):
            for source in (content, Pipe(content)):
                with pytest.raises(AudioTailError, match=r"breaks off after 3\.\d s") as caught:
                    asr.transcribe(source, chunk_seconds=chunk)
                partial = caught.value.partial
                assert isinstance(partial, tdt.Transcript)
                assert partial.text.startswith("The open source project")
            segments = []
            with pytest.raises(AudioTailError):
                segments.extend(asr.stream(content, chunk_seconds=chunk))
            assert segments[0].text.startswith("The open source project")


def faststart(folder: Path) -> bytes:
    """Return an MP4 file whose table of contents comes first; its writer opens the file anew, so it must be one."""
    import av

    path = folder / "fast.m4a"
    source = io.BytesIO(made(Kind("ipod", "aac", 16000), SECONDS))
    with av.open(source) as read, av.open(str(path), "w", container_options={"movflags": "faststart"}) as written:
        stream = written.add_stream_from_template(read.streams.audio[0])
        for packet in read.demux(read.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                written.mux(packet)
    return path.read_bytes()


@pytest.mark.parametrize("unknown", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000])
def test_a_wav_that_was_never_finished_is_read_to_its_end(unknown: int) -> None:
    content = bytearray(by_sndfile(speech(SECONDS), 16000))
    content[40:44] = content[4:8] = unknown.to_bytes(4, "little")
    for source in ways(bytes(content)):
        samples, problem = heard(source)
        assert (len(samples), problem) == (SECONDS * 16000, None)


def test_a_flac_from_an_encoder_that_wrote_to_a_pipe() -> None:
    content = (FAULTS / "f05_stream.flac").read_bytes()
    for source in ways(content):
        samples, problem = heard(source)
        assert (len(samples), problem) == (69_794, None)
    for source in ways(content[: len(content) // 2]):
        samples, problem = heard(source)
        assert 20_000 < len(samples) < 40_000
        assert problem is not None


def test_a_header_that_claims_less_than_there_is_is_noted(caplog: pytest.LogCaptureFixture) -> None:
    content = bytearray(by_sndfile(speech(SECONDS), 16000))
    content[40:44] = (32_000).to_bytes(4, "little")
    with caplog.at_level(logging.WARNING, "tdt"):
        assert len(load_audio(bytes(content)).samples) == 16_000
    assert "128000 bytes behind the sound" in caplog.text


# --- tags and junk ----------------------------------------------------------------------------------------------------

ID3V1 = b"TAG" + b"a title".ljust(125, b"\0")
LYRICS = b"LYRICSBEGIN" + b"IND0000200" + b"la " * 400


def ape(body: bytes, *, header: bool) -> bytes:
    """Return an APE tag: version, bytes of body and footer, items, flags."""

    def edge(flags: int) -> bytes:
        numbers = (2000, len(body) + 32, 1, flags | (header << 31))
        return b"APETAGEX" + b"".join(number.to_bytes(4, "little") for number in numbers) + bytes(8)

    return (edge(1 << 29) if header else b"") + body + edge(0)


TAILS = {
    "id3v1": ID3V1,
    "ape": ape(bytes(500), header=False),
    "ape with header": ape(b"\xff\xfb" * 250, header=True),
    "ape and id3v1": ape(bytes(40), header=True) + ID3V1,
    "lyrics": b"LYRICSBEGIN" + b"[00:00]la la" + b"LYRICSEND" + ID3V1,
    "lyrics 2": LYRICS + str(len(LYRICS)).encode().rjust(6, b"0") + b"LYRICS200" + ID3V1,
}


@pytest.mark.parametrize("tail", TAILS)
def test_tags_at_the_end_are_found(tail: str) -> None:
    source = open_bytes(b"sound" * 100 + TAILS[tail], "x")
    assert not hasattr(source, "peek")
    assert end_of_sound(source) == 500  # type: ignore[arg-type]


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_tags_behind_the_sound_are_left_out(kind: Kind, tail: str) -> None:
    content = made(kind, SECONDS)
    np.testing.assert_array_equal(load_audio(content + TAILS[tail]).samples, load_audio(content).samples)


def test_a_tagged_flac_is_read_short_and_long() -> None:
    path = FAULTS / "f01_id3v1_tail.flac"
    with BlockReader(path) as reader:
        assert sum(map(len, reader)) == len(load_audio(path).samples) == 69_794


@pytest.mark.parametrize("tail", ["zeros", "noise", "text"])
@pytest.mark.parametrize(
    "kind",
    [
        WAV, FLAC, VORBIS,
        MP3, Kind("adts", "aac", 16000), Kind("mp4", "aac", 44100),
        Kind("webm", "libopus", 48000), Kind("matroska", "flac", 16000), Kind("flv", "aac", 44100),
    ],
    ids=str,
)  # fmt: skip
def test_junk_behind_the_sound_is_left_out(kind: Kind, tail: str) -> None:
    junk = {"zeros": bytes(5000), "noise": np.random.default_rng(7).bytes(5000), "text": b"<html>\n" * 700}[tail]
    content = made(kind, SECONDS)
    samples, problem = heard(content + junk)
    assert problem is None
    np.testing.assert_array_equal(samples, load_audio(content).samples)


@pytest.mark.parametrize(
    "kind",
    [
        MP3, Kind("mp3", "libmp3lame", 16000), Kind("mp2", "mp2", 16000),
        Kind("mp3", "libmp3lame", 44100, options=(("write_xing", "0"),)), Kind("adts", "aac", 16000),
        Kind("ac3", "ac3", 48000),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("where", ["front", "middle", "several"])
def test_junk_inside_a_stream_of_frames_is_passed_over(kind: Kind, where: str) -> None:
    content, junk = made(kind, SECONDS), np.random.default_rng(3).bytes(5000)
    places = {"front": [0], "middle": [len(content) // 2], "several": [len(content) // 4, len(content) // 2]}[where]
    damaged = content
    for place in reversed(places):
        damaged = damaged[:place] + junk + damaged[place:]
    whole = load_audio(content).samples
    for source in ways(damaged):
        samples, problem = heard(source)
        assert problem is None
        assert abs(len(samples) - len(whole)) < 16000 * 0.2


def test_an_mp3_with_a_large_picture_before_it_is_read() -> None:
    content = made(MP3, SECONDS)
    picture = np.random.default_rng(5).bytes(200_000)
    size = bytes(len(picture) >> shift & 127 for shift in (21, 14, 7, 0))
    tagged = b"ID3\x04\0\0" + size + picture + content
    np.testing.assert_array_equal(load_audio(tagged).samples, load_audio(content).samples)


# --- the decision -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "came", "decoder", "expected"),
    [
        (Claims(), (16000, 1.0), "", ""),
        (Claims(), (16000, 1.0), "lost sync", "lost sync"),
        (Claims(samples=16000), (16000, 0.0), "lost sync", ""),
        (Claims(samples=16001), (16000, 0.0), "", "16000 of 16001 samples are there"),
        (Claims(exact_seconds=1.0), (16000, 0.0), "lost sync", ""),
        (Claims(exact_seconds=1.5), (16000, 0.0), "", "1.0 of 1.5 s are there"),
        (Claims(timed_seconds=1.4), (16000, 1.0), "", ""),
        (Claims(timed_seconds=2.0), (16000, 1.0), "", "1.0 of 2.0 s are there"),
        (Claims(exact_seconds=1.0), (0, 0.0), "", "0.0 of 1.0 s are there"),
    ],
)
def test_the_decision(claims: Claims, came: tuple[int, float], decoder: str, expected: str) -> None:
    samples, seconds = came
    assert claims.problem(samples, 16000 if samples else 0, seconds, decoder) == expected


def test_what_can_have_been_recorded() -> None:
    day = 24 * 3600.0
    assert not unpacks_without_end(day, int(day * 1000))  # MP3 of 8 kbit/s
    assert not unpacks_without_end(3600, 100), "an hour of nothing"
    assert unpacks_without_end(day, 1 << 20)


def test_a_bomb_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    from tdt.audio import ending

    monkeypatch.setattr(ending, "MOST_SAMPLES", 16000 * 60)
    monkeypatch.setattr(ending, "LEAST_BYTES_A_SECOND", 10_000)
    content = by_sndfile(np.zeros(16000 * 600, np.float32), 16000, "FLAC")
    with open_sound(open_bytes(content, "bomb")) as sound:
        given: list[int] = []
        with pytest.raises(AudioReadError, match="unpack to more than"):
            given.extend(len(block.samples) for block in sound.blocks)
    assert sum(given) <= 16000 * 80


def test_an_avi_of_two_tracks_and_a_title_that_looks_like_facts() -> None:
    with tdt.load() as asr:
        results = asr.transcribe([FAULTS / "y2s.avi", FAULTS / "meta4.m4a", FAULTS / "w34_gsm.wav"])
        assert [result.text for result in results] == [WORDS] * 3
        assert results[0].audio_seconds == pytest.approx(4.4, abs=0.05)
        title = by_ffmpeg(
            {"": speech(4.4)[:, None]}, 16000, "mp4", "aac", metadata={"title": "Audio: 8000 Hz, 6 channels"}
        )
        assert asr.transcribe(title).text == WORDS


# --- the page ---------------------------------------------------------------------------------------------------------

# What the page calls a container, where that is not its name in capitals.
PAGE_NAMES = {
    "ipod": "M4A", "adts": "AAC", "latm": "AAC", "eac3": "E-AC-3", "ac3": "AC-3", "matroska": "Matroska",
    "webm": "WebM", "mpegts": "MPEG transport stream", "mpeg": "MPEG program stream", "wv": "WavPack", "ogg": "Ogg",
    "wavex": "WAV",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_page_on_audio_says_what_these_tests_find(kind: Kind) -> None:
    page = (Path(__file__).resolve().parents[2] / "tools/readme/audio.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    name = PAGE_NAMES.get(kind.container.lower(), kind.container.upper())
    found = [row for row in rows if len(row) == 3 and name in row[0].split(", ")]
    assert len(found) == 1, name
    _, shows, joined = found[0]
    assert shows.startswith("nothing") == (kind.container in CANNOT_TELL)
    assert ("refused" in shows) == (kind.container in {"mp4", "ipod", "mov", "3gp"})
    assert (joined == "the first is read") == (kind.container in NOT_JOINED)
