"""The recipes of the images: no engine builds them here, so they are read, linted and held to what they promise."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tdt.commands import command_parser

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ["Dockerfile.cpu", "Dockerfile.cuda13"]


def instructions(name: str) -> list[tuple[str, str]]:
    """Return instructions and their arguments, lines that go on joined."""
    lines = (ROOT / "tools/images" / name).read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", "", text)
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


def last(name: str, word: str) -> str:
    return [rest for found, rest in instructions(name) if found == word][-1]


@pytest.mark.parametrize("name", IMAGES)
def test_hadolint_finds_nothing(name: str) -> None:
    tool = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if tool is None:
        pytest.skip("no hadolint here: the extra dev brings it where its wheel exists")
    done = subprocess.run(
        [tool, ROOT / "tools/images" / name], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", IMAGES)
def test_what_runs_is_tdt_serve_with_options_that_it_has(name: str) -> None:
    words = json.loads(last(name, "ENTRYPOINT"))
    assert words[:2] == ["tdt", "serve"]
    args = command_parser("serve").read([*words[2:], "--model", "parakeet-tdt-0.6b-v3"])
    assert (args.host, args.port) == ("0.0.0.0", int(last(name, "EXPOSE")))
    assert args.provider == ("cuda:0" if "cuda" in name else "cpu")


@pytest.mark.parametrize("name", IMAGES)
def test_it_runs_as_nobody_and_keeps_models_in_a_volume(name: str) -> None:
    found = instructions(name)
    words = [word for word, _ in found]
    user = last(name, "USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user), "a number, which no host can mistake for root"
    after = words[len(words) - words[::-1].index("USER") :]
    assert "RUN" not in after
    assert "COPY" not in after
    environment = dict(pair.split("=", 1) for pair in shlex.split(last(name, "ENV")))
    assert environment["HF_HOME"] == last(name, "VOLUME") == "/models"
    assert "ADD" not in words
    text = " ".join(rest for _, rest in found)
    assert not re.search(r"huggingface-cli|hf_hub|\.onnx|curl|wget", text), "no model, and nothing fetched but packages"


@pytest.mark.parametrize("name", IMAGES)
def test_its_health_is_the_servers(name: str) -> None:
    check = last(name, "HEALTHCHECK")
    (command,) = re.findall(r"CMD (\[.*\])", check)
    python, flag, code = json.loads(command)
    assert (python, flag) == ("python", "-c")
    compile(code, name, "exec")
    assert f"http://127.0.0.1:{last(name, 'EXPOSE')}/health" in code
    assert "--start-period" in check


@pytest.mark.parametrize("name", IMAGES)
def test_what_is_copied_and_installed_is_there(name: str) -> None:
    ignored = (ROOT / "tools/images" / f"{name}.dockerignore").read_text(encoding="utf-8").split()
    for word, rest in instructions(name):
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in ignored, source
        if word == "FROM":
            assert re.match(r"python:3\.\d+-slim-bookworm\b", rest), "a version, not the latest"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = {match for _, rest in instructions(name) for match in re.findall(r"'\.\[([^]]+)\]'", rest)}
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
