"""Batches of rows in, the same rows with texts out: called as a map over batches calls it, without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import tdt
import tdt.corpus
from tdt.corpus.items import Item
from tdt.corpus.opening import AHEAD
from tdt.errors import AudioTailError, OptionError, TdtError
from tdt.text import Transcript

from ..skipping import skipping
from .making import clips


@pytest.fixture(scope="module")
def transcriber() -> tdt.corpus.Transcriber:
    return tdt.corpus.Transcriber(detail="tokens")


@pytest.fixture(scope="module")
def expected(transcriber: tdt.corpus.Transcriber) -> dict[str, str]:
    found = transcriber.recognizer.transcribe([str(path) for path in clips()])
    return {str(path): transcript.text for path, transcript in zip(clips(), found, strict=True)}


PATHS = [str(path) for path in clips()[:5]]


def columns(kind: str) -> dict[str, Any]:
    content = [Path(path).read_bytes() for path in PATHS]
    return {
        "paths": {"audio_filepath": PATHS},
        "objects": {"path": np.array(PATHS, object)},
        "bytes": {"bytes": np.array(content, object)},
        "hugging face": {"audio": [{"bytes": one, "path": "x.flac"} for one in content]},
        "hugging face paths": {"audio": [{"bytes": None, "path": path} for path in PATHS]},
        "webdataset": {"__key__": ["k"] * 5, "json": [b"{}"] * 5, "flac": content},
        "arrays": {"audio": [soundfile.read(path, dtype="float32")[0] for path in PATHS]},
    }[kind]


@pytest.mark.parametrize(
    "kind", ["paths", "objects", "bytes", "hugging face", "hugging face paths", "webdataset", "arrays"]
)
def test_columns_of_every_kind(kind: str, transcriber: tdt.corpus.Transcriber, expected: dict[str, str]) -> None:
    given = columns(kind)
    found = transcriber({"id": list(range(5)), **given})
    assert found["pred_text"] == [expected[path] for path in PATHS]
    assert found["error"] == [None] * 5
    assert list(found["id"]) == list(range(5))
    encoded = kind not in {"paths", "objects"}
    assert set(found) & set(given) == ({"__key__", "json"} & set(given) if encoded else set(given))
    assert [[word["text"] for word in words] for words in found["words"]] == [expected[path].split() for path in PATHS]
    assert all(token["end"] <= 60 for tokens in found["tokens"] for token in tokens)


def test_every_row_comes_back_once_and_in_place(
    transcriber: tdt.corpus.Transcriber, expected: dict[str, str], tmp_path: Path
) -> None:
    """What would be caught: a failed row that is dropped, an empty text in its place, or rows out of their turn."""
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound")
    rows: list[Any] = []
    for number in range(3 * AHEAD):
        rows.append(("none.wav", str(bad), "", None, 7, b"")[number % 6] if number % 5 in {1, 2} else PATHS[number % 4])
    rows += [str(bad), "none.wav"]
    found = transcriber({"audio": rows})
    assert len(found["pred_text"]) == len(rows)
    for row, text, error in zip(rows, found["pred_text"], found["error"], strict=True):
        if row in PATHS:
            assert (text, error) == (expected[row], None)
        else:
            assert text is None
            assert issubclass(getattr(tdt, error["type"]), TdtError)
            assert error["message"]
    assert transcriber({"audio": []})["pred_text"] == []
    assert transcriber({"audio": ["none.wav"]})["pred_text"] == [None]


def test_what_rows_say_of_parts(transcriber: tdt.corpus.Transcriber, tmp_path: Path, expected: dict[str, str]) -> None:
    sounds = [soundfile.read(path)[0] for path in PATHS]
    soundfile.write(tmp_path / "all.wav", np.concatenate(sounds), 16000)
    begins = np.cumsum([0, *map(len, sounds)])[:-1] / 16000
    rows = {
        "audio_filepath": [str(tmp_path / "all.wav")] * 5,
        "offset": begins,
        "duration": [len(sound) / 16000 for sound in sounds],
    }
    assert transcriber(rows)["pred_text"] == [expected[path] for path in PATHS]
    rows |= {"offset": [0, np.nan, -1, "x", 1e12], "duration": [None] * 5}
    found = transcriber(rows)
    assert [error is None for error in found["error"]] == [True, True, False, False, False]


def test_columns_that_cannot_be_meant(transcriber: tdt.corpus.Transcriber) -> None:
    with pytest.raises(OptionError, match="a column with the audio"):
        transcriber({"text": ["a"]})
    with pytest.raises(OptionError, match="columns of 2 rows each, as 'audio' has"):
        transcriber({"audio": PATHS[:2], "id": [1]})
    with pytest.raises(OptionError, match="detail='letters'"):
        tdt.corpus.Transcriber(detail="letters")


def test_what_breaks_off_is_an_error_with_what_was_heard(transcriber: tdt.corpus.Transcriber, tmp_path: Path) -> None:
    """Short and long: a text that lacks its end must not pass for a whole one."""
    for seconds, name in ((4.0, "short.wav"), (90.0, "long.wav")):
        sounds = np.concatenate([soundfile.read(path)[0] for path in clips()] * 2)[: int(seconds * 16000)]
        soundfile.write(tmp_path / "whole.wav", sounds, 16000)
        content = (tmp_path / "whole.wav").read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) * 3 // 4])
        found = transcriber({"audio": [str(tmp_path / name)]})
        assert found["pred_text"] == [None]
        assert found["error"][0]["type"] == "AudioTailError"
        assert found["error"][0]["partial_text"]


def test_items_are_taken_as_the_work_goes_on(transcriber: tdt.corpus.Transcriber) -> None:
    """What would be caught: a batch of any size whose sound is all in memory before the first text comes."""
    taken = 0

    def items() -> Any:
        nonlocal taken
        for _ in range(400):
            taken += 1
            yield Item("clip", {}, PATHS[0])

    results = transcriber.results(items())
    _, first = next(results)
    assert isinstance(first, Transcript)
    assert taken <= 2 * AHEAD + 4
    results.close()  # type: ignore[attr-defined]


def test_long_recordings_stay_out_of_memory(transcriber: tdt.corpus.Transcriber, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.flac", np.tile(soundfile.read(PATHS[4])[0], 60), 16000)
    ready = transcriber.opener.open(Item("long", {}, str(tmp_path / "long.flac")))
    assert not isinstance(ready.sound, TdtError)
    assert ready.sound.long
    assert ready.sound.audio is None
    ready.sound.close()


def test_a_transcript_is_the_same_alone_and_in_company(transcriber: tdt.corpus.Transcriber) -> None:
    """To the last bit, confidences included; and with any number of threads: so any worker writes the same bytes."""
    alone = [transcriber.recognizer.transcribe(str(path)) for path in clips()]
    items = [Item("clip", {}, str(path)) for path in (*clips(), *clips()[::-1], *clips()[::3])]
    for number, (_, found) in enumerate(transcriber.results(items)):
        assert found == alone[clips().index(Path(str(items[number].source)))]
    with tdt.load(threads=1) as one:
        assert [one.transcribe(str(path)) for path in clips()] == alone
    assert not any(isinstance(one, AudioTailError) for one in alone)


def test_skipped_speech_is_decoded_again_or_told() -> None:
    """As :meth:`tdt.Recognizer.transcribe` does it; a row says nothing of gaps where there are none."""
    rows = {"audio_filepath": PATHS[1:4]}
    made = tdt.corpus.Transcriber()
    with skipping(made.recognizer, [(0, 60)], again=True):
        whole = made.recognizer.transcribe(PATHS[1:4])
        found = made(rows)
    assert any(one.gaps for one in whole)
    assert found["pred_text"] == [one.text for one in whole]
    expected = [[{"start": round(gap.start, 3), "end": round(gap.end, 3)} for gap in one.gaps] or None for one in whole]
    assert found["gaps"] == expected
    blind = tdt.corpus.Transcriber(second_look=False)
    with skipping(blind.recognizer, [(0, 60)], again=True):
        assert blind(rows)["gaps"] == [None] * 3
