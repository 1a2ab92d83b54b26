"""Checkpoints that are damaged, malicious or of another kind: a typed error within a second, nothing run or left."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

from tdt.conversion import convert
from tdt.conversion.archive import read_archive
from tdt.conversion.configuration import parse_yaml
from tdt.conversion.safetensors import read_safetensors
from tdt.conversion.unpickling import read_state
from tdt.errors import CheckpointError, ModelError, ModelFileCorruptError, OtherModelError, UnsafeCheckpointError

from . import making, micro

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path("a.nemo")
SOUND = {"w": making.tensor("float32", "0", (2, 3))}
STORAGE = {"0": np.arange(6, dtype=np.float32).tobytes()}


@pytest.fixture
def no_escape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Fail where anything is run, or left anywhere."""
    monkeypatch.chdir(tmp_path)
    for module, name in ((os, "system"), (os, "popen"), (pickle, "loads"), (pickle, "load")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("something was run"))
    yield tmp_path
    assert {path.name for path in tmp_path.iterdir()} <= {"bad.nemo"}


def refused(folder: Path, content: bytes, kind: type[ModelError], words: str) -> None:
    """Convert `content` and expect an error in a second."""
    (folder / "bad.nemo").write_bytes(content)
    start = time.process_time()  # others may hold the core
    with pytest.raises(kind, match=words):
        convert(folder / "bad.nemo", folder / "out", graph=micro.GRAPH)
    assert time.process_time() - start < 1


def nemo(checkpoint: bytes | None = None, **changes: bytes) -> bytes:
    found = making.members(micro.NEMO)
    found |= {"model_weights.ckpt": checkpoint} if checkpoint is not None else {}
    return making.archived({**found, **changes})


def test_the_makers_of_these_tests_make_sound_checkpoints(tmp_path: Path) -> None:
    tensors = {name: np.array(item.values()) for name, item in state(making.members(micro.NEMO)).items()}
    (tmp_path / "a.nemo").write_bytes(nemo(making.saved(tensors)))
    convert(tmp_path / "a.nemo", tmp_path / "out", graph=micro.GRAPH)
    micro.agree(tmp_path / "out")


def state(members: dict[str, bytes]) -> Any:
    return read_state(memoryview(members["model_weights.ckpt"]), HERE)


# --- archives ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [0.0001, 0.01, 0.3, 0.9, 0.995])
def test_truncated(no_escape: Path, part: float) -> None:
    content = micro.NEMO.read_bytes()
    refused(
        no_escape, content[: int(len(content) * part)], ModelError, "cut short|no model_config|no model_weights|no tar"
    )


@pytest.mark.parametrize("content", [b"x" * 5000, b"PK\x03\x04" + bytes(5000), b"<!DOCTYPE html>" * 100, b"\0" * 10240])
def test_no_tar(no_escape: Path, content: bytes) -> None:
    refused(no_escape, content, ModelFileCorruptError, "no tar archive|without files")


def test_an_empty_file(no_escape: Path) -> None:
    refused(no_escape, b"", ModelFileCorruptError, "empty")


def test_gzipped_archives_are_read_and_damaged_ones_refused(no_escape: Path, tmp_path: Path) -> None:
    content = making.archived({"a": b"1" * 5000, "b": b""}, mode="w:gz")
    (tmp_path / "bad.nemo").write_bytes(content)
    assert {name: len(data) for name, data in read_archive(tmp_path / "bad.nemo").items()} == {"a": 5000, "b": 0}
    refused(no_escape, content[:-20], ModelFileCorruptError, "cut short")
    refused(no_escape, content[:20] + b"zzzz" + content[24:], ModelFileCorruptError, "compression is damaged")
    refused(no_escape, making.archived({"a": bytes(40 << 20)}, mode="w:gz"), CheckpointError, "inflates to more than")


def link(kind: bytes) -> Callable[[tarfile.TarInfo], None]:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname, info.size = kind, "/etc/passwd", 0

    return change


def rename(name: str) -> Callable[[tarfile.TarInfo], None]:
    return lambda info: setattr(info, "name", name)


