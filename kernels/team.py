"""Products cut into chunks of rows, which one thread works through alone or a team shares.

A team serves a single utterance of a large model: its weights stream through two cores' caches instead of one. The
first thread runs the loop; the others wait for chunks, spinning, for as long as that loop runs. A chunk belongs to
whoever takes the counter REMAINING down to it; who gets 0 or less has none. The job's numbers are written before the
counter is raised, and do not change before all chunks are done, so that whoever holds a chunk reads the numbers that
belong to it.
"""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from . import task as f
from .buffers import CHUNK_ROWS
from .dense import INTERLEAVED, multiply_bytes, multiply_floats, quantize_vectors, zero_point
from .jit import inline
from .memory import fetch_add, get_float, get_int, keep_apart, load_acquire, pause, set_float, set_int, store_release
from .rows import add_scaled, estimate
from .simd import BYTE_STEP

# Places in the JOB array, a cache line apart where several threads write.
REMAINING, DONE, STOP, KIND, PLACE, ORDER, N, K, X, M, OUT = 0, 8, 16, 24, 25, 26, 27, 28, 29, 30, 31
JOB_PLACES = 32
FLOATS, SCALED, ESTIMATED = 0, 1, 2  # kinds of job
SPINS_BEFORE_LOOKING = 16


@inline
def _run_chunk(task: Any, chunk: int, worker: int) -> None:
    """Do one chunk of the job: rows from chunk × CHUNK_ROWS on, for all its vectors."""
    keep_apart()
    job = task[f.JOB]
    place, n, k, m, out = get_int(job, PLACE), get_int(job, N), get_int(job, K), get_int(job, M), get_int(job, OUT)
    start = chunk * CHUNK_ROWS
    count = min(CHUNK_ROWS, n - start)
    if get_int(job, KIND) == FLOATS:
        w_at, x = place + 4 * start * k, get_int(job, X)
        multiply_floats(w_at, get_int(job, ORDER), count, k, x, k, m, out + 4 * start, n)
        return
    k64 = (k + BYTE_STEP - 1) // BYTE_STEP * BYTE_STEP
    dots = task[f.DOTS] + worker * task[f.DOTS_BYTES]
    levels = task[f.OUTPUT_LEVELS] if get_int(job, KIND) == ESTIMATED else task[place + 1]
    multiply_bytes(task[f.ISA], levels + start * k64, count, k64, task[f.LEVELS], task[f.LEVEL_WIDTH], m, dots)
    for b in range(m):
        step, out_at = get_float(task[f.STATS], 4 * b), out + 4 * (b * n + start)
        zero, dots_at = zero_point(task, b), dots + 4 * b * CHUNK_ROWS
        if get_int(job, KIND) == SCALED:
            add_scaled(dots_at, count, zero, step, task[place + 2] + 4 * start, task[place + 3] + 4 * start, out_at)
        else:
            rows, norms = task[f.ROW_TABLES] + 4 * start, task[f.NORMS] + 16 * b
            low = estimate(dots_at, count, zero, step, rows, n, norms, out_at)
            set_float(task[f.CHUNK_BEST], b * task[f.CHUNK_BEST_WIDTH] + chunk, low)


@inline
def _run_all(task: Any, kind: int, place: int, order: int, n: int, k: int, x: int, m: int, out: int) -> None:
    """Work through a job, with the team if there is one."""
    keep_apart()
    job, chunks = task[f.JOB], (n + CHUNK_ROWS - 1) // CHUNK_ROWS
    set_int(job, KIND, kind)
    set_int(job, PLACE, place)
    set_int(job, ORDER, order)
    set_int(job, N, n)
    set_int(job, K, k)
    set_int(job, X, x)
    set_int(job, M, m)
    set_int(job, OUT, out)
    if task[f.HELPERS] == 0:
        for chunk in range(chunks):
            _run_chunk(task, chunk, 0)
        return
    set_int(job, DONE, 0)
    store_release(job, REMAINING, chunks)
    _take_chunks(task, chunks, 0)
    while load_acquire(job, DONE) < chunks:
        pause()


@inline
def _take_chunks(task: Any, chunks: int, worker: int) -> None:
    """Take chunks until there are none; the last come first, and `chunks` only guards against a count gone astray."""
    job = task[f.JOB]
    for _ in range(chunks + 1):
        taken = fetch_add(job, REMAINING, -1)
        if taken <= 0:
            return
        _run_chunk(task, taken - 1, worker)
        fetch_add(job, DONE, 1)


@inline
def assist(task: Any, worker: int) -> None:
    """Take chunks of whatever job is there until STOP, which the caller of the first thread sets."""
    job = task[f.JOB]
    while load_acquire(job, STOP) == 0:
        for _ in range(SPINS_BEFORE_LOOKING):
            if load_acquire(job, REMAINING) > 0:
                taken = fetch_add(job, REMAINING, -1)
                if taken > 0:
                    _run_chunk(task, taken - 1, worker)
                    fetch_add(job, DONE, 1)
            else:
                pause()


@inline
def dense(task: Any, matrix: int, n: int, k: int, x: int, m: int, out: int) -> None:
    """Add matrix number `matrix` [n, k] × x [m, k] to out [m, n], in the task's precision; padded sizes, addresses."""
    place = f.MATRICES + 4 * matrix
    if task[f.QUANTIZED] == 0:
        _run_all(task, FLOATS, task[place], INTERLEAVED, n, k, x, m, out)
        return
    quantize_vectors(task, x, k, m)
    _run_all(task, SCALED, place, INTERLEAVED, n, k, x, m, out)


@inline
def dense_plain(task: Any, w: int, n: int, k: int, x: int, m: int, out: int) -> None:
    """Add float32 rows `w` that lie one after another × x [m, k] to out [m, n]."""
    _run_all(task, FLOATS, w, 0, n, k, x, m, out)


@inline
def estimate_logits(task: Any, n: int, k: int, x: int, m: int, out: int) -> None:
    """Write estimated logits of the output layer's 8-bit rows and their best certified lower bounds to BEST."""
    _run_all(task, ESTIMATED, 0, INTERLEAVED, n, k, x, m, out)
    chunks = (n + CHUNK_ROWS - 1) // CHUNK_ROWS
    for b in range(m):
        best = np.float32(-inf)
        for chunk in range(chunks):
            best = max(best, get_float(task[f.CHUNK_BEST], b * task[f.CHUNK_BEST_WIDTH] + chunk))
        set_float(task[f.BEST], b, best)
