"""Run the sections of the card's self-test one after the other, each on its own, and keep what they found.

A section that fails or runs out of time does not stop the others. Each is a program of its own: what it prints goes
into the report, its figures into the JSON beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

PYTHON = sys.executable
NO_CARD = 2


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the self-test.

    Parameters
    ----------
    name : str
    about : str
        What it shows, in one line.
    command : tuple of str
        `{model}` and `{half}` stand for the large model's folders.
    seconds : int
        After which it is stopped.
    large : bool
        Whether it needs the large model.
    """

    name: str
    about: str
    command: tuple[str, ...]
    seconds: int
    large: bool = False


def _script(name: str, *arguments: str) -> tuple[str, ...]:
    return (PYTHON, str(HERE / f"{name}.py"), *arguments)


_TESTS = (PYTHON, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "--tb=short")
_KERNELS = "kernel or weights or features or log_mel or mel"
_LARGE = ("--model", "{model}")
_HALF = ("--model", "{half}", "--precision", "float16", "--provider", "cuda:0,graphs=16")
_CUDA = ("--provider", "cuda:0", "--provider", "cuda:0,tf32")
_GRAPHS = ("--provider", "cuda:0,tf32,graphs=32")
_FILES = ("tests/test_gpu.py", "tests/encoding/test_features_gpu.py")
_DOCTOR = (PYTHON, "-m", "tdt", "doctor", "--provider", "cpu", *_CUDA)
SECTIONS = (
    Section("card", "driver, card, packages", _script("card"), 60),
    Section("kernels", "features and decoder against the CPU", (*_TESTS, *_FILES, "-k", _KERNELS), 150),
    Section("goldens", "NeMo's tokens, frames, durations, end to end", _script("goldens"), 120),
    Section("doctor", "each provider against the CPU", _DOCTOR, 120),
    Section("decode", "µs a token: card, host, onnx-asr's loop", _script("decode", "--peer", *_LARGE), 120, large=True),
    Section("encoder", "ms by shape", _script("encoder", *_LARGE, *_CUDA, *_GRAPHS), 120, large=True),
    Section("encoder-float16", "the same in float16", _script("encoder", *_HALF), 90, large=True),
    Section("end-to-end", "RTFx at B = 1 and 32", _script("ends", *_LARGE, *_GRAPHS, "--peer"), 150, large=True),
    Section("end-to-end-float16", "the same in float16", _script("ends", *_HALF, "--decoder", "auto"), 120, large=True),
    Section("phases", "where the decoder's kernel spends its time", _script("phases", *_LARGE), 60, large=True),
    Section("tests", "all tests that need a card", (*_TESTS, *_FILES), 400),
)


def _commit() -> str:
    from tdt.profiling.environment import environment_block

    return environment_block()["commit"] or ""


