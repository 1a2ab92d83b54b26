"""`tdt convert`: what it says, exit statuses, and the folder it leaves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tdt.commands import main
from tests.conversion import making, micro

if TYPE_CHECKING:
    from pathlib import Path

NEMO, GRAPH = str(micro.NEMO), str(micro.GRAPH)


def test_a_checkpoint_becomes_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", NEMO, "-o", str(tmp_path / "m"), "--graph", GRAPH]) == 0
    said = capsys.readouterr().out
    for words in (
        "onnx-asr layout", "83 tensors used", "62 in encoder, 13 in decoder_joint", "constants kept: onnx::Slice_607",
        "encoder.layers.*.conv.batch_norm.num_batches_tracked (2)", "tdt doctor --model",
    ):  # fmt: skip
        assert words in said
    micro.agree(tmp_path / "m")


def test_json_tells_every_tensor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["convert", NEMO, "-o", str(tmp_path / "m"), "--graph", GRAPH, "--layout", "sherpa-onnx", "--json"]) == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert (told["layout"], told["source"], told["used"], len(told["unused"])) == ("sherpa-onnx", "NeMo", 83, 4)
    assert told["replaced"] == {"encoder": 62, "decoder": 7, "joiner": 6}


def test_a_layout_is_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", GRAPH, "-o", str(tmp_path / "m"), "--layout", "sherpa-onnx", "-q"]) == 0
    assert "brought from the onnx-asr layout" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [
        "decoder.onnx", "encoder.onnx", "joiner.onnx", "tokens.txt"
    ]  # fmt: skip


@pytest.mark.parametrize(("arguments", "status", "words"), [
    ([GRAPH], 2, "layout"), ([NEMO, "--graph", "nowhere/at/all"], 1, "no model"), ([NEMO], 1, "--graph MODEL"),
    (["nowhere.nemo"], 1, "nowhere.nemo"), ([NEMO, "--graph", "parakeet-tdt-tiny"], 1, "2 encoder layers, the graph 8"),
])  # fmt: skip
def test_what_cannot_be_done_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, words: str
) -> None:
    assert main(["convert", *arguments, "-o", str(tmp_path / "m")]) == status
    told = capsys.readouterr()
    assert words in told.err
    assert told.out == ""
    assert not list(tmp_path.iterdir())


def test_a_folder_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["convert", NEMO])
    assert "--output" in capsys.readouterr().err


def test_a_malicious_checkpoint_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = making.named("posix system") + b"(" + making.text("touch evil") + b"tR"
    found = making.members(micro.NEMO)
    found["model_weights.ckpt"] = making.zipped(making.program({"w": call}), {})
    (tmp_path / "bad.nemo").write_bytes(making.archived(found))
    assert main(["convert", str(tmp_path / "bad.nemo"), "-o", str(tmp_path / "m"), "--graph", GRAPH]) == 1
    assert "its pickle names 'posix.system'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["bad.nemo"]


def test_a_missing_package_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "yaml", None)
    assert main(["convert", NEMO, "-o", str(tmp_path / "m"), "--graph", GRAPH]) == 1
    assert "pip install 'parakeet-tdt[convert]'" in capsys.readouterr().err
