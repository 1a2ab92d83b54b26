"""`tdt doctor`: check this installation, and each provider against the CPU."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from tdt.commands.options import add

if TYPE_CHECKING:
    import argparse

    from tdt.doctor import Report, Verdict


EPILOG = "Exit status: 0 all is well, 1 something is wrong, 2 wrong usage.\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the options from the table."""
    add(parser, "model", "providers", "precision", "json", providers={"shown": "all that can be there"})


def run(args: argparse.Namespace) -> int:
    """Examine, print, and return the exit status."""
    from tdt.doctor import examine

    def tell(text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"{text} …\n")

    report = examine(args.model, args.provider, precision=args.precision, progress=tell)
    if args.json:
        sys.stdout.write(json.dumps(report.to_dict(), ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(render(report))
    return 0 if report.ok else 1


def render(report: Report) -> str:
    """Return a report as text for people."""
    env = report.environment
    driver = (
        f"{env.driver.version or '?'} (CUDA {env.driver.cuda[0]}.{env.driver.cuda[1]})" if env.driver.cuda else "none"
    )
    lines = [
        f"machine       {env.processor}; {env.platform}; Python {env.python}",
        f"driver        {driver}",
        *(
            f"card          {c.name}, sm_{c.capability[0]}{c.capability[1]}, {c.memory_bytes / 2**30:.1f} GiB"
            for c in env.driver.cards
        ),
        f"ONNX Runtime  {env.runtime}"
        + (f", built for CUDA {env.runtime_cuda}" if env.runtime_cuda else ", without CUDA"),
        "packages      " + ", ".join(f"{name} {version}" for name, version in env.packages.items()),
        "",
        *(f"{finding.severity.upper()}: {finding.text}" for finding in report.findings),
        *(f"not checked: {provider}: {reason}" for provider, reason in report.skipped.items()),
        "",
    ]
    for verdict in report.verdicts:
        lines += _verdict(verdict)
    lines.append("All is well." if report.ok else "Something is WRONG: see above.")
    return "\n".join(lines) + "\n"


def _verdict(verdict: Verdict) -> list[str]:
    lines = [f"{verdict.provider}: {'ok' if verdict.ok else 'WRONG'}"]
    lines += [f"  {'ok   ' if check.ok else 'WRONG'}  {check.name}: {check.found}" for check in verdict.checks]
    if verdict.nodes:
        lines.append("  nodes  " + ", ".join(f"{number} on {name}" for name, number in verdict.nodes.items()))
    if verdict.milliseconds:
        lines.append("  time   " + ", ".join(f"{stage} {ms:.1f} ms" for stage, ms in verdict.milliseconds.items()))
    return [*lines, ""]
