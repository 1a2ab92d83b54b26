"""The rules of the house, enforced: layers, import cost, file and function sizes, docstrings that match signatures."""

from __future__ import annotations

import ast
import importlib
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


def test_onnxruntime_is_imported_behind_one_wall() -> None:
    assert {name_of(path) for path in SOURCES if imports_package(path, "onnxruntime")} == {"tdt/runtime/ort.py"}


def test_numba_is_imported_through_the_door_only() -> None:
    users = {name_of(path) for path in SOURCES if imports_package(path, "numba")}
    doors = {"kernels/vector/jit.py", "kernels/vector/simd.py", "kernels/vector/code_cache.py"}
    assert users <= doors, "compile through kernels/vector/jit.py"


# --- wings ------------------------------------------------------------------------------------------------------------

# Ground floor first. A wing imports only from floors below its own; kernels stand apart and import nothing of tdt.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset(
        {
            *("errors", "stages", "steps", "spec", "timeline", "version", "cuda_arrays", "protocols", "doors"),
            *("lifetime", "ending", "ahead", "aside", "dependencies", "checks", "failures", "showing", "whole_files"),
            *("cores", "containers", "free_memory", "c_library"),
            *("error_root", "model_errors", "run_errors", "request_errors", "corpus_errors"),
        }
    ),
    frozenset({"onnxfile", "text", "fusion"}),
    frozenset({"model", "audio"}),
    frozenset({"runtime"}),
    frozenset({"surgery"}),
    frozenset({"encoding", "decoding"}),
    frozenset({"longform", "live"}),
    frozenset(
        {
            "recognizer",
            "clips",
            "pipeline",
            "reading",
            "loading",
            "streaming",
            "listening",
            "options",
            "stagewise",
            "measuring",
            "scheduled",
            "__init__",
        }
    ),
    frozenset({"profiling"}),
    frozenset({"quantization", "conversion", "doctor", "serving", "corpus"}),
    frozenset({"commands"}),
    frozenset({"__main__"}),
)
GROUND, CONNECTED = FLOORS[0], FLOORS[7]  # single files in tdt/ itself
PIPELINE = [path for path in SOURCES if path.is_relative_to(ROOT / "tdt")]
MODULES = {module_of(path): path for path in SOURCES}


def wing_of(module: str) -> str:
    return module.split(".")[1] if module != "tdt" else "__init__"


def floor_of(module: str) -> int:
    return next(number for number, wings in enumerate(FLOORS) if wing_of(module) in wings)


def table_of(wing: str) -> dict[str, str]:
    """Return name → module of what a wing's door hands on, read from its source."""
    for node in ast.walk(tree_of(ROOT / "tdt" / wing / "__init__.py")):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "door":
            homes = ast.literal_eval(node.args[1])
            return {name: f"tdt.{wing}.{home or name}" for home, names in homes.items() for name in names.split()}
    return {}


DOORS = {path.parent.name: table_of(path.parent.name) for path in PIPELINE if path.parent.parent == ROOT / "tdt"}


def imports_of(path: Path) -> set[tuple[str, str]]:
    """Return (module, name) of every import from tdt, for types and inside functions too; doors not looked through."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {(node.module or "", alias.name) for alias in node.names}
    return {(module, name) for module, name in found if module.split(".")[0] == "tdt" and wing_of(module) != "kernels"}


def targets_of(path: Path) -> set[str]:
    """Return the modules that a file imports, doors looked through."""
    found = set()
    for module, name in imports_of(path):
        behind = DOORS.get(wing_of(module), {}) if module == f"tdt.{wing_of(module)}" else {}
        whole = f"{module}.{name}"
        found.add(behind.get(name) or (whole if whole in MODULES else module))
    return found - {module_of(path)}


@pytest.mark.parametrize("path", PIPELINE, ids=name_of)
def test_a_wing_imports_only_wings_below_it(path: Path) -> None:
    module = module_of(path)
    for target in targets_of(path):
        if wing_of(target) != wing_of(module):
            same_hall = floor_of(target) == floor_of(module) and wing_of(target) in GROUND | CONNECTED
            assert floor_of(target) < floor_of(module) or same_hall, f"{module} climbs to {target}"


def test_files_import_each_other_without_circles() -> None:
    """Inside functions and for types, too: only the doors themselves are looked through."""
    edges = {
        module_of(path): targets_of(path) & set(MODULES)
        for path in PIPELINE
        if path.name != "__init__.py" or path.parent.name == "commands"
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail, name])
        if name in done:
            return
        for target in sorted(edges.get(name, ())):
            visit(target, (*trail, name))
        done.add(name)

    for name in edges:
        visit(name, ())


@pytest.mark.parametrize("path", PIPELINE, ids=name_of)
def test_wings_are_entered_by_their_doors(path: Path) -> None:
    own = wing_of(module_of(path))
    for module, name in imports_of(path):
        wing = wing_of(module)
        if wing in {own, "commands"} or wing in GROUND | CONNECTED:
            continue
        assert module == f"tdt.{wing}", f"{name_of(path)} enters {wing} by {module}, not by its door"
        assert name in DOORS[wing], f"{name_of(path)} takes {name}, which {wing} does not hand on"


@pytest.mark.parametrize("wing", [wing for wing, table in DOORS.items() if table])
def test_a_door_hands_on_what_others_use(wing: str) -> None:
    path = ROOT / "tdt" / wing / "__init__.py"
    used = {
        name
        for other in PIPELINE
        if wing_of(module_of(other)) != wing
        for module, name in imports_of(other)
        if module == f"tdt.{wing}"
    }
    for document in [ROOT / "README.md", *(ROOT / "tools" / "readme").glob("*.md")]:  # what users are told to import
        used |= set(re.findall(rf"^from tdt\.{wing} import (\w+)$", document.read_text(encoding="utf-8"), re.MULTILINE))
    assert used == set(DOORS[wing]), f"{wing} hands on what nobody takes"
    for_types = {
        name: f"{module}.{name}" if f"{module}.{name}" in MODULES else module for module, name in imports_of(path)
    }
    for_types.pop("door")
    assert for_types == DOORS[wing], "the list for type checkers and the table of the door differ"
    files = {item.stem for item in (ROOT / "tdt" / wing).glob("*.py")}
    for name, module in DOORS[wing].items():
        # Importing a file sets its name in the package, so that a function of the same name would be hidden.
        assert name not in files or module == f"tdt.{wing}.{name}", f"{wing}: {name} is a file, too"
        assert hasattr(importlib.import_module(f"tdt.{wing}"), name), f"{module} has no {name}"


def test_every_wing_says_what_it_knows() -> None:
    for wing in DOORS:
        said = ast.get_docstring(tree_of(ROOT / "tdt" / wing / "__init__.py")) or ""
        assert "Knows" in said, wing
        assert len(said.splitlines()) <= 5, wing


def test_single_files_in_the_package_are_those_of_two_floors() -> None:
    files = {path.stem for path in (ROOT / "tdt").glob("*.py")}
    assert files == GROUND | CONNECTED | {"__main__"}


def test_the_tests_mirror_the_wings() -> None:
    folders = {path.parent.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    assert folders <= set(DOORS) | {".", "kernels", "gpu_contracts"}


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
