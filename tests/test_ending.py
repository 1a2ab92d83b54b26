"""The end of the interpreter, and of two things made side by side: nothing aborts, nothing is waited for in vain."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

import tdt
from tdt.aside import both
from tdt.ending import _AtWork

RECORDING = Path(tdt.__file__).parent / "models/recordings/15_hello_world.flac"
BEGINNING = f"""
import os, random, sys, threading, time
import numpy as np
import soundfile
import tdt
RECORDING = {str(RECORDING)!r}
HELLO = soundfile.read(RECORDING, dtype="float32")[0]
LONG = np.tile(np.concatenate([HELLO, np.zeros(8000, np.float32)]), 200)
asr = tdt.load()
asr.warmup()
random.seed(int(sys.argv[1]))
"""


def run(code: str, number: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BEGINNING + textwrap.dedent(code), str(number)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
    )


UNFINISHED = {
    "stream": """
        stream = asr.stream(LONG, chunk_seconds=15)
        print(next(stream).text)
        time.sleep(random.uniform(0, 0.4))
    """,
    "each": """
        each = asr.transcribe_each([HELLO] * 200, batch_size=2)
        print(next(each).text)
    """,
    "a pipe that gives no more": """
        def source():
            yield LONG[: 16000 * 70]
            time.sleep(1000)
        stream = asr.stream(source(), chunk_seconds=15)
        print(next(stream).text)
        time.sleep(random.uniform(0, 0.4))
    """,
    "each in a daemon thread": """
        each = asr.transcribe_each([LONG] * 3, chunk_seconds=15)
        threading.Thread(target=lambda: next(each), daemon=True).start()
        time.sleep(random.uniform(0, 0.8))
        print("Hello world.")
    """,
    "transcribe in daemon threads": """
        def work():
            while True:
                asr.transcribe([HELLO] * 4, batch_size=2)
        for _ in range(2):
            threading.Thread(target=work, daemon=True).start()
        time.sleep(random.uniform(0.1, 0.6))
        print("Hello world.")
    """,
    "load in a daemon thread": """
        threading.Thread(target=lambda: [tdt.load() for _ in range(50)], daemon=True).start()
        time.sleep(random.uniform(0, 0.5))
        print("Hello world.")
    """,
}


@pytest.mark.parametrize("kind", UNFINISHED)
@pytest.mark.parametrize("number", [1, 2])
def test_what_is_unfinished_does_not_abort_the_interpreter(kind: str, number: int) -> None:
    done = run(UNFINISHED[kind], number)
    assert (done.returncode, done.stdout[:12]) == (0, "Hello world."), done.stderr
    assert done.stderr == ""


def test_threads_that_go_on_when_the_main_one_is_done_give_their_results() -> None:
    """The interpreter's pools take no work any more by then, and the decoder spreads batches over one."""
    code = """
        def work():
            time.sleep(0.5)  # the main thread has ended
            results = asr.transcribe([HELLO] * 12, batch_size=6)
            (text,) = {result.text for result in results}
            sys.stdout.write(f"{text} {len(results)}\\n")  # whole: the other thread writes too
        for _ in range(2):
            threading.Thread(target=work).start()
    """
    done = run(code, 0)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Hello world. Testing one, two, three. 12\n" * 2


def test_calls_under_way_are_waited_for_and_none_begins() -> None:
    work, inside, leave, told = _AtWork(), threading.Event(), threading.Event(), []

    def call() -> None:
        with work:
            inside.set()
            leave.wait(60)
        try:
            with work:
                told.append("ran")
        except SystemExit:
            told.append("ended")

    thread = threading.Thread(target=call)
    thread.start()
    inside.wait(60)
    threading.Timer(0.2, leave.set).start()
    began = time.monotonic()
    work.finish()
    assert leave.is_set()
    assert time.monotonic() - began < 30
    thread.join(60)
    assert told == ["ended"]
    with work:  # the main thread may: whatever else is done at exit
        told.append("main")
    assert told == ["ended", "main"]


# --- side by side -----------------------------------------------------------------------------------------------------


class Part:
    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


def test_an_interrupt_does_not_wait_for_the_other_part() -> None:
    """What is then made in vain is closed where it is made."""
    go, made = threading.Event(), Part()

    def interrupted() -> NoReturn:
        raise KeyboardInterrupt

    def slow() -> Part:
        go.wait(60)
        return made

    with pytest.raises(KeyboardInterrupt):
        both(interrupted, slow, together=True)
    assert not made.closed.is_set()
    go.set()
    assert made.closed.wait(60)


def test_an_error_waits_for_the_other_part_and_closes_it() -> None:
    made = Part()

    def failing() -> NoReturn:
        raise tdt.ModelMismatchError("no")

    def slow() -> Part:
        time.sleep(0.1)
        return made

    parts: list[Any] = [failing, slow]
    with pytest.raises(tdt.ModelMismatchError):
        both(*parts, together=True)
    assert made.closed.is_set()
