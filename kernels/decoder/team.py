"""Products cut into chunks of rows, which one thread does alone or a team shares.

A team serves large models: weights stream through several cores' caches, and each weight once for the whole batch. The
first thread runs the loop; the others wait for chunks for as long as that loop runs (:mod:`.helping`). Each has a
stretch of chunks of its own, so that it reads one stream, and takes from the ends of the others' when that is done.

The first thread waits for no other that does not run: it takes a chunk back from a helper that is long over its time
(:mod:`.claims`). What is done for single utterances it does alone: sharing that gained nothing (measured). The scores
of tokens it computes while the others go on with a product.
"""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from ..vector.jit import expand, inline
from ..vector.memory import call_system, get_float, get_int, keep_apart, pause, set_float, set_int, ticks
from . import claims as c
from . import task as f
from .buffers import CHUNK_ROWS, COLUMN_VECTORS, FLOAT_CHUNK_ROWS
from .columns import list_columns
from .counters import count_up
from .dense import INTERLEAVED, PLAIN, ZERO
from .joint import FULL
from .products import (
    BY_COLUMNS,
    ESTIMATED,
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
    chunk_rows,
    chunks_of,
    product_chunk,
)
from .roundings import LOGITS, round_place
from .scores import score_emission
from .tables import GROUP_ROWS

MAX_WORKERS = 4
# In thousandths of a second: how much longer than the longest of its own the first thread gives another's chunk, and
# how long a helper spins before it lets other threads through.
PATIENCE_MS, SPIN_MS = 0.04, 0.02


@inline
def _run_chunk(task: Any, chunk: int) -> None:
    """Do one chunk of the job: the scores that wait come first, then those of the product."""
    keep_apart()
    job = task[f.JOB]
    kind, part = get_int(job, c.KIND), chunk - get_int(job, c.WAITING)
    if part < 0:
        score_emission(task, chunk)
    else:
        start, _ = chunk_rows(task, kind, part)
        product_chunk(task, kind, part, get_int(job, OUT) + 4 * start, get_int(job, N))


@inline
def _run_all(
    task: Any, kind: int, chunks: int, place: int, order: int, n: int, k: int, x: int, m: int, out: int
) -> None:
    """Work through a product and the scores that wait, with the team if there is one."""
    keep_apart()
    job = task[f.JOB]
    chunks += get_int(job, c.WAITING)
    set_int(job, c.KIND, kind)
    set_int(job, PLACE, place)
    set_int(job, ORDER, order)
    set_int(job, N, n)
    set_int(job, K, k)
    set_int(job, X, x)
    set_int(job, M, m)
    set_int(job, OUT, out)
    set_int(job, c.CHUNKS, chunks)
    if task[f.HELPERS] == 0:
        _run_alone(task, chunks)
    elif get_int(job, c.TIMED) > 0:
        _run_timed(task, chunks, n * k)
    else:
        _run_together(task, chunks)
    set_int(job, c.WAITING, 0)


@inline
def _run_alone(task: Any, chunks: int) -> None:
    for chunk in range(chunks):
        _run_chunk(task, chunk)


