"""The page in a real browser: what is said to its microphone, and what is in a file, stands there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from .conftest import CLIP, until

pytestmark = pytest.mark.browser
SAID = "Hello world. Testing one, two, three."


def text_of(page: Any) -> str:
    words = page.evaluate("[...document.querySelectorAll('.word')].map(word => word.textContent)")
    return " ".join(words)


def wait_for_state(page: Any, *states: str) -> None:
    until(page, f"{json.dumps(states)}.includes(document.body.dataset.state)")


def speak(page: Any) -> None:
    """Press, and wait for all words to be settled."""
    page.get_by_role("button", name="Speak").click()
    until(page, "document.querySelectorAll('.word').length >= 6")


def drop(page: Any, path: Path, name: str = "talk.flac") -> None:
    """Drop a file on the page, as a hand does."""
    page.evaluate(
        """async ([bytes, name]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], name));
            for (const kind of ["dragenter", "dragover", "drop"])
                document.body.dispatchEvent(
                    new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        [list(path.read_bytes()), name],
    )


def download(page: Any, form: str) -> str:
    with page.expect_download() as started:
        page.get_by_role("button", name=form, exact=True).click()
    return Path(started.value.path()).read_text(encoding="utf-8")


def test_what_is_said_stands_there_live(page: Any) -> None:
    speak(page)
    assert page.evaluate("document.body.dataset.live") == "yes", "the words came while the microphone was open"
    until(page, "document.getElementById('latency').textContent.includes('ms')")
    assert text_of(page) == SAID
    wait_for_state(page, "silence")
    page.get_by_role("button", name="Stop").click()
    wait_for_state(page, "done")
    assert text_of(page) == SAID
    log = page.evaluate("[...document.querySelectorAll('#log p')].map(line => line.textContent)")
    assert log == ["Hello world.", "Testing one, two, three."]
    assert page.evaluate("document.querySelectorAll('.draft:not([hidden])').length") == 0


def test_a_file_that_is_dropped_stands_there(page: Any) -> None:
    drop(page, CLIP)
    wait_for_state(page, "done")
    assert text_of(page) == SAID
    assert download(page, "txt").split() == SAID.split()
    assert download(page, "srt").startswith("1\n00:00:00,")
    assert download(page, "vtt").startswith("WEBVTT\n\n00:00:00.")
    found = json.loads(download(page, "json"))
    assert (found["text"], found["model"]) == (SAID, "parakeet-tdt-tiny")
    assert len([word for one in found["utterances"] for word in one["words"]]) == 6


def test_a_word_that_is_clicked_plays_from_there(page: Any) -> None:
    for source in ("file", "live"):
        if source == "file":
            drop(page, CLIP)
        else:
            speak(page)
            page.get_by_role("button", name="Stop").click()
        wait_for_state(page, "done")
        word = page.get_by_role("button", name="Testing")
        start = float(word.get_attribute("data-start"))
        word.click()
        until(page, f"document.getElementById('player').currentTime > {start}")
        page.wait_for_selector(".word.playing")
        until(page, "document.getElementById('player').readyState >= 2")
        assert page.evaluate("document.getElementById('player').currentTime") < start + 60
        page.evaluate("document.getElementById('player').pause()")


def test_a_line_that_breaks_is_taken_up_again(page: Any) -> None:
    """What was said stays, the gap is marked, and the microphone is still heard."""
    page.add_init_script("""{ const Real = WebSocket; window.lines = [];
        window.WebSocket = class extends Real {
            constructor(...given) { super(...given); window.lines.push(this); } }; }""")
    page.reload()
    page.get_by_role("button", name="Speak").click()
    until(page, "document.querySelectorAll('.word').length >= 2")
    page.evaluate("window.lines[0].close(4503)")  # as a server that is about to end
    until(page, "document.querySelectorAll('.gap').length === 1")
    assert text_of(page).startswith("Hello")
    until(page, "window.lines.length === 2 && document.body.dataset.live === 'yes'")
    wait_for_state(page, "waiting", "listening", "silence")
    page.get_by_role("button", name="Stop").click()
    wait_for_state(page, "done")
    assert text_of(page).startswith("Hello")
    assert "connection was lost" in page.inner_text(".gap")


