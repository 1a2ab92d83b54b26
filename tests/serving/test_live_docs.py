"""The page of live serving says what is: its client runs, its tables are the program's."""

from __future__ import annotations

import asyncio
import re
import wave
from pathlib import Path
from typing import TYPE_CHECKING

import soundfile

import tdt
from tdt.live import PRESETS
from tdt.serving import conversation, listening, live_room, live_session
from tdt.serving.faces import FILES, PAGE
from tdt.serving.refusing import STATUSES, TABLE

from .running import served

if TYPE_CHECKING:
    import pytest

TEXT = (Path(__file__).parents[2] / "tools/readme/serving-live.md").read_text(encoding="utf-8")


def test_the_client_of_fifteen_lines_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snippet = next(text for text in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "websockets" in text)
    assert len([line for line in snippet.split("async def listen")[1].splitlines() if line.strip()]) <= 18
    samples, rate = soundfile.read(f"{tdt.__path__[0]}/models/recordings/15_hello_world.flac", dtype="int16")
    with wave.open(str(tmp_path / "talk.wav"), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    session: dict[str, object] = {}
    exec(compile(snippet, "serving-live.md", "exec"), session)
    with served() as running:
        text = asyncio.run(session["listen"](f"{running.socket}?latency=2", str(tmp_path / "talk.wav")))  # type: ignore[operator]
    assert text == "Hello world. Testing one, two, three."
    assert capsys.readouterr().out.splitlines() == ["Hello world.", "Testing one, two, three.", text]


def test_the_states_of_the_page_are_those_of_the_code() -> None:
    source = (PAGE / "captions.js").read_text(encoding="utf-8")
    shared = {
        "...READY": re.search(r"const READY = \{ (.*) \};", source),
        "...HEARING": re.search(r"const HEARING = \{ (.*) \};", source),
    }
    heard = re.search(r"const heard = \{ (.*) \};", source)
    assert heard is not None
    found = []
    for name, written in re.findall(r"^  (\w+): \{ says: (.*) \},$", source, re.MULTILINE):
        body = written
        for key, match in shared.items():
            assert match is not None
            body = body.replace(key, match.group(1))
        button = re.search(r'button: \["(\w+)"', body)
        leads = re.search(r"on: \{ ([^}]*) \}", body)
        assert button is not None
        pairs = re.findall(r'(\w+): "(\w+)"', leads.group(1) if leads else heard.group(1))
        found.append(f"| {name} | {button.group(1)} | {', '.join(f'{event}: {state}' for event, state in pairs)} |")
    assert len(found) == 12
    table = TEXT.partition("| state | button | leads to |\n|---|---|---|\n")[2].partition("\n\n")[0]
    assert table.split("\n") == found


def test_bounds_and_codes_are_those_of_the_code() -> None:
    codes = {int(code) for code in re.findall(r"^\| (4\d\d\d) \|", TEXT, re.MULTILINE)}
    known = {listening.REFUSED + refusal.status for refusal in (*TABLE.values(), *STATUSES.values())}
    assert codes <= known
    assert {4400, 4401, 4429, 4500, 4503} == codes
    assert f"{conversation.RATES[0]} to {conversation.RATES[1]}" in TEXT
    assert f"1 to {conversation.CHANNELS[1]};" in TEXT
    assert f"at most {conversation.PHRASES} strings" in TEXT
    assert f"{live_room.MOST_SESSIONS} streams" in TEXT
    assert (live_session.WAITING_SECONDS, listening.START_SECONDS, conversation.LONGEST_BLOCK) == (10, 30, 1 << 20)
    assert set(PRESETS) == {4, 2, 1}
    assert len(FILES) == 8
    for name in (
        *conversation.FIELDS - {"type"},
        "ready",
        "speech",
        "partial",
        "final",
        "silence",
        "heard",
        "error",
        "finished",
    ):
        assert f"`{name}`" in TEXT