@inline
def _run_timed(task: Any, chunks: int, units: int) -> None:
    """Work through a product alone and the next with the team, and count what either takes.

    A step has an odd number of products, so either way meets all of them. What was interrupted counts as no more than
    four times the fastest.
    """
    keep_apart()
    job = task[f.JOB]
    left, begun = get_int(job, c.TIMED), ticks()
    set_int(job, c.TIMED, left - 1)
    place = np.int64(c.ALONE_JOBS)
    if left % 2 == 0:
        _run_alone(task, chunks)
    elif _run_together(task, chunks) > 0:
        place = np.int64(c.HELPED_JOBS)
    else:
        return  # nobody came
    rate = (ticks() - begun) * 1024 // units
    least = get_int(job, c.LEAST_RATE)
    if least == 0 or rate < least:
        set_int(job, c.LEAST_RATE, rate)
        least = rate
    set_int(job, place, get_int(job, place) + 1)
    set_int(job, place + 1, get_int(job, place + 1) + min(rate, 4 * least) * units // 1024)
    set_int(job, place + 2, get_int(job, place + 2) + units)


@inline
def _run_together(task: Any, chunks: int) -> Any:
    """Hand out the chunks of a job whose numbers stand; return how many others have done when all are done."""
    keep_apart()
    job, workers = task[f.JOB], task[f.HELPERS] + 1
    generation = c.open_job(job)
    done = c.word_of(generation, c.DONE)
    own, longest = 0, 0
    for turn in range(workers):
        first, last = stretch_of(chunks, workers, turn)
        for number in range(last - first):
            # One's own in order; others' from the end, towards where they are.
            chunk = first + number if turn == 0 else last - 1 - number
            if c.claim(job, chunk, done) != 0:
                begun = ticks()
                _run_chunk(task, chunk)
                longest = max(longest, ticks() - begun)
                own += 1
    patience = longest + int(get_int(job, c.TICKS_MS) * PATIENCE_MS)
    for chunk in range(chunks):
        if c.look_at(job, chunk) != done:
            own += _await_chunk(task, chunk, generation, patience)
    c.close_job(job)
    return chunks - own


@inline
def stretch_of(chunks: int, workers: int, worker: int) -> Any:
    """Return where the stretch of a worker begins and ends."""
    return chunks * worker // workers, chunks * (worker + 1) // workers


@inline
def _await_chunk(task: Any, chunk: int, generation: int, patience: int) -> Any:
    """Wait for a chunk that a helper has; return 1 where it was taken back and done, else 0."""
    keep_apart()
    job = task[f.JOB]
    taken, done = c.word_of(generation, c.TAKEN), c.word_of(generation, c.DONE)
    begun = ticks()
    while True:
        word = c.look_at(job, chunk)
        if word == done:
            return 0
        waited = ticks() - begun
        if word == taken and waited > patience and c.move_on(job, chunk, taken, done) != 0:
            _run_chunk(task, chunk)
            set_int(job, c.TAKEN_BACK, get_int(job, c.TAKEN_BACK) + 1)
            return 1
        if waited > patience:
            give_way(job)
        pause()


@inline
def give_way(job: int) -> None:
    """Let another thread run that waits for this core, if any does."""
    if get_int(job, c.YIELD) != 0:
        call_system(get_int(job, c.YIELD), 0)


@inline
def let_wait(task: Any, row: int, place: int) -> None:
    """Let an emission's scores, from the logits in `row`, wait for the next product, and be computed beside it."""
    job = task[f.JOB]
    waiting = get_int(job, c.WAITING)
    set_int(task[f.PENDING_ROWS], waiting, row)
    set_int(task[f.PENDING_PLACES], waiting, place)
    set_int(job, c.WAITING, waiting + 1)


@inline
def score_waiting(task: Any) -> None:
    """Compute the scores that still wait, as the logits are about to be overwritten."""
    job = task[f.JOB]
    for place in range(get_int(job, c.WAITING)):
        score_emission(task, place)
    set_int(job, c.WAITING, 0)


@expand
def dense(task: Any, matrix: int, n: int, k: int, x: int, m: int, out: int) -> None:
    """Add matrix number `matrix` [n, k] × x [m, k] to out [m, n]; padded sizes, addresses.

    In the task's precision: where that is 8-bit, `x` has been quantised.
    """
    place = f.MATRICES + 4 * matrix
    if task[f.QUANTIZED] == 0:
        chunks = chunks_of(n, FLOAT_CHUNK_ROWS)
        _run_all(task, FLOATS, chunks, task[place], INTERLEAVED, n, k, x, m, out)
    else:
        _run_all(task, SCALED, chunks_of(n, CHUNK_ROWS), place, INTERLEAVED, n, k, x, m, out)


@expand
def dense_plain(task: Any, w: int, n: int, k: int, x: int, m: int, out: int) -> None:
    """Add float32 rows `w` that lie one after another × x [m, k] to out [m, n]."""
    _run_all(task, FLOATS, chunks_of(n, FLOAT_CHUNK_ROWS), w, PLAIN, n, k, x, m, out)


@inline
def estimate_logits(task: Any, n: int, k: int, m: int) -> None:
    """Write estimates of `m` quantised activations' logits from 8-bit rows, and their best certified lower bounds."""
    chunks, kind = chunks_of(n, CHUNK_ROWS), ESTIMATED
    if m <= COLUMN_VECTORS:
        chunks, kind = blocks_of(chunks_of(n, GROUP_ROWS)), BY_COLUMNS
        count_up(task, f.COLUMN_ROUNDS, 1)
        for b in range(m):
            count_up(task, f.COLUMNS_READ, list_columns(task, b, k))
    _run_all(task, kind, chunks, ZERO, INTERLEAVED, n, k, ZERO, m, task[f.LOGITS])
    for b in range(m):
        best = np.float32(-inf)
        for chunk in range(chunks):
            best = max(best, get_float(task[f.CHUNK_BEST], b * task[f.CHUNK_BEST_WIDTH] + chunk))
        set_float(task[f.BEST], b, best)


@expand
def fill_logits(task: Any, m: int) -> None:
    """Evaluate the output layer for `m` activations: its logits, or estimates of them where rows are 8-bit."""
    width, tokens = task[f.JOINT], task[f.TOKENS]
    if task[f.MODE] == FULL:
        dense_plain(task, task[f.OUTPUT_VALUES], tokens, width, task[f.ACTIVATIONS], m, task[f.LOGITS])
        for b in range(m):
            round_place(task, LOGITS, task[f.LOGITS] + 4 * b * tokens, task[f.BLANK] + 1)
    else:
        estimate_logits(task, tokens, width, m)
