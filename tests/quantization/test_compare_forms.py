"""`tdt compare` of models in any two forms and layouts."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tdt.commands import main
from tdt.model.finding import BUNDLED, find_model

from .. import quantised_forms as q

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# What a folder is called here -> its layout and how its graphs are made; the second argument is a scratch folder.
MADE: dict[str, tuple[str, Callable[[str, Path], Any]]] = {
    "float16": ("onnx-asr", q.FORMS["float16"]),
    "2 bits": ("onnx-asr", lambda name, _: q.blocks(q.source(name), 2, 16, symmetric=False)),
    "4 bits": ("onnx-asr", q.FORMS["`MatMulNBits`, 4 bits, with `GatherBlockQuantized`"]),
    "8 bits, split": ("sherpa-onnx", q.FORMS["`MatMulNBits`, 8 bits"]),
    "4 bits, split": ("sherpa-onnx", q.FORMS["`MatMulNBits`, 4 bits, with `GatherBlockQuantized`"]),
    "Q/DQ": ("onnx-asr", q.FORMS["Q/DQ, int8, symmetric"]),
    "Q/DQ, split": ("sherpa-onnx", q.FORMS["Q/DQ, int8, symmetric"]),
    "dynamic": ("onnx-asr", q.FORMS["8 bits, dynamic (`MatMulInteger`)"]),
}
HELD = {
    "float32": "float32", "float16": "float16", "2 bits": "int2", "4 bits": "int4", "8 bits, split": "int8",
    "4 bits, split": "int4", "Q/DQ": "int8", "Q/DQ, split": "int8", "dynamic": "int8",
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made = {"float32": BUNDLED}

    def folder(name: str) -> Path:
        if name not in made:
            scratch = tmp_path_factory.mktemp("scratch")
            layout, make = MADE[name]
            write = q.write if layout == "onnx-asr" else q.write_split
            made[name] = write(scratch / "model", lambda file: make(file, scratch))
        return made[name]

    return folder


@pytest.mark.parametrize(
    ("first", "second", "least"),
    [
        ("float32", "float16", 0.98),
        ("float32", "8 bits, split", 0.97),
        ("float16", "4 bits", 0.6),
        ("4 bits", "4 bits, split", 0.99),
        ("Q/DQ", "Q/DQ, split", 0.97),
        ("2 bits", "float32", 0.6),
        ("8 bits, split", "dynamic", 0.8),
    ],
)
def test_any_two_forms_are_compared(
    folders: Callable[[str], Path],
    first: str,
    second: str,
    least: float,
    eval_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recordings = [str(path) for path in sorted(eval_folder.glob("*.flac"))[:8]]
    models = [str(folders(name)) for name in (first, second)]
    for name, folder in zip((first, second), models, strict=True):
        assert find_model(folder)[0].encoder_precision == HELD[name]
    assert main(["compare", *models, "--audio", *recordings, "--lengths", "5", "--runs", "1", "--json", "-", "-q"]) == 0
    one, other = json.loads(capsys.readouterr().out)["variants"]
    assert one["tokens_equal"] == 1.0
    assert least <= other["tokens_equal"] <= 1.0
    (row,) = other["lengths"]
    assert 0.8 < row["cosine"] <= 1.0001
    assert (row["error"] < 1e-3) == (second == f"{first}, split")  # the same numbers in two layouts
    assert min(one["encoder_bytes"], other["encoder_bytes"], one["decoder_bytes"], other["decoder_bytes"]) > 1e5


def test_precisions_of_one_folder_are_compared(
    folders: Callable[[str], Path], eval_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = tmp_path / "model"
    shutil.copytree(BUNDLED, both)
    shutil.copyfile(folders("4 bits") / q.ENCODER, both / "encoder-model.q4.onnx")
    recording = str(next(iter(sorted(eval_folder.glob("*.flac")))))
    words = ["--audio", recording, "--lengths", "1", "--runs", "1", "--json", "-", "-q"]
    assert main(["compare", str(both), f"{both}#int4", *words]) == 0
    one, other = json.loads(capsys.readouterr().out)["variants"]
    assert (one["quantization"], other["quantization"]) == ("float", "weight-only")
    assert main(["compare", str(both), f"{both}#int2", *words]) == 1
    assert "only float32 (encoder-model.onnx), int4 (encoder-model.q4.onnx)" in capsys.readouterr().err
