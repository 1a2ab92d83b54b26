"""What the README and its pages in tools/readme say holds: links, paths, commands, snippets, figures, pictures."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tdt
from tdt.audio.loading import load_audio
from tdt.commands import COMMANDS, main
from tdt.live.states import TABLE
from tdt.runtime import backend

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
FOLDER = ROOT / "tools" / "readme"
PAGES = sorted(FOLDER.glob("*.md"))
DOCUMENTS = [README, *PAGES]
RECORDINGS = ROOT / "tdt" / "models" / "recordings"
MAX_README_LINES = 250

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(r"(?<![\w/.~-])((?:tdt|kernels|tests|tools)/[\w./*-]*)")
OPTION = re.compile(r"(?<![\w-])(--[a-z][\w-]*)")
MACHINE = re.compile(r"(?<![\w.])/(?:work|home|root|tmp|mnt)/|\.\./shared|(?<!\w)shared/")


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    language: str
    text: str


def name_of(document: Path) -> str:
    return document.name


def blocks(document: Path, language: str) -> list[str]:
    found = [Block(*match.groups()) for match in BLOCK.finditer(document.read_text(encoding="utf-8"))]
    return [block.text for block in found if block.language == language]


def spans(document: Path) -> list[str]:
    """Return what stands between backticks, fenced blocks left out."""
    return SPAN.findall(BLOCK.sub("", document.read_text(encoding="utf-8")))


def code(document: Path) -> list[str]:
    """Return every piece of shell on its own: lines of blocks and spans, cut at pipes; and options in comments."""
    shell = [*blocks(document, "bash"), *blocks(document, "console")]
    found = []
    for line in [*(line for text in shell for line in text.split("\n")), *spans(document)]:
        command, _, comment = line.removeprefix("$ ").partition(" # ")
        *before, last = re.split(r"[;|]|&&", command)
        found += [*before, " ".join([last, *OPTION.findall(comment)])]
    return [piece.strip() for piece in found]


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(document: Path) -> set[str]:
    text = BLOCK.sub("", document.read_text(encoding="utf-8"))
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


# --- shape and links --------------------------------------------------------------------------------------------------


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_readme_and_page_link_to_each_other(page: Path) -> None:
    assert f"](tools/readme/{page.name})" in README.read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8").split("\n")[0].startswith("[parakeet-tdt](../../README.md)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    for link in LINK.findall(BLOCK.sub("", document.read_text(encoding="utf-8"))):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.is_file(), f"{link}: no such file"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_paths_exist(document: Path) -> None:
    words = [*spans(document), *(match.group(2) for match in BLOCK.finditer(document.read_text(encoding="utf-8")))]
    paths = {path.rstrip(".") for word in words for path in PATH.findall(word)}
    assert not [path for path in paths if not any(ROOT.glob(path.rstrip("/")))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_nothing_refers_to_a_machine(document: Path) -> None:
    assert not MACHINE.findall(document.read_text(encoding="utf-8"))


def test_tests_that_are_named_exist() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    names = " ".join([*re.findall(r"def (test_\w+)", sources), *map(str, (ROOT / "tests").rglob("test_*.py"))])
    for document in DOCUMENTS:
        for piece in code(document):
            for name in re.findall(r"^(test_\w+)$", piece):
                assert name in names
            for chosen in re.findall(r'-k ("[^"]*"|\w+)', piece):
                assert all(word in names for word in re.findall(r"\b(?!and\b|or\b|not\b)\w+", chosen)), piece


# --- commands ---------------------------------------------------------------------------------------------------------


@cache
def options_of(command: str) -> frozenset[str]:
    """Return the options that a subcommand's help names."""
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        main([command, "--help"])
    return frozenset(OPTION.findall(shown.getvalue()))