@dataclass(slots=True)
class Report:
    """What was found so far, written down after every section.

    Parameters
    ----------
    path : Path
        Of the text; the JSON lies beside it.
    commit : str
        Of the checkout; nothing outside one.
    """

    path: Path
    commit: str = field(default_factory=_commit)
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)

    def keep(self, section: Section, text: str, outcome: dict[str, Any]) -> None:
        """Add a section's output and figures."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"\n=== {section.name}: {section.about}\n{text}")
        self.sections[section.name] = outcome
        whole = {"commit": self.commit, "date": time.strftime("%Y-%m-%d"), "sections": self.sections}
        self.path.with_suffix(".json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    options = arguments().parse_args()
    if options.show:
        from show import table

        print(table(json.loads(options.show.read_text(encoding="utf-8"))))
        return 0
    from tdt.runtime.driver import read_driver

    problem = read_driver().problem
    wanted = [section for section in SECTIONS if not options.only or section.name in options.only.split(",")]
    if problem:
        wanted = [section for section in wanted if section.name in {"card", "kernels", "doctor"}]
        print(f"No card: {problem}. What can be said without one follows.", file=sys.stderr)
    options.out.write_text("", encoding="utf-8")
    report, ends = Report(options.out), time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as scratch:
        models = Models(options.model, options.half, Path(scratch))
        failed = [section.name for section in wanted if not run(section, models, report, ends)]
    print(f"\nThe report is in {options.out} and {options.out.with_suffix('.json')}.", file=sys.stderr)
    if problem:
        return NO_CARD
    print(f"Not well: {', '.join(failed)}." if failed else "All well.", file=sys.stderr)
    return int(bool(failed))


def arguments() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {section.name:20} {section.about}" for section in SECTIONS)
    parser = argparse.ArgumentParser(
        prog="tools/selftest-gpu", description=f"Show what only a card can show. Sections, in this order:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--only", help="sections, separated by commas")
    parser.add_argument(
        "--minutes", type=float, default=12.0, help="after which no further section starts (default 12)"
    )
    parser.add_argument(
        "--model", type=Path, help="float32 model to time (the shapes of 0.6b-v3, made for it, by default)"
    )
    parser.add_argument("--half", type=Path, help="the same in float16 (made from --model by default)")
    parser.add_argument("--out", type=Path, default=Path("gpu-report.txt"), help="report (default gpu-report.txt)")
    parser.add_argument("--show", type=Path, metavar="JSON", help="print the table of an earlier report, and stop")
    parser.add_argument(
        "--offline", metavar="SITE", help="first option only: use packages that are there, fetch nothing"
    )
    return parser


@dataclass(slots=True)
class Models:
    """The large models, made when they are needed first.

    Parameters
    ----------
    given, given_half : Path or None
    scratch : Path
        Where they are made otherwise.
    """

    given: Path | None
    given_half: Path | None
    scratch: Path

    def folders(self) -> dict[str, str]:
        """Return the folders by placeholder."""
        model = self.given or self.scratch / "float32"
        if not model.exists():
            print("Writing a model of the 0.6b-v3 shapes …", file=sys.stderr)
            subprocess.run(
                [PYTHON, str(ROOT / "tools/make_bench_model"), str(model)], check=True, stdout=subprocess.DEVNULL
            )
        half = self.given_half or self.scratch / "float16"
        if not half.exists():
            command = [PYTHON, "-m", "tdt", "quantize", str(model), "--precision", "float16", "-o", str(half), "-q"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return {"model": str(model), "half": str(half)}


def run(section: Section, models: Models, report: Report, ends: float) -> bool:
    """Run a section and keep what it found; return whether all is well."""
    if time.monotonic() > ends:
        report.keep(section, "left out: no time\n", {"status": "no time", "figures": []})
        return False
    print(f"\n=== {section.name}: {section.about}", flush=True)
    started = time.monotonic()
    try:
        places = models.folders() if section.large else {}
    except (subprocess.CalledProcessError, OSError) as error:
        report.keep(section, f"no model: {error}\n", {"status": f"no model: {error}", "figures": []})
        return False
    command = [part.format(**places) if section.large else part for part in section.command]
    with tempfile.NamedTemporaryFile("r+", suffix=".jsonl") as figures:
        status, text = _watched(command, section.seconds, {**os.environ, "TDT_SELFTEST_FIGURES": figures.name})
        found = [json.loads(line) for line in figures.read().splitlines()]
    seconds = round(time.monotonic() - started, 1)
    print(f"--- {section.name}: {status}, {seconds} s", flush=True)
    report.keep(section, f"{text}--- {status}, {seconds} s\n", {"status": status, "seconds": seconds, "figures": found})
    return status == "well"


def _watched(command: list[str], seconds: int, environment: dict[str, str]) -> tuple[str, str]:
    """Run a command, show what it prints as it goes, and return how it ended, with all it printed."""
    lines: list[str] = []
    with subprocess.Popen(
        ["timeout", str(seconds), *command], cwd=ROOT, env=environment, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    code = process.returncode
    status = "well" if code == 0 else "out of time" if code == 124 else f"exit status {code}"
    return status, "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
