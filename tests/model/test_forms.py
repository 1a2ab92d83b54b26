"""Every quantised form: what the table in the README's model page says of it is what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt
from tdt.audio.loading import load_audio
from tdt.decoding.greedy import OnnxEngine
from tdt.decoding.native import NativeEngine
from tdt.encoding.encoder import Encoder
from tdt.errors import ProviderError
from tdt.model.finding import find_model, inspect_model
from tdt.model.inspection import describe
from tdt.onnxfile import BlockRounding, read_graph
from tdt.runtime import form_problem, require_kernels
from tdt.runtime.backend import Backend
from tdt.stages import Features

from .. import quantised_forms as q
from ..decoding.test_native_engine import events, padded

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[2] / "tools/readme/models.md"
COLUMNS = ("inspect", "native decoder", "CPU", "CUDA", "TensorRT")


def table() -> dict[tuple[str, str], str]:
    """Return the cells of the page's table by row and column."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    start = next(i for i, line in enumerate(lines) if line.startswith("| form |"))
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[start:]]
    head, found = rows[0], {}
    assert tuple(head[1:]) == COLUMNS
    for row in rows[2:]:
        if len(row) != len(head):
            break
        found |= {(row[0], column): cell for column, cell in zip(head[1:], row[1:], strict=True)}
    return found


CELLS = table()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(form: str) -> Path:
        if form not in made:
            scratch = tmp_path_factory.mktemp("scratch")
            made[form] = q.write(scratch / "model", lambda name: q.FORMS[form](name, scratch))
        return made[form]

    return folder


@pytest.fixture(scope="module")
def frames(eval_folder: Path) -> list[Any]:
    """Return encoder output of the golden and the evaluation clips."""
    recordings = Path(tdt.__file__).parent / "models/recordings"
    with tdt.load() as asr:
        clips = [load_audio(path).samples for path in sorted((*recordings.glob("*.flac"), *eval_folder.glob("*.flac")))]
        encoded = [asr.encode(asr.features([clip])) for clip in clips]
    return [np.ascontiguousarray(one.frames[0, : one.lengths[0]]) for one in encoded]


def test_the_table_has_every_form_and_no_other() -> None:
    assert {form for form, _ in CELLS} == set(q.FORMS)
    assert set(CELLS.values()) == {"yes", "refused"}


@pytest.mark.parametrize(("form", "column"), CELLS, ids=str)
def test_a_cell_says_what_the_code_does(
    form: str, column: str, folders: Callable[[str], Path], frames: list[Any]
) -> None:
    checks: dict[str, Callable[[Path, str], bool]] = {
        "inspect": inspects,
        "native decoder": lambda folder, form: decodes_natively(folder, form, frames),
        "CPU": encodes,
        "CUDA": lambda folder, _: runs_on(folder, "cuda"),
        "TensorRT": lambda folder, _: runs_on(folder, "tensorrt"),
    }
    assert checks[column](folders(form), form) == (CELLS[form, column] == "yes")


def inspects(folder: Path, form: str) -> bool:
    described = describe(inspect_model(folder))
    shown = " ".join(str(found) for part in described.parts for found in part.forms)
    bits = re.search(r"(\d+) bits|int(\d+)|(float16)", form)
    expected = next(filter(None, bits.groups())) if bits is not None else ""
    wanted = f"{expected} bits" if expected.isdecimal() else expected
    return described.ok and wanted in shown and bool(shown) == (form != "float32")


def decodes_natively(folder: Path, form: str, frames: list[Any]) -> bool:
    """Tokens, frames and durations are those of the graphs; log-probabilities too, but for roundings at an edge."""
    files, spec = find_model(folder)
    dynamic = "dynamic" in form  # whose 8-bit products are another option
    native = NativeEngine(files, spec, weights="float32" if dynamic else "auto").decode(padded(frames))[0]
    graphs = OnnxEngine(files, spec, Backend()).decode(padded(frames))[0]
    same = [events(one) for one in native] == [events(one) for one in graphs]
    return same and sum(map(len, native)) > 600


