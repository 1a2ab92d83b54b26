"""Measuring: where the time goes, benchmarks against peers, memory, reports and pictures.

Knows the recorder's spans and the recogniser as a user does. Knows nothing of quantising or of the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.doors import door

if TYPE_CHECKING:
    from tdt.profiling.bench_runs import run_report as run_report
    from tdt.profiling.bench_runs import run_soak as run_soak
    from tdt.profiling.bench_runs import run_sweep as run_sweep
    from tdt.profiling.breakdown import break_down as break_down
    from tdt.profiling.environment import cpu_name as cpu_name
    from tdt.profiling.environment import describe as describe
    from tdt.profiling.environment import environment_block as environment_block
    from tdt.profiling.environment import invocation as invocation
    from tdt.profiling.nodes import top_nodes as top_nodes
    from tdt.profiling.output import check_writable as check_writable
    from tdt.profiling.output import open_output as open_output
    from tdt.profiling.output import write_file as write_file
    from tdt.profiling.page import profile_page as profile_page
    from tdt.profiling.picture import draw_stages as draw_stages
    from tdt.profiling.picture import require_plotting as require_plotting
    from tdt.profiling.profile_run import Options as Options
    from tdt.profiling.profile_run import Profile as Profile
    from tdt.profiling.profile_run import run_profile as run_profile
    from tdt.profiling.profile_tables import load_table as load_table
    from tdt.profiling.profile_tables import memory_table as memory_table
    from tdt.profiling.profile_tables import node_table as node_table
    from tdt.profiling.profile_tables import operator_table as operator_table
    from tdt.profiling.profile_tables import overlap_table as overlap_table
    from tdt.profiling.profile_tables import setup_table as setup_table
    from tdt.profiling.profile_tables import stage_table as stage_table
    from tdt.profiling.selecting import cases_of as cases_of
    from tdt.profiling.stats import edit_distance as edit_distance
    from tdt.profiling.stats import summarize as summarize
    from tdt.profiling.tables import Table as Table
    from tdt.profiling.tables import to_markdown as to_markdown
    from tdt.profiling.tables import to_text as to_text
    from tdt.profiling.trace import chrome_trace as chrome_trace

__getattr__, __all__ = door(
    __name__,
    {
        "bench_runs": "run_report run_soak run_sweep",
        "breakdown": "break_down",
        "environment": "cpu_name describe environment_block invocation",
        "nodes": "top_nodes",
        "output": "check_writable open_output write_file",
        "page": "profile_page",
        "picture": "draw_stages require_plotting",
        "profile_run": "Options Profile run_profile",
        "profile_tables": "load_table memory_table node_table operator_table overlap_table setup_table stage_table",
        "selecting": "cases_of",
        "stats": "edit_distance summarize",
        "tables": "Table to_markdown to_text",
        "trace": "chrome_trace",
    },
)
