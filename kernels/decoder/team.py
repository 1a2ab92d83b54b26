"""Work cut into chunks, which one thread does alone or a team shares: rows of a product, utterances of a batch.

A team serves large models: weights stream through several cores' caches, and each weight once for the whole batch. The
first thread runs the loop; the others wait for chunks, spinning, for as long as that loop runs. Each has a
stretch of chunks of its own, so that it reads one stream and its counter stays in its cache, and takes from the others'
stretches when that is done. A chunk belongs to whoever takes its stretch's counter down to it; who gets 0 or less has
none. The job's numbers are written before the counters are raised, and do not change before all chunks are done, so
that whoever holds a chunk reads the numbers that belong to it.
"""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from ..vector.jit import expand, inline
from ..vector.memory import (
    fetch_add,
    get_float,
    get_int,
    keep_apart,
    load_acquire,
    pause,
    set_float,
    set_int,
    store_release,
)
from . import task as f
from .buffers import CHUNK_ROWS, COLUMN_VECTORS
from .columns import list_columns
from .counters import count_up
from .dense import INTERLEAVED, PLAIN, ZERO
from .joint import FULL
from .products import (
    BY_COLUMNS,
    ESTIMATED,
    FLOAT_CHUNK_ROWS,
    FLOATS,
    ORDER,
    OUT,
    PLACE,
    SCALED,
    K,
    M,
    N,
    X,
    blocks_of,
    chunks_of,
    product_chunk,
)
from .recurrence import finish_layer, stage_row
from .roundings import LOGITS, round_place
from .tables import GROUP_ROWS

# Further kinds of jobs, a chunk an utterance; those below 4 are products. From ACTIVATE on each search has its own.
STAGE, FINISH, ACTIVATE, WALK, SCORE, FUSE = map(np.int64, range(4, 10))
# Places in the JOB array, a cache line apart where several threads write; REMAINING has a line for each worker. The
# places between are those of the product.
DONE, STOP, KIND, CHUNKS, WAITING, REMAINING = 0, 8, 16, 24, 25, 32
LINE = 8
MAX_WORKERS = 4
JOB_PLACES = REMAINING + LINE * MAX_WORKERS
SPINS_BEFORE_LOOKING = 16
# So many utterances, and it pays to share out what is done for each: a walk costs some 10 us, the rest 1 to 2.
LEAST_TO_WALK, LEAST_ROWS = 2, 4


def do_row(search: Any, task: Any, kind: Any, chunk: Any) -> None:
    """Do what the search does for one utterance or hypothesis: see :func:`.jit.by_type`; `search` is its mark.

    `search` is handed on through all functions that may come here.
    """
    raise NotImplementedError


@inline
def _run_chunk(task: Any, search: Any, chunk: int) -> None:
    """Do one chunk of the job; in a product, the scores that wait come first, as the longest pieces."""
    keep_apart()
    job = task[f.JOB]
    kind, rows, layer, waiting = get_int(job, KIND), get_int(job, PLACE), get_int(job, N), get_int(job, WAITING)
    if kind <= BY_COLUMNS:
        if chunk < waiting:
            do_row(search, task, SCORE, chunk)
        else:
            product_chunk(task, kind, chunk - waiting)
    elif kind == STAGE:
        before = get_int(task[f.SOURCES], get_int(rows, chunk))
        stage_row(task, rows, chunk, before, layer, get_int(job, X), get_int(job, ORDER))
    elif kind == FINISH:
        finish_layer(task, rows, chunk, layer)
    else:
        do_row(search, task, kind, chunk)


@inline
def _run_all(
    task: Any, search: Any, kind: int, chunks: int, place: int, order: int, n: int, k: int, x: int, m: int, out: int,
    alone: int,
) -> None:  # fmt: skip
    """Work through a job, with the team if there is one."""
    keep_apart()
    job = task[f.JOB]
    if kind <= BY_COLUMNS:
        chunks += get_int(job, WAITING)
    set_int(job, KIND, kind)
    set_int(job, PLACE, place)
    set_int(job, ORDER, order)
    set_int(job, N, n)
    set_int(job, K, k)
    set_int(job, X, x)
    set_int(job, M, m)
    set_int(job, OUT, out)
    if alone != 0 or task[f.HELPERS] == 0:
        for chunk in range(chunks):
            _run_chunk(task, search, chunk)
    else:
        _run_together(task, search, chunks)
    if kind <= BY_COLUMNS:
        set_int(job, WAITING, 0)


@expand
def _run_together(task: Any, search: Any, chunks: int) -> None:
    """Hand out the chunks of a job whose numbers stand, and return when all are done."""
    job, workers = task[f.JOB], task[f.HELPERS] + 1
    set_int(job, CHUNKS, chunks)
    set_int(job, DONE, 0)
    for worker in range(workers):
        size = _first_chunk(chunks, workers, worker + 1) - _first_chunk(chunks, workers, worker)
        store_release(job, REMAINING + LINE * worker, size)
    _take_chunks(task, search, ZERO)
    while load_acquire(job, DONE) < chunks:
        pause()


