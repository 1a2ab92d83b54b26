"""What a thread does that helps another decode, in compiled code: chunks, spinning that is bounded, and leaving.

A helper whose core does something else slows the decoder down, wherever it stands: it may take the core from the thread
that it is to help, and what it has begun must be done over. So it looks at the clock. A core of one's own never stops;
where the clock jumps, the helper sleeps, and where that happens again and again, it leaves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..vector.jit import inline
from ..vector.memory import (
    call_system,
    copy_floats,
    get_float,
    get_int,
    keep_apart,
    load_acquire,
    pause,
    set_float,
    set_int,
    ticks,
)
from . import claims as c
from . import task as f
from .products import OUT, M, N, adds_up, chunk_rows, product_chunk
from .team import SPIN_MS, give_way, stretch_of

LEFT = 2
ROWS = np.int64(4)  # a kind of job beside the products; dense.ZERO says why it is NumPy's
LEAST_ROWS = 2
# In thousandths of a second: what is no chunk, and by so much more for each vector of the job. A helper sleeps 1,
# then 2, then 4 before it leaves, unless nothing was wrong for so long.
JUMP_MS, JUMP_MS_VECTOR, FORGET_MS = 1.0, 0.01, 30


def do_row(search: Any, task: Any, row: Any) -> None:
    """Do what a search does for one row: see :func:`.jit.by_type`; `search` is its mark."""
    raise NotImplementedError


@inline
def share_rows(task: Any, search: Any, count: int) -> None:
    """Have a search do something for each of `count` rows, by whoever is there.

    It changes what it works on and cannot be done twice: what another has begun is waited for.
    """
    if count < LEAST_ROWS or task[f.HELPERS] == 0:
        for row in range(count):
            do_row(search, task, row)
        return
    job, patience = task[f.JOB], int(get_int(task[f.JOB], c.TICKS_MS) * SPIN_MS)
    set_int(job, c.KIND, ROWS)
    set_int(job, c.CHUNKS, count)
    generation = c.open_job(job)
    done = c.word_of(generation, c.DONE)
    for row in range(count):
        if c.claim(job, row, done) != 0:
            do_row(search, task, row)
    begun = ticks()
    for row in range(count):
        while c.look_at(job, row) != done:
            if ticks() - begun > patience:
                give_way(job)
            pause()
    c.close_job(job)


@inline
def assist(task: Any, search: Any, worker: int) -> Any:
    """Take chunks of whatever job is there until STOP, which the caller of the first thread sets; return 0 or LEFT."""
    own = task[f.JOB]
    shared = get_int(own, c.SHARED)
    ms = get_int(shared, c.TICKS_MS)
    jump, seen, sleeps, before = int(ms * JUMP_MS), 0, 0, ticks()
    useful = slept = before
    while load_acquire(shared, c.STOP) == 0:
        generation = load_acquire(shared, c.GENERATION)
        now = ticks()
        jumped = now - before > jump
        if generation > 0 and generation != seen and c.copy_job(shared, own, generation) != 0:
            seen = generation
            longest = _take_all(task, search, worker, generation)
            jumped = jumped or longest > jump + int(ms * JUMP_MS_VECTOR * get_int(own, M))
            now = ticks()
            if longest > 0:
                useful = now
        before = now
        if jumped:
            if now - slept > int(ms * FORGET_MS):
                sleeps = 0
            if sleeps >= get_int(shared, c.SLEEPS) or get_int(shared, c.SLEEP) == 0:
                return LEFT
            call_system(get_int(shared, c.SLEEP), 1000 << sleeps)
            sleeps += 1
            before = slept = ticks()
        elif now - useful > int(ms * SPIN_MS):
            give_way(shared)
        else:
            pause()
    return 0


@inline
def _take_all(task: Any, search: Any, worker: int, generation: int) -> Any:
    """Take what there is of a job; return the ticks of the longest piece, 0 where nothing was left."""
    if get_int(task[f.JOB], c.KIND) == ROWS:
        return _take_rows(task, search, generation)
    return _take_chunks(task, worker, generation)


@inline
def _take_rows(task: Any, search: Any, generation: int) -> Any:
    """Take rows from the last on."""
    keep_apart()
    own, longest = task[f.JOB], 0
    shared, rows = get_int(own, c.SHARED), get_int(own, c.CHUNKS)
    for number in range(rows):
        row = rows - 1 - number
        if c.claim(shared, row, c.word_of(generation, c.FIXED)) != 0:
            begun = ticks()
            do_row(search, task, row)
            c.put(shared, row, c.word_of(generation, c.DONE))
            longest = max(longest, ticks() - begun)
    return longest


@inline
def _take_chunks(task: Any, worker: int, generation: int) -> Any:
    """Take chunks of the product until there are none: of one's own stretch, in order, then from the others' ends.

    Return the ticks of the longest, 0 where none was left.
    """
    keep_apart()
    own, workers, longest = task[f.JOB], task[f.HELPERS] + 1, 0
    chunks, kind, waiting = get_int(own, c.CHUNKS), get_int(own, c.KIND), get_int(own, c.WAITING)
    shared, taken = get_int(own, c.SHARED), c.word_of(generation, c.TAKEN)
    for turn in range(workers):
        first, last = stretch_of(chunks, workers, (worker + turn) % workers)
        for number in range(last - first):
            chunk = first + number if turn == 0 else last - 1 - number
            if chunk >= waiting and c.claim(shared, chunk, taken) != 0:
                begun = ticks()
                _help(task, kind, chunk, chunk - waiting, generation)
                longest = max(longest, ticks() - begun)
    return longest


@inline
def _help(task: Any, kind: int, chunk: int, part: int, generation: int) -> None:
    """Compute one chunk aside, and put the results in their places unless it has been taken back."""
    keep_apart()
    own = task[f.JOB]
    shared, aside, n, m = get_int(own, c.SHARED), get_int(own, c.ASIDE), get_int(own, N), get_int(own, M)
    start, count = chunk_rows(task, kind, part)
    out = get_int(own, OUT) + 4 * start
    if adds_up(kind):
        for b in range(m):
            copy_floats(aside + 4 * b * count, out + 4 * b * n, count)
    product_chunk(task, kind, part, aside, count)
    taken, fixed = c.word_of(generation, c.TAKEN), c.word_of(generation, c.FIXED)
    if c.move_on(shared, chunk, taken, fixed) == 0:
        return
    for b in range(m):
        copy_floats(out + 4 * b * n, aside + 4 * b * count, count)
        if not adds_up(kind):
            place = b * task[f.CHUNK_BEST_WIDTH] + part
            set_float(get_int(own, c.BEST), place, get_float(task[f.CHUNK_BEST], place))
    c.put(shared, chunk, c.word_of(generation, c.DONE))
