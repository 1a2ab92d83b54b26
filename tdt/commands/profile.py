"""`tdt profile`: where the time of a transcription goes, stage by stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.commands.known import fusion_options
from tdt.commands.options import SEARCHED, add
from tdt.errors import OptionError
from tdt.profiling import check_writable, open_output, to_markdown, to_text

if TYPE_CHECKING:
    import argparse

    from tdt.profiling import Profile, Table

FORMATS = ("table", "json", "trace", "html", "markdown")

EPILOG = """\
examples:
  tdt profile talk.flac                                  a table of stages
  tdt profile talk.flac --format json | jq .stages       the same as data (wall_ms, stages, setup, …)
  tdt profile talk.flac --nodes --format trace -o t.json open t.json at ui.perfetto.dev
  tdt profile talk.flac --live 2                         live recognition of two seconds' latency, chunk by chunk
  tdt profile *.flac --format html -o profile.html       one page, nothing loaded from anywhere

Clocks: host is the host's clock around work of its own; host+sync the same around device work, after waiting for it;
cuda-event the device's own. The stages run one after another here; what ran in other threads is listed apart.
Exit status: 0 done, 1 the model or the audio cannot be used, 2 wrong usage.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the options from the table."""
    add(
        parser, "files", "model", "provider_or_auto", "precision", "decoder", "threads", "batch_size", "runs", "nodes",
        "memory", "live", "format", "picture", "report", *SEARCHED,
        batch_size={"default": 1, "shown": "1"},
        runs={"default": 10, "shown": "10 rounds over the files; fewer where they take longer than 20 s"},
        format={"choices": FORMATS, "default": "table"},
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Profile and report; return the exit status."""
    if args.live is not None and args.batch_size != 1:
        raise OptionError("--batch-size", args.batch_size, "1 with --live: a stream has one chunk at a time")
    check_writable(args.picture)
    if args.picture:
        from tdt.profiling import require_plotting

        require_plotting()
    with open_output(args.output) as stream:
        profile = _profile(args)
        stream.write(_render(profile, args))
    if args.picture:
        _draw(profile, args)
    return 0


def _profile(args: argparse.Namespace) -> Profile:
    from tdt.profiling import Options, run_profile

    load: dict[str, Any] = {"provider": args.provider, "precision": args.precision, "decoder": args.decoder}
    options = Options(
        args.model, {**load, "threads": args.threads}, batch_size=args.batch_size, runs=args.runs, live=args.live,
        known=dict(fusion_options(args)),
    )  # fmt: skip
    return run_profile(args.files, options, with_nodes=args.nodes, with_memory=args.memory)


def _title(profile: Profile, args: argparse.Namespace) -> str:
    shown = ", ".join(Path(name).name for name in args.files[:3]) + (", …" if len(args.files) > 3 else "")
    model = profile.model
    shown += f", live with {args.live} s of latency: a call is a chunk" if args.live is not None else ""
    return f"{model['name']}, encoder {model['encoder_precision']}, {model['provider']}: {shown}"


def _render(profile: Profile, args: argparse.Namespace) -> str:
    if args.format == "json":
        return json.dumps(profile.to_dict(), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    if args.format == "trace":
        from tdt.profiling import chrome_trace

        run_under = profile.node_run if args.nodes else None
        trace = chrome_trace(run_under.timeline, run_under.profiles) if run_under else chrome_trace(profile.timeline)
        return json.dumps(trace) + "\n"
    tables = _tables(profile, nodes=args.nodes)
    footer = f"{_environment()}; {_command()}"
    if args.format == "html":
        from tdt.profiling import profile_page

        return profile_page(_title(profile, args), profile.breakdown, tables, footer)
    write = to_text if args.format == "table" else to_markdown
    return "\n".join([_title(profile, args) + "\n", *(write(table) for table in tables), footer + "\n"])


def _environment() -> str:
    from tdt.profiling import describe, environment_block

    return describe(environment_block())


def _command() -> str:
    from tdt.profiling import invocation

    return invocation()


def _tables(profile: Profile, *, nodes: bool) -> list[Table]:
    from tdt.profiling import (
        load_table,
        memory_table,
        node_table,
        operator_table,
        overlap_table,
        setup_table,
        stage_table,
        top_nodes,
    )

    tables = [stage_table(profile.breakdown), setup_table(profile.breakdown)]
    if profile.breakdown.overlapped:
        tables.append(overlap_table(profile.breakdown))
    if nodes and profile.node_run is not None:
        rows = top_nodes(profile.node_run.profiles)
        tables += [node_table(rows), operator_table(rows)]
    if profile.stage_memory is not None and profile.node_run is not None:
        tables.append(memory_table(profile.stage_memory, profile.node_run.arena_bytes))
        tables.append(load_table(profile.node_run.load_ms))
    return tables


def _draw(profile: Profile, args: argparse.Namespace) -> None:
    from tdt.profiling import draw_stages

    draw_stages({profile.model["name"]: profile.breakdown}, Path(args.picture))