@inline
def _first_chunk(chunks: int, workers: int, worker: int) -> int:
    """Return where the stretch of a worker begins."""
    return chunks * worker // workers


@inline
def _take_chunks(task: Any, search: Any, worker: int) -> None:
    """Take chunks until there are none: of one's own stretch, in order, then of the others'."""
    job, workers, done = task[f.JOB], task[f.HELPERS] + 1, 0
    for turn in range(workers):
        owner = (worker + turn) % workers
        place = REMAINING + LINE * owner
        while load_acquire(job, place) > 0:
            taken = fetch_add(job, place, -1)
            if taken > 0:
                _run_chunk(task, search, _first_chunk(get_int(job, CHUNKS), workers, owner + 1) - taken)
                done += 1
    if done > 0:
        fetch_add(job, DONE, done)


@inline
def assist(task: Any, search: Any, worker: int) -> None:
    """Take chunks of whatever job is there until STOP, which the caller of the first thread sets."""
    job = task[f.JOB]
    while load_acquire(job, STOP) == 0:
        for _ in range(SPINS_BEFORE_LOOKING):
            _take_chunks(task, search, worker)
            pause()


@inline
def let_wait(task: Any, row: int, place: int) -> None:
    """Let an emission's scores, from the logits in `row`, wait for the next product, and be computed beside it."""
    job = task[f.JOB]
    waiting = get_int(job, WAITING)
    set_int(task[f.PENDING_ROWS], waiting, row)
    set_int(task[f.PENDING_PLACES], waiting, place)
    set_int(job, WAITING, waiting + 1)


@expand
def score_waiting(task: Any, search: Any) -> None:
    """Compute the scores that still wait, as the logits are about to be overwritten."""
    if get_int(task[f.JOB], WAITING) > 0:
        _run_all(task, search, FLOATS, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO)


@expand
def share_rows(task: Any, search: Any, kind: int, count: int, rows: int, layer: int, source: int, order: int) -> None:
    """Do what `kind` says for each of `count` utterances listed at `rows`."""
    least = LEAST_TO_WALK if kind == WALK else LEAST_ROWS
    _run_all(task, search, kind, count, rows, order, layer, ZERO, source, ZERO, ZERO, np.int64(count < least))


@expand
def dense(task: Any, search: Any, matrix: int, n: int, k: int, x: int, m: int, out: int) -> None:
    """Add matrix number `matrix` [n, k] × x [m, k] to out [m, n]; padded sizes, addresses.

    In the task's precision: where that is 8-bit, `x` has been quantised.
    """
    place = f.MATRICES + 4 * matrix
    if task[f.QUANTIZED] == 0:
        chunks = chunks_of(n, FLOAT_CHUNK_ROWS)
        _run_all(task, search, FLOATS, chunks, task[place], INTERLEAVED, n, k, x, m, out, ZERO)
    else:
        _run_all(task, search, SCALED, chunks_of(n, CHUNK_ROWS), place, INTERLEAVED, n, k, x, m, out, ZERO)


@expand
def dense_plain(task: Any, search: Any, w: int, n: int, k: int, x: int, m: int, out: int) -> None:
    """Add float32 rows `w` that lie one after another × x [m, k] to out [m, n]."""
    _run_all(task, search, FLOATS, chunks_of(n, FLOAT_CHUNK_ROWS), w, PLAIN, n, k, x, m, out, ZERO)


@inline
def estimate_logits(task: Any, search: Any, n: int, k: int, m: int) -> None:
    """Write estimates of `m` quantised activations' logits from 8-bit rows, and their best certified lower bounds."""
    chunks, kind = chunks_of(n, CHUNK_ROWS), ESTIMATED
    if m <= COLUMN_VECTORS:
        chunks, kind = blocks_of(chunks_of(n, GROUP_ROWS)), BY_COLUMNS
        count_up(task, f.COLUMN_ROUNDS, 1)
        for b in range(m):
            count_up(task, f.COLUMNS_READ, list_columns(task, b, k))
    _run_all(task, search, kind, chunks, ZERO, INTERLEAVED, n, k, ZERO, m, ZERO, ZERO)
    for b in range(m):
        best = np.float32(-inf)
        for chunk in range(chunks):
            best = max(best, get_float(task[f.CHUNK_BEST], b * task[f.CHUNK_BEST_WIDTH] + chunk))
        set_float(task[f.BEST], b, best)


@expand
def fill_logits(task: Any, search: Any, m: int) -> None:
    """Evaluate the output layer for `m` activations: its logits, or estimates of them where rows are 8-bit."""
    width, tokens = task[f.JOINT], task[f.TOKENS]
    if task[f.MODE] == FULL:
        dense_plain(task, search, task[f.OUTPUT_VALUES], tokens, width, task[f.ACTIVATIONS], m, task[f.LOGITS])
        for b in range(m):
            round_place(task, LOGITS, task[f.LOGITS] + 4 * b * tokens, task[f.BLANK] + 1)
    else:
        estimate_logits(task, search, tokens, width, m)