def test_a_file_that_is_no_sound_says_so(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no sound at all\n" * 100, encoding="utf-8")
    drop(page, path, "notes.txt")
    wait_for_state(page, "failed")
    alert = page.get_by_role("alert")
    assert "notes.txt" in alert.text_content() or "sound" in alert.text_content()
    drop(page, CLIP)
    wait_for_state(page, "done")
    assert not alert.is_visible()


def test_all_can_be_done_by_keys(page: Any) -> None:
    """R starts, Esc stops; the transcript is one tab stop, arrows move, Enter plays; ? lists the keys."""
    page.keyboard.press("r")
    until(page, "document.querySelectorAll('.word').length >= 6")
    page.keyboard.press("Escape")
    wait_for_state(page, "done")
    reached: list[str] = []
    for _ in range(24):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("""(() => { const at = document.activeElement;
                if (at.className.includes("word")) return "word:" + at.textContent;
                return at.id || at.textContent.trim(); })()""")
        )
        if reached[-1] == "help":
            break
    words = [name for name in reached if name.startswith("word:")]
    assert words == ["word:Hello"], "one tab stop"
    wanted = ["word:Hello", "main", "file", "txt", "captions", "Settings", "help"]
    assert [name for name in reached if name in wanted] == wanted, reached
    page.locator(".word").first.focus()
    for key, word in (
        ("ArrowRight", "world."),
        ("End", "three."),
        ("ArrowLeft", "two,"),
        ("Home", "Hello"),
        ("ArrowLeft", "Hello"),
    ):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.textContent") == word
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector(".word.playing")
    page.keyboard.press("p")
    until(page, "document.getElementById('player').paused")
    page.keyboard.press("c")
    assert page.evaluate("document.body.classList.contains('captions')")
    page.keyboard.press("c")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()
    assert page.evaluate("document.body.dataset.state") == "done", "Esc closed the list and nothing else"


def test_single_letters_can_be_switched_off_and_fields_take_them(page: Any) -> None:
    page.get_by_text("Settings").click()
    page.get_by_label("Key of this server").fill("")
    page.keyboard.type("rc?")
    assert page.evaluate("[document.body.dataset.state, document.body.className]") == ["ready", ""]
    page.get_by_label("Single-letter keys").uncheck()
    page.keyboard.press("c")
    assert page.evaluate("document.body.className") == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page: Any, scheme: str) -> None:
    """WCAG 2.2 AA and best practice by axe, with words, a draft, a message and the settings on the page."""
    page.emulate_media(color_scheme=scheme)
    drop(page, CLIP)
    wait_for_state(page, "done")
    page.get_by_text("Settings").click()
    page.evaluate("""() => {
        const draft = document.querySelector(".draft"), alert = document.getElementById("alert");
        const shown = [[draft, "not settled"], [alert, "A message."]];
        for (const [one, text] of shown) { one.hidden = false; one.textContent = text; } }""")
    # The page's policy forbids scripts that are not its own; the tool goes around it.
    session = page.context.new_cdp_session(page)
    session.send("Runtime.evaluate", {"expression": Path(os.environ["TDT_AXE"]).read_text(encoding="utf-8")})
    found = page.evaluate("axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice'] })")
    shown = [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found["violations"]]
    assert shown == []
    assert len(found["passes"]) > 20


def test_the_screenshot_of_the_documentation(page: Any) -> None:
    """It is made anew where TDT_SCREENSHOT names a file; here it is held to what it must show: a draft among words."""
    page.set_viewport_size({"width": 1000, "height": 430})
    page.get_by_role("button", name="Speak").click()
    drafts = "document.querySelectorAll('.draft:not([hidden])').length"
    until(page, f"{drafts} === 1 && document.querySelectorAll('.word').length >= 3")
    shot = page.screenshot()
    assert shot.startswith(b"\x89PNG")
    assert len(shot) < 60_000
    if path := os.environ.get("TDT_SCREENSHOT"):
        Path(path).write_bytes(shot)
