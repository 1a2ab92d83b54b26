"""The rules of the house, enforced: layers, import cost, file and function sizes, docstrings that match signatures."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path
    for folder in ("kernels", "tdt")
    for path in (ROOT / folder).rglob("*.py")
    if not path.is_relative_to(ROOT / "tdt" / "kernels")
)
ONNXRUNTIME_FILES = {"tdt/runtime/backend.py", "tdt/runtime/session.py"}
MAX_FILE_LINES = 320
MAX_FUNCTION_LINES = 60


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("tdt", *parts) if parts[0] == "kernels" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def runtime_imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Return the absolute names of what a module imports when it runs."""
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        if is_type_checking(node):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            if top_level_only and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            walk(child)

    walk(tree_of(path))
    return found


def imports_package(path: Path, package: str) -> bool:
    return any(name == package or name.startswith(package + ".") for name in runtime_imports(path))


def test_kernels_never_import_the_pipeline() -> None:
    outside = re.compile(r"^tdt(?!\.kernels(\.|$))")
    guilty = {
        name_of(path): sorted(name for name in runtime_imports(path) if outside.match(name))
        for path in SOURCES
        if path.is_relative_to(ROOT / "kernels")
    }
    assert not {name: found for name, found in guilty.items() if found}


def test_onnxruntime_is_imported_in_two_files_only() -> None:
    assert {name_of(path) for path in SOURCES if imports_package(path, "onnxruntime")} <= ONNXRUNTIME_FILES


def test_numba_is_imported_through_the_door_only() -> None:
    users = {name_of(path) for path in SOURCES if imports_package(path, "numba")}
    assert users <= {"kernels/vector/jit.py", "kernels/vector/simd.py"}, "compile through kernels/vector/jit.py"


def test_modules_import_each_other_without_cycles() -> None:
    modules = {module_of(path): path for path in SOURCES}
    edges = {
        name: {target for target in runtime_imports(path, top_level_only=True) if target in modules and target != name}
        for name, path in modules.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail, name])
        if name in done:
            return
        for target in edges[name]:
            visit(target, (*trail, name))
        done.add(name)

    for name in edges:
        visit(name, ())


# A module may import, at any time, only modules of lower layers, or of its own package.
LAYERS = [
    {"tdt.kernels"},
    {
        "tdt.errors",
        "tdt.version",
        "tdt.stages",
        "tdt.spec",
        "tdt.timeline",
        "tdt.profiling.breakdown",
        "tdt.profiling.stats",
    },
]


def test_the_lowest_layers_know_nothing_above_them() -> None:
    allowed: set[str] = set()
    for layer in LAYERS:
        allowed |= layer
        for path in SOURCES:
            module = module_of(path)
            if not any(module == member or module.startswith(member + ".") for member in layer):
                continue
            ours = {name for name in runtime_imports(path) if name.startswith("tdt.")}
            above = {name for name in ours if not any(name == a or name.startswith(a + ".") for a in allowed)}
            assert not above, f"{module} imports {above}"


def test_commands_are_imported_by_nobody() -> None:
    users = [name_of(p) for p in SOURCES if "commands" not in p.parts and imports_package(p, "tdt.commands")]
    assert users in ([], ["tdt/__main__.py"])


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MAX_FILE_LINES, f"{name_of(path)}: one file, one role"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node, clean=False) or ""
            lines = (node.end_lineno or node.lineno) - node.lineno + 1 - docstring.count("\n")
            assert lines <= MAX_FUNCTION_LINES, f"{name_of(path)}:{node.lineno} {node.name} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_prints_and_nothing_is_left_open(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{name_of(path)}:{node.lineno} prints"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{name_of(path)}:{node.lineno} catches everything"


def documented_parameters(docstring: str) -> list[str]:
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", docstring, re.MULTILINE | re.DOTALL)
    if section is None:
        return []
    heads = re.findall(r"^(\*{0,2}\w[\w, *]*?)(?: :.*)?$", section.group(1), re.MULTILINE)
    return [name.strip().lstrip("*") for head in heads for name in head.split(",")]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_documented_parameters_exist(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        arguments = node.args
        names = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
        names |= {a.arg for a in (arguments.vararg, arguments.kwarg) if a is not None}
        unknown = set(documented_parameters(ast.get_docstring(node) or "")) - names
        assert not unknown, f"{name_of(path)}:{node.lineno} {node.name} documents {unknown}"


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/").stdout


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = [
        "numba",
        "onnxruntime",
        "cupy",
        "cuda",
        "tensorrt",
        "tensorrt_rtx",
        "librosa",
        "soundfile",
        "onnx",
        "huggingface_hub",
        "rich",
        "matplotlib",
        "scipy",
    ]
    loaded = run_python(f"import sys, tdt; print([m for m in {heavy!r} if m in sys.modules])")
    assert loaded.strip() == "[]"


def test_importing_the_package_is_quick() -> None:
    code = "import time, numpy; start = time.perf_counter(); import tdt; print(time.perf_counter() - start)"
    # The best of three: another process may hold the core for a moment.
    assert min(float(run_python(code)) for _ in range(3)) <= 0.2


def test_the_top_level_stays_as_it_is() -> None:
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split(
        "\n"
    )
    tops = {name.split("/")[0] for name in tracked if name}
    visible = {name for name in tops if not name.startswith(".")}
    assert visible == {"pyproject.toml", "tdt", "kernels", "tests", "tools", "README.md", "LICENSE", "NOTICE"}
