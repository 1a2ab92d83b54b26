"""Ctrl-C ends the command at any moment, whatever it is doing; what it was doing loses nothing that was done."""

from __future__ import annotations

import importlib.util
import random
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tdt.commands import interrupts, main

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def stress() -> ModuleType:
    spec = importlib.util.spec_from_file_location("interrupt_stress", ROOT / "tools/interrupt_stress.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_at_any_moment_of_the_first_two_seconds(stress: ModuleType) -> None:
    moments = random.Random(440)
    words = ["transcribe", str(stress.RECORDING)]
    for number in range(30):
        delay = moments.uniform(number, number + 1) / 15
        how, _, said = stress.press(delay, 30.0, words)
        assert how in {"130", "0", "by the signal", "as Python starts"}, f"after {delay:.3f} s: {how}\n{said}"


def run(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `code`, then `tdt` with some words, in a process of its own."""
    script = textwrap.dedent(code) + "\nimport sys\nfrom tdt.commands import main\nsys.exit(main(sys.argv[1:]))\n"
    return subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=60, check=False
    )


PRESS = """
import os, signal, threading, time
def press(times=1):
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
"""


@pytest.mark.parametrize(
    "stuck",
    [
        "time.sleep(1000)",
        "threading.Lock().acquire() and (lock := threading.Lock()).acquire() and lock.acquire()",
        "[1 for _ in iter(int, 1)]",  # computing for ever
    ],
)
def test_while_a_command_loads_nothing_is_raised_and_the_end_comes_at_once(stuck: str) -> None:
    """Neither a wait nor a handler that swallows everything keeps the process."""
    code = f"""{PRESS}
import tdt.loading
def load(*_, **__):
    threading.Timer(0.2, press).start()
    while True:
        try:
            {stuck}
        except BaseException:
            print("raised")
tdt.loading.load = load
"""
    done = run(code, "transcribe", "x.wav")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "tdt transcribe: interrupted\n"


def test_in_the_middle_of_a_long_call_without_python(tmp_path: Path) -> None:
    """As inside LLVM or ONNX Runtime: Python's own handler would run after it."""
    code = f"""{PRESS}
import ctypes
import tdt.loading
def load(*_, **__):
    threading.Timer(0.2, press).start()
    libc = ctypes.CDLL(None)
    while True:
        libc.usleep(900000)  # starts anew when a signal interrupts it
tdt.loading.load = load
"""
    began = time.monotonic()
    done = run(code, "transcribe", "x.wav")
    assert (done.returncode, done.stderr) == (130, "tdt transcribe: interrupted\n")
    assert time.monotonic() - began < 50


WORKING = """
import tdt.commands.inspection as command
from tdt import commands
commands._NOTHING_TO_LOSE = frozenset()
"""


def test_a_command_with_something_to_lose_ends_in_order() -> None:
    code = f"""{PRESS}{WORKING}
def run(args):
    try:
        press()
        time.sleep(1000)
    finally:
        print("put in order")
command.run = run
"""
    done = run(code, "inspect")
    assert (done.returncode, done.stdout, done.stderr) == (130, "put in order\n", "tdt inspect: interrupted\n")


def test_a_second_time_ends_it_at_once() -> None:
    code = f"""{PRESS}{WORKING}
def run(args):
    try:
        press()
        time.sleep(1000)
    finally:
        threading.Timer(0.2, press).start()
        time.sleep(1000)
command.run = run
"""
    done = run(code, "inspect")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "tdt inspect: interrupted\n")


def test_order_takes_no_longer_than_it_may() -> None:
    code = f"""{PRESS}{WORKING}
from tdt.commands import interrupts
interrupts.Interrupts.end_in_order.__defaults__ = (0.3,)
def run(args):
    try:
        press()
        time.sleep(1000)
    finally:
        time.sleep(1000)
command.run = run
"""
    assert run(code, "inspect").returncode == 130


@pytest.mark.parametrize("other", ["raise RuntimeError('Error calling __set_name__')", "raise OSError('broken')"])
def test_an_interrupt_that_became_another_error_is_still_one(other: str) -> None:
    """Such as one that Python raised while a class was made."""
    code = f"""{PRESS}{WORKING}
def run(args):
    try:
        press()
        time.sleep(1000)
    except KeyboardInterrupt:
        {other}
command.run = run
"""
    done = run(code, "inspect")
    assert (done.returncode, done.stderr) == (130, "tdt inspect: interrupted\n")


def test_threads_at_work_are_not_waited_for_at_the_end() -> None:
    code = f"""{PRESS}{WORKING}
import ctypes
from tdt.ending import at_work
def work():
    with at_work:
        ctypes.CDLL(None).sleep(1000)
def run(args):
    threading.Thread(target=work, daemon=True).start()
    time.sleep(0.2)
    press()
    time.sleep(1000)
command.run = run
"""
    assert run(code, "inspect").returncode == 130


def test_who_ignores_the_signal_goes_on_ignoring_it() -> None:
    """As `nohup` and shells' background jobs have it."""
    code = f"""{PRESS}{WORKING}
signal.signal(signal.SIGINT, signal.SIG_IGN)
def run(args):
    press()
    print("done")
    return 0
command.run = run
"""
    done = run(code, "inspect")
    assert (done.returncode, done.stdout) == (0, "done\n")


def surroundings() -> tuple[object, int, int]:
    return signal.getsignal(signal.SIGINT), threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def test_everything_is_as_it_was_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    before = surroundings()
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    assert surroundings() == before
    assert signal.set_wakeup_fd(-1) == -1
    assert re.search("usage", capsys.readouterr().out)


def test_in_another_thread_it_keeps_out_of_the_way() -> None:
    ended: list[bool] = []

    def enter() -> None:
        with interrupts.Interrupts("tdt"):
            ended.append(signal.getsignal(signal.SIGINT) is signal.default_int_handler)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert ended == [True]
