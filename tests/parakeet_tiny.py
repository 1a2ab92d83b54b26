"""The trained tiny model as a folder in each published layout, float32 and dynamically quantised.

`write(folder, layout)` is the entry point. The float32 files of the onnx-asr layout are the bundled model's; the rest
lies in tests/data/parakeet-tdt-tiny, but for the encoders of the sherpa-onnx layout: they are the onnx-asr ones with
metadata, and written here. The tools use this module, too: it imports nothing of the tests.
"""

from __future__ import annotations

import json
import lzma
import shutil
from pathlib import Path

import onnx

ROOT = Path(__file__).resolve().parents[1]
BUNDLED = ROOT / "tdt/models/parakeet-tdt-tiny"
OTHERS = ROOT / "tests/data/parakeet-tdt-tiny"
FOLDERS = {"onnx-asr": "parakeet-tdt-tiny-onnx", "sherpa-onnx": "sherpa-onnx-parakeet-tdt-tiny"}


def write_both(parent: Path) -> Path:
    """Write the folders of both layouts, under the names that such exports are published by; return `parent`."""
    for layout, name in FOLDERS.items():
        write(parent / name, layout)
    return parent


def write(folder: Path, layout: str) -> Path:
    """Write the model into a new folder and return it.

    The files are copies, not links: whoever damages one leaves the checkout alone, and the product, which follows the
    links of the hub's cache, sees what a user's folder has.
    """
    folder.mkdir(parents=True)
    encoders = {
        ".onnx": (BUNDLED / "encoder-model.onnx").read_bytes(),
        ".int8.onnx": lzma.decompress((OTHERS / "encoder-model.int8.onnx.xz").read_bytes()),
    }
    if layout == "onnx-asr":
        for name in ("config.json", "vocab.txt", "decoder_joint-model.onnx"):
            shutil.copyfile(BUNDLED / name, folder / name)
        shutil.copyfile(OTHERS / "decoder_joint-model.int8.onnx", folder / "decoder_joint-model.int8.onnx")
        for suffix, encoder in encoders.items():
            (folder / f"encoder-model{suffix}").write_bytes(encoder)
        return folder
    shutil.copyfile(BUNDLED / "vocab.txt", folder / "tokens.txt")
    metadata = json.loads((OTHERS / "sherpa-metadata.json").read_text(encoding="utf-8"))
    for suffix, encoder in encoders.items():
        for part in ("decoder", "joiner"):
            shutil.copyfile(OTHERS / (part + suffix), folder / (part + suffix))
        (folder / f"encoder{suffix}").write_bytes(with_metadata(encoder, metadata))
    return folder


def with_metadata(model: bytes, metadata: dict[str, str]) -> bytes:
    """Return a model file whose graph is that of another, with other metadata."""
    other = onnx.load_from_string(model)
    del other.metadata_props[:]  # the quantiser leaves some
    other.metadata_props.extend(onnx.StringStringEntryProto(key=key, value=value) for key, value in metadata.items())
    return other.SerializeToString()
