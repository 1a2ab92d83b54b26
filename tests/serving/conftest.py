"""Chromium without a window, with a file as its microphone, on a server of the tiny model."""

from __future__ import annotations

import os
import shutil
import time
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

import tdt

from .running import PATIENCE, served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .running import Served

CLIP = Path(tdt.__file__).parent / "models/recordings/15_hello_world.flac"
CHROMIUM = os.environ.get("TDT_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None
)


def until(page: Any, condition: str) -> None:
    """Wait for a condition; the page's policy forbids Playwright's own way, which evaluates a text within it."""
    end = time.monotonic() + PATIENCE
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"{condition} did not come about: {page.inner_text('body')}"
        page.wait_for_timeout(50)


@pytest.fixture(scope="session")
def page_server() -> Iterator[Served]:
    with served() as running:
        yield running


@pytest.fixture(scope="session")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is said to it: a second of silence, the clip, and silence for as long as any test lasts."""
    path = tmp_path_factory.mktemp("microphone") / "said.wav"
    samples, rate = soundfile.read(CLIP, dtype="int16")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        silence = np.zeros(rate, np.int16)
        file.writeframes(np.concatenate([silence, samples, np.tile(silence, 240)]).tobytes())
    return path


@pytest.fixture(scope="session")
def browser(microphone: Path) -> Iterator[Any]:
    if "TDT_AXE" not in os.environ:
        pytest.skip("tools/test-browser runs it, and installs what it needs")
    assert CHROMIUM is not None, "no Chromium here"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                *("--no-sandbox", "--disable-gpu", "--use-fake-ui-for-media-stream"),
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={microphone}%noloop",
                "--autoplay-policy=no-user-gesture-required",
            ],
        )
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, page_server: Served) -> Iterator[Any]:
    """The page, freshly loaded; a message on its console, or a request to another host, fails the test."""
    context = browser.new_context(viewport={"width": 1000, "height": 760}, color_scheme="light")
    context.set_default_timeout(1000 * PATIENCE)
    trouble: list[str] = []
    made = context.new_page()
    refused = "responded with a status of 400"  # which Chromium prints by itself
    made.on("console", lambda message: refused in message.text or trouble.append(message.text))
    made.on("pageerror", lambda error: trouble.append(str(error)))
    made.on(
        "request",
        lambda request: request.url.startswith((page_server.http, "blob:", "data:")) or trouble.append(request.url),
    )
    made.goto(page_server.http)
    until(made, "document.getElementById('model').textContent !== '…'")
    yield made
    context.close()
    assert trouble == []