def options_of_tool(path: str) -> frozenset[str]:
    """Return the options that the text of a script names; tools/benchmark.py has those of `tdt bench`, too."""
    named = frozenset(OPTION.findall((ROOT / path).read_text(encoding="utf-8")))
    return named | options_of("bench") if path == "tools/benchmark.py" else named


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_and_their_options_exist(document: Path) -> None:
    anywhere = frozenset().union(*map(options_of, COMMANDS))
    for piece in code(document):
        command = re.search(r"(?:^|\s)tdt ([\w-]+)", piece)
        tool = re.match(r"(?:python )?(tools/[\w.-]+)", piece)
        if command is not None:
            assert command.group(1) in COMMANDS, piece
            known = options_of(command.group(1))
        elif tool is not None:
            assert tool.group(1).endswith(".sh") or os.access(ROOT / tool.group(1), os.X_OK), f"{piece}: not executable"
            known = options_of_tool(tool.group(1))
        else:
            known = anywhere if piece.startswith("--") else frozenset()
        if not piece.startswith(("tools/test ", "pip ", "pytest ", "python -m pytest")):  # pip's and pytest's own
            assert set(OPTION.findall(piece)) <= known, piece


def test_every_subcommand_is_listed() -> None:
    listed = (FOLDER / "use.md").read_text(encoding="utf-8")
    assert not [name for name in COMMANDS if f"| `tdt {name}`" not in listed and f", `tdt {name}`" not in listed]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_sessions_are_what_the_terminal_shows(document: Path) -> None:
    for session in blocks(document, "console"):
        commands = [line[2:] for line in session.split("\n") if line.startswith("$ ")]
        script = [f'exec 2>&1; tdt() {{ "{sys.executable}" -m tdt "$@"; }}']
        script += [f"echo {_quoted('$ ' + command)}; {command}" for command in commands]
        done = subprocess.run(
            ["bash", "-c", "\n".join(script)], stdout=subprocess.PIPE, text=True, cwd=ROOT, check=False
        )
        assert re.fullmatch(_pattern(session), done.stdout), done.stdout


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _pattern(session: str) -> str:
    """Return what a session's output must match: a line `…` stands for any lines, `…` at an end for the rest of one."""
    lines = session.removesuffix("\n").split("\n")
    made = [r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + "\n" for line in lines]
    return "".join(made)


# --- Python -----------------------------------------------------------------------------------------------------------


def _given() -> dict[str, Any]:
    """Return what a reader of a snippet has at hand: samples, files, a model."""
    samples = load_audio(RECORDINGS / "15_hello_world.flac").samples
    paths = [str(path) for path in sorted(RECORDINGS.glob("*.flac"))]
    model = str(ROOT / "tdt" / "models" / "parakeet-tdt-tiny")
    return {"tdt": tdt, "samples": samples, "other": np.array(samples[:16000]), "paths": paths, "model": model}


@pytest.mark.parametrize("document", [page for page in DOCUMENTS if blocks(page, "python")], ids=name_of)
def test_snippets_run(
    document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    session = _given()
    for number, text in enumerate(blocks(document, "python")):
        tree = ast.parse(text)
        if "cupy" in text:  # needs a card; what it calls is tested in tests/test_gpu.py
            continue
        for word in ast.walk(tree):
            if isinstance(word, ast.Constant) and re.fullmatch(r"(?!missing)\w+\.flac", str(word.value)):
                shutil.copyfile(RECORDINGS / "15_hello_world.flac", str(word.value))
            if isinstance(word, ast.Constant) and word.value == "domain.arpa":
                shutil.copyfile(ROOT / "tests/data/strategies/lm/tiny3.arpa", word.value)
        exec(compile(tree, f"{document.name}, snippet {number}", "exec"), session)
    if document == README:
        assert "Hello world. Testing one, two, three.\n  0.48   0.80 0.52 Hello\n" in capsys.readouterr().out
        assert session["text"] == session["out"].text


# --- figures and pictures ---------------------------------------------------------------------------------------------


def test_the_five_figures_stand_on_their_pages() -> None:
    table = README.read_text(encoding="utf-8").partition("## Five figures")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in table.split("\n") if "](tools/readme/" in line and line.startswith("|")]
    assert len(rows) == 5
    for _, figure, machine, page in rows:
        path = re.search(r"\((tools/readme/[\w-]+\.md)", page)
        assert path is not None
        text = (ROOT / path.group(1)).read_text(encoding="utf-8")
        assert not [number for number in re.findall(r"\d+(?:\.\d+)?", figure) if number not in text]
        assert all(word in text for word in re.findall(r"\(([\w ]+)\)", machine))


