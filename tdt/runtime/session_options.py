"""How a session is set up, by where it runs: what is logged, recorded and rewritten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdt.runtime.ort import FATAL

if TYPE_CHECKING:
    from tdt.runtime.backend import Backend

_BUILDERS = ("tensorrt", "tensorrt-rtx")


def session_options(ort: Any, backend: Backend, name: str, threads: int | None = None, *, once: bool = False) -> Any:
    """Return the options of a session.

    Parameters
    ----------
    ort : module
        onnxruntime.
    backend : Backend
    name : str
        Of the graph: what its profile is called.
    threads : int, optional
        Threads inside an operator; None for one a core.
    once : bool
        Whether it is opened for a run or two: weights stay where they are mapped, as they lie, and no graph is
        rewritten, so that opening costs little and running more.
    """
    options = ort.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    # Its threads would wait for the next run on busy cores, which the decoder then does not find idle
    # (tdt.decoding.cores).
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.enable_mem_pattern = False  # shapes change from call to call: patterns of each would be kept
    if once:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_mem_reuse = False  # its plan takes most of the time of opening, quadratic in the nodes
        options.add_session_config_entry("session.disable_prepacking", "1")
    if backend.provider in _BUILDERS:
        # TensorRT rewrites graphs itself, and fuses Q and DQ nodes with what lies between them as the file has them.
        # ONNX Runtime would move and double some of them first (64 and 144 become 80 and 176 in the bundled encoder
        # quantised), and with its Q/DQ rules off but the others on it would make float weights of the 8-bit ones.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    if backend.profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(backend.profile / name)
    return options
