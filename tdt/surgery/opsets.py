"""Two graphs in one operator set: quantisers raise that of the graph they change, and leave the one beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.errors import UnsupportedLayoutError

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

_DEFAULT = frozenset({"", "ai.onnx"})  # two names of ONNX's own domain


def in_one_opset(
    first: onnx.ModelProto, second: onnx.ModelProto, path: Path
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Return two graphs in the newer operator set of both, converted by ONNX where they differ.

    Parameters
    ----------
    first, second : onnx.ModelProto
        Not changed.
    path : Path
        Of the model; named in errors.

    Raises
    ------
    UnsupportedLayoutError
        Where ONNX cannot convert the older one, or another domain is there in two versions.
    """
    from onnx import version_converter

    versions = [{entry.domain: entry.version for entry in model.opset_import} for model in (first, second)]
    own = [next((found[name] for name in _DEFAULT if name in found), 1) for found in versions]
    shared = (versions[0].keys() & versions[1].keys()) - _DEFAULT
    differ = sorted(name for name in shared if versions[0][name] != versions[1][name])
    models, problem = [first, second], f"and of the domain {differ[0]!r}" if differ else ""
    if own[0] != own[1] and not differ:
        older = own.index(min(own))
        try:
            models[older] = version_converter.convert_version(models[older], max(own))
        except RuntimeError as error:
            problem = f"and the older one cannot be converted: {str(error).splitlines()[0][:200]}"
    if problem:
        raise UnsupportedLayoutError(
            f"{path}: decoder and joiner are of different operator sets ({own[0]} and {own[1]}, {problem}); export "
            "both with one version."
        )
    return models[0], models[1]
