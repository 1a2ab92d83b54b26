"""Precisions by name and by content: which file is taken, and what is said where none is there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import onnx
import pytest

import tdt
from tdt.commands import main
from tdt.errors import ModelFileNotFoundError, OptionError
from tdt.model.finding import find_model, inspect_model
from tdt.model.layouts import choose
from tdt.model.precisions import held_by, said_by, without_precision
from tdt.spec import Precision

from .. import quantised_forms as q
from ..parakeet_tiny import BUNDLED

if TYPE_CHECKING:
    from collections.abc import Callable

SAID = {
    "encoder-model": None, "encoder-epoch-9": None, "encoder.fp32": "float32", "encoder-model.fp16": "float16",
    "encoder_model_fp16": "float16", "encoder-model.half": "float16", "encoder-model.int8": "int8",
    "encoder_model_uint8": "int8", "encoder.qint8": "int8", "encoder-model.q8": "int8",
    "encoder_model_quantized": "int8",
    "encoder-model-8bit": "int8", "encoder-model.int4": "int4", "encoder.uint4": "int4", "encoder-model.q4": "int4",
    "encoder_model_q4f16": "int4", "encoder_model_bnb4": "int4", "Encoder.INT4": "int4", "encoder-model.int2": "int2",
    "encoder.q2": "int2", "encoder-model_2bit": "int2", "encoder8": None, "encoder-model.int3": None,
}  # fmt: skip


@pytest.mark.parametrize(("base", "expected"), SAID.items())
def test_names_say_precisions(base: str, expected: str | None) -> None:
    assert said_by(base) == expected
    assert without_precision(base) == (base if expected is None else base[: max(map(base.rfind, "._-"))])


REST = ["vocab.txt", "config.json"]
INT4 = ["encoder-model.int4.onnx", "decoder_joint-model.int8.onnx"]  # as such exports are published
REDUX = ["encoder-model.onnx", "decoder_joint-model.int8.onnx"]


@pytest.mark.parametrize(
    ("names", "precision", "chosen"),
    [
        (INT4, None, INT4),
        (INT4, "int4", INT4),
        ([*INT4, "encoder-model.int8.onnx", "decoder_joint-model.onnx"], "int4", INT4),
        ([*INT4, "encoder-model.int8.onnx"], None, ["encoder-model.int8.onnx", INT4[1]]),
        ([*INT4, "encoder-model.fp16.onnx", "decoder_joint-model.fp16.onnx"], "float16",
         ["encoder-model.fp16.onnx", "decoder_joint-model.fp16.onnx"]),
        ([*INT4, "encoder-model.q2.onnx", "decoder_joint-model.fp16.onnx"], "int2", ["encoder-model.q2.onnx", INT4[1]]),
        (["encoder-model.q8.onnx", "decoder_joint-model.q8.onnx"], "int8",
         ["encoder-model.q8.onnx", "decoder_joint-model.q8.onnx"]),
        (REDUX, None, REDUX),
    ],
)  # fmt: skip
def test_files_of_a_precision(names: list[str], precision: Precision | None, chosen: list[str]) -> None:
    files = choose(Path("there"), [*names, *REST], precision)
    assert [path.name for path in (files.encoder, files.decoder_joint) if path is not None] == chosen


@pytest.mark.parametrize(
    ("names", "precision", "said"),
    [
        ([*INT4, "encoder-model.onnx", "encoder-model.q8.onnx"], "int2",
         r"'int2', only encoder-model\.onnx, which says none .*, int8 \(encoder-model\.q8\.onnx\), int4 \("),
        (INT4, "float32", r"'float32', only int4 \(encoder-model\.int4\.onnx\)"),
        (INT4, "int8", r"'int8', only int4 \(encoder-model\.int4\.onnx\)"),
    ],
)  # fmt: skip
def test_a_precision_that_is_not_there_names_those_that_are(names: list[str], precision: Precision, said: str) -> None:
    with pytest.raises(ModelFileNotFoundError, match=said):
        choose(Path("there"), [*names, *REST], precision)


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, str]], Path]:
    """Return a maker of folders: file name → form of that graph."""
    made: dict[tuple[str, str], bytes] = {}

    def graph(source: str, form: str) -> bytes:
        if (source, form) not in made:
            model = q.source(source)
            if form == "half":
                model = q.half(model)
            elif form:
                model = q.blocks(model, int(form), 32, symmetric=True)
            made[source, form] = model.SerializeToString()
        return made[source, form]

    def folder(files: dict[str, str]) -> Path:
        path = tmp_path_factory.mktemp("forms") / "model"
        path.mkdir()
        for name in ("vocab.txt", "config.json"):
            shutil.copyfile(BUNDLED / name, path / name)
        for name, form in files.items():
            (path / name).write_bytes(graph(q.ENCODER if name.startswith("encoder") else q.DECODER, form))
        return path

    return folder


@pytest.mark.parametrize(
    ("form", "held"), [("", "float32"), ("half", "float16"), ("8", "int8"), ("4", "int4"), ("2", "int2")]
)
def test_every_precision_is_chosen_by_name_and_by_what_is_inside(
    forms: Callable[[dict[str, str]], Path], form: str, held: Precision
) -> None:
    suffix = {"": "", "half": ".fp16", "8": ".q8", "4": ".int4", "2": ".int2"}[form]
    named = forms({"encoder-model.onnx": "", "decoder_joint-model.onnx": "", f"encoder-model{suffix}.onnx": form})
    silent = forms({"encoder-model.onnx": form, "decoder_joint-model.onnx": ""})
    for folder in (named, silent):
        files, _ = find_model(folder, precision=held)
        assert (files.encoder_precision, files.decoder_precision) == (held, "float32")
    assert find_model(named)[0].encoder_precision == "float32"
    assert find_model(silent)[0].encoder_precision == held
    assert find_model(named, precision=held)[0].encoder.name == f"encoder-model{suffix}.onnx"
    for other in set(get_args(Precision)) - {held}:
        with pytest.raises(ModelFileNotFoundError, match=rf"'{other}', only {held} \(encoder-model\.onnx\)"):
            find_model(silent, precision=other)


def test_a_model_of_mixed_precisions_transcribes(forms: Callable[[dict[str, str]], Path], golden_folder: Path) -> None:
    folder = forms({"encoder-model.int4.onnx": "4", "decoder_joint-model.int8.onnx": "8"})
    clip = golden_folder / "03_flite-rms.flac"
    with tdt.load(folder, precision="int4") as recognizer:
        assert (recognizer.files.encoder_precision, recognizer.files.decoder_precision) == ("int4", "int8")
        assert "open source project" in recognizer.transcribe(clip).text


def test_the_command_names_the_precisions(
    forms: Callable[[dict[str, str]], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = forms({"encoder-model.q4.onnx": "4", "decoder_joint-model.onnx": ""})
    assert main(["inspect", str(folder), "--precision", "int4"]) == 0
    assert "MatMulNBits of 4 bits" in capsys.readouterr().out
    assert main(["inspect", str(folder), "--precision", "int2"]) == 1
    assert "'int2', only int4 (encoder-model.q4.onnx)" in capsys.readouterr().err
    with pytest.raises(OptionError, match=r"'q4'.*int8.*int4.*int2"):
        find_model(folder, precision="q4")  # type: ignore[arg-type]


def test_most_of_the_matrices_decide(tmp_path: Path) -> None:
    """A graph with 4-bit products and 8-bit activations is int4, whatever one layer has."""
    model = q.blocks(q.source(q.ENCODER), 4, 32, symmetric=True)
    products = [node for node in model.graph.node if node.op_type == "MatMulNBits"]
    for attribute in products[0].attribute:
        if attribute.name == "bits":
            attribute.i = 8
    shutil.copytree(BUNDLED, tmp_path / "model")
    onnx.save(model, str(tmp_path / "model" / q.ENCODER))
    assert held_by(inspect_model(tmp_path / "model").graphs["encoder"]) == "int4"