@pytest.mark.parametrize("change", [
    link(tarfile.SYMTYPE), link(tarfile.LNKTYPE), link(tarfile.CHRTYPE), link(tarfile.FIFOTYPE), rename("/etc/passwd"),
    rename("../../x"), rename("a/../../x"), rename("C:\\x"), rename("\\\\host\\x"), rename("x" * 200 + "/../../y"),
])  # fmt: skip
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_members_that_lead_out(no_escape: Path, change: Callable[[tarfile.TarInfo], None], form: int) -> None:
    stream = io.BytesIO(micro.NEMO.read_bytes())
    with tarfile.open(fileobj=stream, mode="a", format=form) as archive:
        info = tarfile.TarInfo("harmless")
        info.size = 4
        change(info)
        archive.addfile(info, io.BytesIO(b"evil"))
    refused(no_escape, stream.getvalue(), UnsafeCheckpointError, "link|outside|device")


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_names_of_any_form_are_read(tmp_path: Path, form: int) -> None:
    names = ["model_config.yaml", "d/" + "n" * 90] + (["é" * 120, "x" * 300] if form != tarfile.USTAR_FORMAT else [])
    with tarfile.open(tmp_path / "a", "w", format=form) as archive:
        for name in names:
            info = tarfile.TarInfo(f"./{name}")
            info.size, info.mtime = len(name), 1.5
            archive.addfile(info, io.BytesIO(name.encode()[: len(name)]))
    found = read_archive(tmp_path / "a")
    assert list(found) == names
    assert all(bytes(data) == name.encode()[: len(name)] for name, data in found.items())


def test_a_header_that_says_more_than_there_is(no_escape: Path) -> None:
    info = tarfile.TarInfo("model_config.yaml")
    info.size = 1 << 60
    refused(no_escape, info.tobuf(tarfile.GNU_FORMAT) + bytes(1024), ModelFileCorruptError, "cut short")
    very_many = b"".join(tarfile.TarInfo(f"m{index}").tobuf() for index in range(5000))
    refused(no_escape, very_many, CheckpointError, "more than 4096 members")


# --- pickles ----------------------------------------------------------------------------------------------------------