def encodes(folder: Path, form: str) -> bool:
    """The encoder gives what the file gives; a float16 one what it gives with results rounded as a card's."""
    import onnxruntime

    files, spec = find_model(folder)
    noise = np.random.default_rng(2).standard_normal((1, spec.n_mels, 160)).astype(np.float32)
    features = Features(noise, np.array([160]))
    encoded = Encoder(files, spec, Backend()).encode(features)
    plain = onnxruntime.InferenceSession(str(files.encoder), providers=["CPUExecutionProvider"])
    (expected, _) = plain.run(None, {"audio_signal": noise, "length": np.array([160])})
    found, wanted = encoded.frames[0], expected[0].T[: encoded.lengths[0]]
    similarity = float((found * wanted).sum() / np.linalg.norm(found) / np.linalg.norm(wanted))
    exact = not ("Q/DQ, " in form or "float16" in form)
    return bool(np.allclose(found, wanted, atol=1e-4)) if exact else similarity > 0.99


def runs_on(folder: Path, provider: str) -> bool:
    graph = read_graph(find_model(folder)[0].encoder)
    problem = form_problem(graph, provider)
    if problem:
        with pytest.raises(ProviderError, match=r'precision="float32"|float32 model') as caught:
            require_kernels(graph, Backend.parse(provider))
        assert 'provider="' in str(caught.value)
    else:
        require_kernels(graph, Backend.parse(provider))
    return not problem


SPLIT = ("8 bits, dynamic", "float16", "Q/DQ, int8", "Q/DQ, uint8", "`MatMulNBits`", "Q/DQ of weights, int4")


@pytest.mark.parametrize("form", [form for form in q.FORMS if form.startswith(SPLIT)])
def test_the_split_layout_is_read_run_and_lifted_in_every_form(
    form: str, tmp_path: Path, frames: list[Any], golden_folder: Path
) -> None:
    folder = q.write_split(tmp_path / "model", lambda name: q.FORMS[form](name, tmp_path))
    described = describe(inspect_model(folder))
    assert described.layout == "sherpa-onnx"
    assert {part.role for part in described.parts if part.forms} >= {"encoder", "joiner"}
    assert inspects(folder, form)
    assert encodes(folder, form)
    assert decodes_natively(folder, form, frames)
    with tdt.load(folder) as recognizer:
        assert recognizer.transcribe(golden_folder / "03_flite-rms.flac").text.startswith("The open source project")


@pytest.mark.slow
@pytest.mark.parametrize("level", [0, 4])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("block", [16, 64, 128, 256])
@pytest.mark.parametrize("bits", [8, 4])
def test_every_block_and_level_decodes_as_its_graphs(
    bits: int, block: int, symmetric: bool, level: int, tmp_path: Path, frames: list[Any]
) -> None:
    def make(name: str) -> Any:
        if name == q.ENCODER:
            return q.source(name)
        return q.blocks(q.source(name), bits, block, symmetric=symmetric, level=level, gather=bits == 4)

    assert decodes_natively(q.write(tmp_path / "model", make), "blocks", frames)


@pytest.mark.slow
@pytest.mark.parametrize("opset", [18, 21, 25, 26])
def test_newer_operator_sets_and_file_versions(opset: int, tmp_path: Path, frames: list[Any]) -> None:
    def make(name: str) -> Any:
        model = q.source(name, opset)
        model.ir_version = 13
        return model

    folder = q.write(tmp_path / "model", make)
    assert {(part.opset, part.ir_version) for part in describe(inspect_model(folder)).parts} == {(opset, 13)}
    assert encodes(folder, "float32")
    assert decodes_natively(folder, "float32", frames)


@pytest.mark.parametrize("block", [16, 32, 128])
@pytest.mark.parametrize("bits", [8, 4])
def test_accuracy_level_4_rounds_blocks_of_activations(bits: int, block: int) -> None:
    """What ONNX Runtime computes is, within sums in another order, the product of activations rounded by block."""
    import onnxruntime
    from onnx import helper, numpy_helper

    from tdt.onnxfile import Walker

    rng = np.random.default_rng(3)
    weights, x = rng.standard_normal((160, 40)).astype(np.float32), rng.standard_normal((5, 160)).astype(np.float32)
    ports = [helper.make_tensor_value_info(name, 1, ["M", n]) for name, n in (("x", 160), ("y", 40))]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    made = q.blocks(model, bits, block, symmetric=False, level=4)
    (found,) = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})
    linear = Walker(made, Path("a graph")).linear("y")
    assert linear.before == (BlockRounding(block),)
    rows = linear.matrix.values
    assert np.abs(found - linear.before[0].of(x) @ rows.T).max() < 1e-4
    # Half a step of the block's scale a number: what level 4 may differ by from unrounded activations.
    steps = np.abs(x.reshape(5, -1, 32 if block > 32 else block)).max() / 254
    assert 1e-3 < np.abs(found - x @ rows.T).max() < steps * np.abs(rows).sum(1).max()
