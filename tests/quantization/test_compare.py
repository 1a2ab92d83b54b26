"""`tdt compare`: scores, agreement, lengths, reports."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tdt.commands import main
from tdt.errors import OptionError
from tdt.quantization.comparison import Variant, agreement, joined
from tdt.quantization.scoring import error_rates, normalizer, read_references, simple_normalizer


@pytest.mark.parametrize(
    ("text", "model", "provider", "precision"),
    [
        ("v3", "v3", "cpu", None),
        ("v3@cuda:0,tf32", "v3", "cuda:0,tf32", None),
        ("v3#int8", "v3", "cpu", "int8"),
        ("a/b@tensorrt:0,int8#float32", "a/b", "tensorrt:0,int8", "float32"),
    ],
)
def test_variants_are_read(text: str, model: str, provider: str, precision: str | None) -> None:
    assert Variant.parse(text) == Variant(model, provider, precision)


def test_a_folder_with_an_at_sign_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model@home#1"
    folder.mkdir()
    assert Variant.parse(str(folder)).model == str(folder)
    with pytest.raises(OptionError, match="float32, float16, int8, int4, int2"):
        Variant.parse("v3#int5")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", "hello world"),
        ("It's  a   test-case.", "it's a test case"),
        ("'Quoted' and 5 o\u2019clock", "quoted and 5 o'clock"),
        ("\u00c4RGER \u2014 na ja\u2026", "\u00e4rger na ja"),
    ],
)
def test_the_simple_normaliser(text: str, expected: str) -> None:
    assert simple_normalizer(text) == expected


def test_normalisers_by_name() -> None:
    assert normalizer("whisper")("Mr. Smith's colour") == "mister smith is color"
    assert normalizer("none")("  As it Is. ") == "As it Is."
    with pytest.raises(OptionError, match="simple, whisper, none"):
        normalizer("other")  # type: ignore[arg-type]


def test_error_rates_count_over_all_clips() -> None:
    wer, cer = error_rates(["a b c d", "", "x"], ["a b e d", "noise", "x y"])
    assert wer == pytest.approx(2 / 5)
    assert cer == pytest.approx(3 / 8)  # one letter of "a b c d" is wrong, " y" is too many


def test_references_come_from_a_table_or_from_beside(tmp_path: Path) -> None:
    clips = [tmp_path / "a.wav", tmp_path / "b.wav"]
    (tmp_path / "a.txt").write_text("beside\n")
    assert read_references(None, clips) == {clips[0]: "beside"}
    table = tmp_path / "t.tsv"
    table.write_text('file\ttext\tvoice\nb.wav\tsaid "so"\tx\n')
    assert read_references(table, clips) == {clips[1]: 'said "so"'}
    table.write_text("other.wav\tnothing\n")
    with pytest.raises(OptionError, match=r"a\.wav"):
        read_references(table, clips)


def test_agreement_of_known_vectors() -> None:
    left = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)
    right = np.array([[1.0, 0.0], [2.0, 0.0]], np.float32)
    cosines, error = agreement([left], [right])
    np.testing.assert_allclose(cosines, [1.0, 0.0], atol=1e-7)
    assert error == pytest.approx(np.sqrt(8 / 5))


def test_recordings_are_joined_to_a_length() -> None:
    clips = [np.full(16000, value, np.float32) for value in range(7)]
    pieces = joined(clips, 3.0)
    assert [len(piece) for piece in pieces] == [48000, 48000]
    np.testing.assert_array_equal(pieces[1][::16000], [3.0, 4.0, 5.0])
    assert joined(clips, 8.0) == []


def test_the_command_writes_every_report(
    models: Path, eval_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(models / "parakeet-tdt-tiny-onnx")
    recordings = [str(path) for path in sorted(eval_folder.glob("p2[0-5]*.flac"))]
    files = {name: tmp_path / f"report.{name}" for name in ("json", "md", "png")}
    arguments = ["compare", f"{model}#float32", f"{model}#int8", "--audio", *recordings, "--lengths", "5,10", "-q"]
    arguments += ["--references", str(eval_folder / "transcripts.tsv"), "--runs", "1", "--normalizer", "whisper"]
    arguments += ["--json", str(files["json"]), "--markdown", str(files["md"]), "--plot", str(files["png"])]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    content = json.loads(files["json"].read_text())
    first, second = content["variants"]
    assert (first["quantization"], second["quantization"]) == ("float", "dynamic")
    assert first["tokens_equal"] == 1.0
    assert first["clips_equal"] == content["clips"] == 6
    assert second["tokens_equal"] < 1.0
    assert [row["seconds"] for row in second["lengths"]] == [5.0, 10.0]
    for row in second["lengths"]:
        assert 0.9 < row["cosine"] < 0.9999
        assert row["worst_cosine"] < row["cosine"]
        assert row["encoder_ms"] > 0
    assert 0 <= first["wer"] < 0.3
    assert second["encoder_bytes"] < 0.5 * first["encoder_bytes"]
    worst = second["worst"][0]
    assert worst["token_edits"] == max(item["token_edits"] for item in second["worst"]) > 0
    assert worst["file"] in shown
    assert "parakeet-tdt-tiny-onnx#int8" in shown
    assert files["md"].read_text().startswith("| variant |")
    assert files["png"].read_bytes().startswith(b"\x89PNG")


def test_one_variant_or_models_that_do_not_compare_are_refused(
    eval_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ..tiny_models import Shape, write

    recording = str(next(eval_folder.glob("*.flac")))
    assert main(["compare", "parakeet-tdt-tiny", "--audio", recording]) == 2
    assert "two at least" in capsys.readouterr().err
    write(tmp_path / "other", Shape(), "onnx-asr")
    assert main(["compare", "parakeet-tdt-tiny", str(tmp_path / "other"), "--audio", recording]) == 2
    assert "vocabulary" in capsys.readouterr().err
    assert main(["compare", "parakeet-tdt-tiny", str(tmp_path / "none"), "--audio", recording]) == 1


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--references", "latin.tsv"], 2, "iconv"),
        (["--references", "other.tsv"], 2, "such as clip.flac"),
        ([], 2, "clip.txt"),
        (["--markdown", "no/such/folder/x.md"], 2, "can be written"),
        (["--json", "."], 2, "can be written"),
        (["--plot", "no/such/folder/x.png"], 2, "can be written"),
        (["--references", "said.tsv", "--normalizer", "whisper"], 1, "whisper-normalizer"),
        (["--references", "said.tsv"], 1, "jiwer"),
        (["--plot", "x.png"], 1, "matplotlib"),
    ],
)
def test_all_is_checked_before_the_work_starts(
    words: list[str],
    status: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clip.flac").write_bytes(b"not even read")
    Path("clip.txt").write_bytes("Grüße".encode("latin-1"))
    Path("latin.tsv").write_bytes("clip.flac\tGrüße\n".encode("latin-1"))
    Path("other.tsv").write_text("other.flac\tyes\n")
    Path("said.tsv").write_text("clip.flac\tyes\n")
    for package in ("jiwer", "whisper_normalizer", "whisper_normalizer.english", "matplotlib"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("tdt.audio.loading.load_audio", lambda *_, **__: pytest.fail("the work has started"))
    assert main(["compare", "parakeet-tdt-tiny", "parakeet-tdt-tiny", "--audio", "clip.flac", *words]) == status
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "clip.flac", "clip.txt", "latin.tsv", "other.tsv", "said.tsv",
    ]  # fmt: skip