class Evil:
    """Runs a command where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch evil",)


class Registered:
    """Rebuilt by a function that was registered in copyreg."""


class Stateful:
    """Sets attributes where it is unpickled."""

    def __init__(self) -> None:
        self.x = 1


def pickles() -> dict[str, bytes]:
    import copyreg

    copyreg.pickle(Registered, lambda _: (eval, ("__import__('os').system('touch evil')",)))  # type: ignore[arg-type]
    values = {
        "plain": Evil(), "in a dictionary": {"w": Evil()}, "in a list": [1, [2, Evil()]], "in a tuple": ((Evil(),),),
        "by copyreg": {"w": Registered()}, "an instance": {"w": Stateful()}, "a set": {"w": {1, 2}},
        "an array": {"w": np.zeros(3)}, "a function": {"w": os.system}, "a class": {"w": Evil},
    }  # fmt: skip
    found = {
        f"{name}, protocol {level}": pickle.dumps(value, level) for name, value in values.items() for level in (2, 4)
    }
    call = making.named("posix system") + b"(" + making.text("touch evil") + b"tR"
    found |= {
        "as an item": making.program({"w": call}),
        "as a storage": b"\x80\x02(" + making.text("storage") + call + b"tQ.",
        "as metadata": b"\x80\x02" + making.ORDERED + b"}" + making.text("_metadata") + call + b"sb.",
        "instruction INST": b"\x80\x02(" + making.text("touch evil") + b"iposix\nsystem\n.",
        "instruction OBJ": b"\x80\x02(" + making.named("posix system") + making.text("touch evil") + b"o.",
        "instruction NEWOBJ": b"\x80\x02" + making.named("os _wrap_close") + b")\x81.",
        "getattr": making.named("builtins getattr") + b".",
        "of torch": b"\x80\x02" + making.named("torch load") + making.text("x") + b"\x85R.",
        "dotted": b"\x80\x04" + b"\x8c\x05torch\x8c\x12_utils.sys.modules" + b"\x93.",
        "an attribute of a known name": b"\x80\x02" + making.named("torch FloatStorage") + b"}" + making.text("a")
        + b"K\x01sb.",
    }  # fmt: skip
    return found


PICKLES = pickles()  # here, where os.system is still itself


@pytest.mark.parametrize("name", list(PICKLES))
def test_malicious_pickles(no_escape: Path, name: str) -> None:
    content = making.zipped(PICKLES[name], STORAGE)
    refused(no_escape, nemo(content), UnsafeCheckpointError, "its pickle (names|has the instruction|sets attributes)")


def test_the_name_is_told(no_escape: Path) -> None:
    refused(
        no_escape, nemo(making.zipped(PICKLES["plain, protocol 2"], STORAGE)), UnsafeCheckpointError, r"'posix\.system'"
    )


def bombs() -> dict[str, bytes]:
    deep = b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b"."
    laughs = b"\x80\x02]q\x00" + b"".join(b"]q" + bytes([n]) + b"(" + 2 * (b"h" + bytes([n - 1])) + b"e"
                                         for n in range(1, 200)) + b"."  # fmt: skip
    tuples = b"\x80\x02)q\x00" + b"".join(b"h\x00h\x00\x86q\x00" for _ in range(200))
    collisions = b"".join(making.number(n * ((1 << 61) - 1)) + b"N" for n in range(1, 1000))
    return {
        "deep": deep, "laughs": laughs, "a key of nested tuples": tuples + b"}h\x00Ns.",
        "keys of one hash": b"\x80\x02}(" + collisions + b"u.",
        "a long text": b"\x80\x02X" + struct.pack("<I", 0xFFFFFFFF) + b"abc.",
        "a very long text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b".",
        "a long number": b"\x80\x02\x8b" + struct.pack("<i", 0x7FFFFFFF) + b".",
        "a huge memo": b"\x80\x02Nr" + struct.pack("<I", 0xFFFFFFFF) + b".",
        "very many instructions": b"\x80\x02" + b"N0" * 4_000_000 + b"N.",
        "no end": b"\x80\x02N", "nothing": b"\x80\x02.", "no pickle": b"hello", "empty": b"",
        "an empty mark": b"\x80\x02t.", "an item of nothing": b"\x80\x02NNs.",
        "what is not remembered": b"\x80\x02h\x07.",
    }  # fmt: skip


@pytest.mark.parametrize("name", list(bombs()))
def test_pickles_that_swell(no_escape: Path, name: str) -> None:
    refused(no_escape, nemo(making.zipped(bombs()[name], STORAGE)), ModelError, ".")


@pytest.mark.parametrize("item", [
    making.tensor("float32", "0", (7,), held=6), making.tensor("float32", "0", (6,), held=1 << 40),
    making.tensor("float32", "0", (2, 3), offset=1), making.tensor("float32", "0", (2, 3), strides=(3, 2)),
    making.tensor("float32", "0", (1 << 40, 1 << 40), held=6),
    making.tensor("float32", "0", (1 << 31,), strides=(0,), held=6),
    making.tensor("float32", "0", (2, 3), offset=-1), making.tensor("float32", "0", (-2, -3), held=6),
    making.tensor("float32", "0", (2, 3), strides=(-3, 1)), making.tensor("float32", "9", (2, 3)),
    making.tensor("float32", "0", (1,) * 70, held=6), making.tensor("float32", "0", (6,), strides=(1, 1)),
])  # fmt: skip
def test_tensors_beyond_their_storage(no_escape: Path, item: bytes) -> None:
    refused(
        no_escape, nemo(making.zipped(making.program({"w": item}), STORAGE)), ModelFileCorruptError, "pickle is damaged"
    )


def test_views_strides_offsets_and_types() -> None:
    plain = np.arange(24, dtype=np.float32)
    storages = {"0": plain.tobytes(), "1": (plain.view(np.uint32) >> 16).astype(np.uint16).tobytes(),
                "2": plain.astype(np.float16).tobytes(), "3": plain.astype(np.int64).tobytes(),
                "4": plain.astype(np.float64).tobytes()}  # fmt: skip
    items = {
        "whole": making.tensor("float32", "0", (4, 6)),
        "turned": making.tensor("float32", "0", (6, 4), strides=(1, 6), held=24),
        "part": making.tensor("float32", "0", (3,), offset=5, strides=(2,), held=24),
        "scalar": making.tensor("float32", "0", (), offset=7, held=24),
        "none": making.tensor("float32", "0", (0, 5), held=24),
        "brain": making.tensor("bfloat16", "1", (24,)), "half": making.tensor("float16", "2", (24,)),
        "long": making.tensor("int64", "3", (24,)), "double": making.tensor("float64", "4", (24,)),
    }  # fmt: skip
    found = read_state(memoryview(making.zipped(making.program(items), storages)), HERE)
    values = {name: tensor.values() for name, tensor in found.items()}
    np.testing.assert_array_equal(values["whole"], plain.reshape(4, 6))
    np.testing.assert_array_equal(values["turned"], plain.reshape(4, 6).T)
    np.testing.assert_array_equal(values["part"], plain[5:10:2])
    assert (values["scalar"].shape, float(values["scalar"]), values["none"].shape) == ((), 7.0, (0, 5))
    for name in ("brain", "half", "double"):
        assert values[name].dtype == np.float32
        np.testing.assert_array_equal(values[name], plain)
    assert values["long"].dtype == np.int64


def test_parameters_lightning_and_the_other_byte_order() -> None:
    parameter = making.named("torch._utils _rebuild_parameter") + b"(" + SOUND["w"] + b"\x88" + making.ORDERED + b"tR"
    content = making.zipped(making.program({"state_dict": b"}" + making.text("w") + parameter + b"s"}), STORAGE)
    np.testing.assert_array_equal(read_state(memoryview(content), HERE)["w"].values(), [[0, 1, 2], [3, 4, 5]])
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("m/data.pkl", making.program(SOUND))
        archive.writestr("m/byteorder", "big")
        archive.writestr("m/data/0", np.arange(6, dtype=">f4").tobytes())
    np.testing.assert_array_equal(read_state(memoryview(stream.getvalue()), HERE)["w"].values().ravel(), np.arange(6))


# --- zip files --------------------------------------------------------------------------------------------------------


def test_zip_bombs_and_foreign_zips(no_escape: Path) -> None:
    sound = making.zipped(making.program(SOUND), STORAGE)
    end = sound.rindex(b"PK\x05\x06")
    # A billion entries, by the wide directory and by the plain one.
    wide = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 10**9, 10**9, 46 * 10**9, 0)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    billion = sound[:end] + wide + locator + sound[end : end + 8] + b"\xff" * 12 + b"\0\0"
    many = sound[: end + 8] + struct.pack("<HH", 60_000, 60_000) + sound[end + 12 :]
    squeezed = making.zipped(making.program(SOUND) + bytes(1 << 20), STORAGE, compression=zipfile.ZIP_DEFLATED)
    for content, words in (
        (billion, "directory is damaged|entries"), (many, "60000 entries"), (squeezed, "compressed"),
        (sound[: len(sound) // 2], "directory at its end is missing"), (sound[:end] + sound[end + 30 :], "directory"),
        (b"PK\x03\x04" + bytes(100), "missing"), (sound.replace(b"data.pkl", b"dada.pkl"), "no data.pkl"),
    ):  # fmt: skip
        refused(no_escape, nemo(content), ModelError, words)


def test_a_member_twice(no_escape: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("m/data.pkl", making.program(SOUND))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("m/data.pkl", PICKLES["plain, protocol 2"])
    refused(no_escape, nemo(stream.getvalue()), CheckpointError, "twice")


@pytest.mark.parametrize(("content", "words"), [
    (pickle.dumps({"w": 1}, 2), "torch's pickle format of before 1.6"),
    (making.archived({"storages": b""}), "torch's tar format"), (b"hello", "no file of torch"),
    (b"", "no file of torch"),
    (making.zipped(b"\x80\x02]."  , {}), "holds a list"), (making.zipped(making.program({}), {}), "no tensors"),
])  # fmt: skip
def test_other_formats_are_refused_by_name(no_escape: Path, content: bytes, words: str) -> None:
    refused(no_escape, nemo(content), CheckpointError, words)


# --- configurations and kinds of models -------------------------------------------------------------------------------


def config(**changes: Any) -> bytes:
    values = yaml.safe_load(making.members(micro.NEMO)["model_config.yaml"])
    for name, value in changes.items():
        section = values
        *path, last = name.split("__")
        for part in path:
            section = section[part]
        section[last] = value
    return yaml.safe_dump(values, allow_unicode=True).encode()


@pytest.mark.parametrize(("changes", "words"), [
    ({"joint": None, "target": "nemo.x.EncDecCTCModelBPE"}, "a CTC model.*EncDecCTCModelBPE"),
    ({"joint": None, "decoder": {"_target_": "x.ConvASRDecoder"}}, "a CTC model"),
    ({"joint": None, "target": "nemo.x.EncDecMultiTaskModel"}, "no transducer.*EncDecMultiTaskModel"),
    ({"model_defaults": {}, "decoding": {}, "loss": {}}, "an RNNT model"),
    ({"joint__num_extra_outputs": 0}, "an RNNT model"),
    ({"encoder___target_": "x.SqueezeformerEncoder"}, "Squeezeformer"),
    ({"encoder__self_attention_model": "rel_pos_local_attn"}, "rel_pos_local_attn"),
    ({"encoder__att_context_size": [128, 128]}, "attention is local"),
    ({"encoder__causal_downsampling": True}, "causal"),
    ({"encoder__conv_norm_type": "layer_norm"}, "layer_norm"),
    ({"encoder__conv_context_size": "causal"}, "conv_context"),
    ({"encoder__subsampling": "vggnet"}, "vggnet"), ({"preprocessor__window": "hamming"}, "hamming"),
    ({"preprocessor__normalize": "all_features"}, "all_features"), ({"preprocessor__sample_rate": 8000}, "8000"),
    ({"joint__jointnet__activation": "tanh"}, "tanh"),
])  # fmt: skip
def test_other_models_are_refused_by_name(no_escape: Path, changes: dict[str, Any], words: str) -> None:
    refused(no_escape, nemo(**{"model_config.yaml": config(**changes)}), OtherModelError, words)


@pytest.mark.parametrize(("changes", "words"), [
    ({"encoder__n_layers": 3}, "it has 3 encoder layers, the graph 2"), ({"encoder__xscaling": True}, "scaling"),
    ({"decoder__prednet__pred_rnn_layers": 1}, "LSTM layers"), ({"decoder__vocab_size": 255}, "255 pieces.*256"),
    ({"joint__num_extra_outputs": 4}, "4 duration outputs, its table 5"), ({"encoder__d_model": "many"}, "d_model"),
    ({"tokenizer__type": "agg"}, "agg"), ({"model_defaults__tdt_durations": [0, "x"]}, "durations"),
])  # fmt: skip
def test_configurations_that_contradict(no_escape: Path, changes: dict[str, Any], words: str) -> None:
    refused(no_escape, nemo(**{"model_config.yaml": config(**changes)}), CheckpointError, words)


@pytest.mark.parametrize("content", [
    b"a: !!python/object/apply:os.system ['touch evil']", b"!!python/name:os.system", b"[" * 100_000, b"a: [" * 50,
    b"a: &a [1]\nb: &b {<<: {x: 1}}", b"- 1", b"", b"\x00\x01", b"x: " + b"9" * 10_000, b"a: 2020-99-99", b"{a: b",
    b"a: &a [b,b,b,b,b,b,b,b,b]\n" + b"".join(b"k%d: &k%d [*a,*a,*a,*a,*a,*a,*a,*a]\n" % (n, n) for n in range(9)),
    b"a: b\n" * 500_000, b"\xff\xfe\x00", b"? [a, b]\n: c",
])  # fmt: skip
def test_configurations_that_are_none(no_escape: Path, content: bytes) -> None:
    refused(no_escape, nemo(**{"model_config.yaml": content}), ModelError, ".")


def test_configurations_within_bounds_are_read() -> None:
    assert parse_yaml(b"a: &x [1, 2]\nb: *x\nc: 'on'\nd: on", HERE) == {"a": [1, 2], "b": [1, 2], "c": "on", "d": True}


@pytest.mark.parametrize("name", ["model_config.yaml", "model_weights.ckpt"])
def test_an_archive_without_its_parts(no_escape: Path, name: str) -> None:
    found = making.members(micro.NEMO)
    del found[name]
    refused(no_escape, making.archived(found), CheckpointError, f"holds no {name}")


def test_a_tokenizer_that_is_none(no_escape: Path) -> None:
    found = making.members(micro.NEMO)
    name = next(name for name in found if name.endswith(".model"))
    refused(no_escape, making.archived({**found, name: b"hello" * 100}), ModelFileCorruptError, "SentencePiece")
    refused(no_escape, making.archived({**found, name: b""}), ModelError, "SentencePiece|256 pieces")
    del found[name]
    refused(no_escape, making.archived(found), CheckpointError, "0 SentencePiece models")


# --- tensors ----------------------------------------------------------------------------------------------------------


def with_tensors(change: Callable[[dict[str, np.ndarray[Any, Any]]], object]) -> bytes:
    tensors = {name: np.array(item.values()) for name, item in state(making.members(micro.NEMO)).items()}
    change(tensors)
    return nemo(making.saved(tensors))


Q = "encoder.layers.1.self_attn.linear_q.weight"


@pytest.mark.parametrize(("change", "words"), [
    (lambda t: [t.pop(name) for name in list(t)[::2]], "tensors that the graph needs are missing: .* and .* more"),
    (lambda t: t.pop(Q), f"1 of the 83 tensors .* missing: {Q}"),
    (lambda t: t.update({Q: t[Q][:16]}), r"linear_q.weight give \[32, 16\], where the graph has \[32, 32\]"),
    (lambda t: t.update({"decoder.prediction.embed.weight": np.zeros((300, 32), np.float32)}), "embed.weight give"),
    (lambda t: t.update({Q.replace("weight", "bias"): np.ones(32, np.float32)}), "no place for 1 of its tensors"),
    (lambda t: t.update({Q: t[Q].astype(np.int32)}), "no floating-point numbers"),
    (lambda t: t.update({Q: t[Q] * np.nan}), f"{Q} holds numbers that are not finite"),
    (lambda t: t.update({"joint.pred.bias": np.full(32, np.inf, np.float32)}), "joint.pred.bias holds numbers"),
    (lambda t: t.update({Q: t[Q] * 3e38}), "not finite"),
])  # fmt: skip
def test_tensors_that_do_not_fit(no_escape: Path, change: Any, words: str) -> None:
    refused(no_escape, with_tensors(change), CheckpointError, words)


def test_what_changes_nothing_is_left_out(tmp_path: Path) -> None:
    def change(tensors: dict[str, np.ndarray[Any, Any]]) -> None:
        tensors[Q.replace("weight", "bias")] = np.zeros(32, np.float32)  # a bias of zeros
        tensors["ctc_decoder.decoder_layers.0.weight"] = np.ones((257, 32, 1), np.float32)  # a hybrid's other half

    (tmp_path / "a.nemo").write_bytes(with_tensors(change))
    done = convert(tmp_path / "a.nemo", tmp_path / "out", graph=micro.GRAPH)
    assert {Q.replace("weight", "bias"), "ctc_decoder.decoder_layers.0.weight"} <= set(done.unused)
    micro.agree(tmp_path / "out")


def test_a_joint_without_dropout_has_its_output_layer_one_earlier(tmp_path: Path) -> None:
    def change(tensors: dict[str, np.ndarray[Any, Any]]) -> None:
        for part in ("weight", "bias"):
            tensors[f"joint.joint_net.1.{part}"] = tensors.pop(f"joint.joint_net.2.{part}")

    (tmp_path / "a.nemo").write_bytes(with_tensors(change))
    convert(tmp_path / "a.nemo", tmp_path / "out", graph=micro.GRAPH)
    micro.agree(tmp_path / "out")


# --- safetensors ------------------------------------------------------------------------------------------------------


def header(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text + bytes(64)


@pytest.mark.parametrize("content", [
    b"", b"\xff" * 8, struct.pack("<Q", 1 << 40), header(b"["), header(b"[" * 100_000), header(b"[]"),
    header(b'{"a": 1}'),
    header(b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 400]}}'),
    header(b'{"a": {"dtype": "F32", "shape": [5], "data_offsets": [0, 16]}}'),
    header(b'{"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}'),
    header(b'{"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}'),
    header(b'{"a": {"dtype": ["F32"], "shape": [4], "data_offsets": [0, 16]}}'),
    header(b'{"a": {"dtype": "F32", "shape": [1,1,1,1,1,1,1,1,1,1], "data_offsets": [0, 4]}}'),
])  # fmt: skip
def test_safetensors_that_are_none(content: bytes) -> None:
    with pytest.raises(ModelError):
        read_safetensors(memoryview(content), HERE)


def test_safetensors() -> None:
    plain = np.arange(6, dtype=np.float32).reshape(2, 3)
    brain = (plain.view(np.uint32) >> 16).astype(np.uint16)
    found = read_safetensors(
        memoryview(making.safetensors({"a": plain, "b": plain.astype(np.float16), "c": brain})), HERE
    )
    for tensor in found.values():
        np.testing.assert_array_equal(tensor.values(), plain)
