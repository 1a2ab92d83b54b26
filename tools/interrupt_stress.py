"""Press Ctrl-C at random moments of `tdt transcribe`, and count how it ends.

    tools/interrupt_stress.py --runs 300 --seconds 2

Right are: 130; death by the signal itself, which a shell reports as 130, before the command has begun; 0 where it was
done before; and what Python itself ends with where it is interrupted as it starts. A run that has not ended after
--limit seconds hangs. Exit status: 1 where one hung or ended otherwise.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

RECORDING = Path(__file__).resolve().parents[1] / "tdt/models/recordings/15_hello_world.flac"
# Python's own start: before `site` is done, an interrupt ends it with status 1 and a traceback from there.
_STARTING = re.compile(r"<frozen site>|init_import_site|init_import_size|init_sys_streams|Fatal Python error")


def press(delay: float, limit: float, words: list[str]) -> tuple[str, float, str]:
    """Start the command, interrupt it after `delay` seconds; return how it ended, how long that took, what it said."""
    command = [sys.executable, "-m", "tdt", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(delay)
        pressed = time.monotonic()
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            _, said = process.communicate()
            return "hung", limit, said
        took = time.monotonic() - pressed
    status = process.returncode
    if status in {0, 130}:
        return str(status), took, said
    if status == -signal.SIGINT:
        return "by the signal", took, said
    return ("as Python starts" if _STARTING.search(said) else f"status {status}"), took, said


def main() -> int:
    """Press, count, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=2.0, help="moments are spread over so many (default: 2)")
    parser.add_argument("--limit", type=float, default=20.0, help="what takes longer to end hangs (default: 20 s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("words", nargs="*", default=["transcribe", str(RECORDING)], help="another command, after --")
    args = parser.parse_args()
    moments, ended, slowest = random.Random(args.seed), Counter[str](), 0.0
    for _ in range(args.runs):
        delay = moments.uniform(0.0, args.seconds)
        how, took, said = press(delay, args.limit, args.words)
        ended[how] += 1
        slowest = max(slowest, took)
        if how == "hung" or how.startswith("status"):
            print(f"after {delay:.3f} s: {how}\n{said}")
    print(f"{args.runs} times Ctrl-C in the first {args.seconds:g} s: {dict(ended)}; the slowest took {slowest:.2f} s")
    return int(any(how == "hung" or how.startswith("status") for how in ended))


if __name__ == "__main__":
    sys.exit(main())