def test_the_pipelines_picture_is_the_one_that_the_script_draws(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools" / "draw_pipeline.py"), str(tmp_path / "drawn.svg")]
    subprocess.run(command, check=True)
    assert (tmp_path / "drawn.svg").read_bytes() == (FOLDER / "pipeline.svg").read_bytes()


def test_the_pipelines_shapes_are_those_of_the_recording() -> None:
    drawn = re.findall(r'class="example"[^>]*>([^<]*)<', (FOLDER / "pipeline.svg").read_text(encoding="utf-8"))
    samples = load_audio(RECORDINGS / "06_digits_theo.flac").samples
    with tdt.load() as asr:
        features = asr.features(samples)
        encoded = asr.encode(features)
        (hypothesis,) = asr.decode(encoded)
        text = asr.transcript(hypothesis, 4.25).text
        logits = len(asr.spec.pieces) + len(asr.spec.durations)
        shapes = [samples.shape, features.frames.shape, encoded.frames.shape, (len(hypothesis),)]
        numbers = [list(shape) for shape in [*shapes, (logits,), (asr.spec.predictor_hidden,)]]
    assert sorted(drawn) == sorted([*map(str, numbers), " ".join(text.split()[:3]) + " …"])


# --- what lists say is all there is -----------------------------------------------------------------------------------


def test_every_wing_and_room_is_in_the_table() -> None:
    text = (FOLDER / "working-on-it.md").read_text(encoding="utf-8")
    folders = [path.parent for top in ("tdt", "kernels") for path in (ROOT / top).glob("*/__init__.py")]
    names = [f"{folder.relative_to(ROOT).as_posix()}/" for folder in folders if folder.name != "kernels"]
    files = [f"tdt/{path.name}" for path in (ROOT / "tdt").glob("*.py") if not path.name.startswith("__")]
    assert not [name for name in [*names, *files] if f"`{name}`" not in text]


def test_every_option_of_a_provider_is_in_the_table() -> None:
    text = (FOLDER / "cards.md").read_text(encoding="utf-8")
    assert not [name for name in backend.PROVIDERS if f"| `{name}" not in text]
    assert not [name for name in (*backend._VALUES, *backend._FLAGS) if not re.search(rf"`{name}[=`]", text)]


def test_the_errors_that_are_explained_are_those_of_the_program() -> None:
    """A message is put together of several strings: more than half of all three words in a row must occur in one."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tdt").rglob("*.py"))
    said = set(_runs(re.sub(r'"\s*\n\s*f?"', "", sources)))  # sentences that go on in the next literal
    table = (FOLDER / "troubleshooting.md").read_text(encoding="utf-8").partition("## Models")[2]
    rows = re.findall(r"^\| (?!the error|message|---)(.*?) \| ", table, re.MULTILINE)
    messages = [part.strip("`") for row in rows for part in re.split(r"`,? /? ?`|; ", row)]
    assert len(messages) > 20
    for message in messages:
        runs = _runs(message)
        assert sum(run in said for run in runs) > len(runs) / 2, message


def _runs(text: str) -> list[tuple[str, ...]]:
    """Return each three words in a row of a text, with a dot for parts that differ from case to case."""
    text = re.sub(r'\bf?"|"', " ", re.sub(r"\{[^{}]*\}", "·", text))
    words = ["·" if re.search(r"[·…\d]|\w\.\w", word) else word.strip("',.:()") for word in text.split()]
    return [run for run in zip(words, words[1:], words[2:], strict=False) if run.count("·") < 2]


def test_the_states_of_a_live_stream_are_those_of_the_code() -> None:
    table = (FOLDER / "live.md").read_text(encoding="utf-8").partition("| state | ")[2]
    head, _, *rows = table.split("\n\n")[0].split("\n")
    events = [cell.strip() for cell in head.split("|")[:-1]]
    found = {}
    for row in rows:
        state, *cells = (cell.strip() for cell in row.split("|")[1:-1])
        found[state] = {event: cell for event, cell in zip(events, cells, strict=True) if cell}
    assert found == {state: dict(leads) for state, leads in TABLE.items()}
