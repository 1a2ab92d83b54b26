"""The page's modules, run by node without a browser; and the page's files as they are shipped."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tdt.serving.faces import FILES, HEADERS, PAGE

HERE = Path(__file__).parent


@pytest.mark.browser
def test_the_state_table_and_the_wire_format(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here: tools/test-browser installs it")
    for path in (*PAGE.glob("*.js"), HERE / "page.test.mjs"):
        shutil.copy(path, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    done = subprocess.run([node, "--test", tmp_path], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"# pass [89]|# pass \d\d", done.stdout), done.stdout


def test_every_file_is_served_and_none_is_long() -> None:
    assert {path.name for path in PAGE.iterdir()} == {name for name, _ in FILES.values()}
    for path in PAGE.iterdir():
        assert len(path.read_text(encoding="utf-8").splitlines()) < 250, path.name


def test_nothing_of_another_host_nothing_inline_and_no_markup_from_texts() -> None:
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"https?://|//[a-z]+\.|innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text
        ), path.name
        assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=\"|style=\"", text), path.name
    policy = HEADERS["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
