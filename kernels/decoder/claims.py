"""The job that a team shares, in compiled code: its numbers, and who has which chunk of it.

A job's numbers stand as long as its generation does; then each chunk has a word that says what became of it in that
generation: 4 × generation + TAKEN, FIXED or DONE. Whoever raises a chunk's word from an older generation has the chunk.
A helper's chunk of a product is only TAKEN as long as it computes into memory of its own; to put the results in their
places it must raise the word to FIXED. So whoever runs the loop can take a chunk back from a helper whose core does
something else (raise it to DONE and compute it anew), and what that helper computes on its return goes nowhere.

A helper that is late may find numbers of two generations: it looks whether the generation still stands after it has
copied them, and all chunks of one that does not are raised.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..vector.jit import inline
from ..vector.memory import compare_and_set, fence, get_int, load_acquire, set_int, store_release

# Places in the shared job, a cache line apart where several threads write. What the numbers mean is said in team and,
# of products, in products (17 to 23). JOBS counts; TIMED says how many products are still to be timed.
GENERATION, STOP = 0, 8
KIND, CHUNKS, WAITING = 16, 24, 25
FIRST_NUMBER, NUMBERS = KIND, WAITING + 1 - KIND
# Addresses of C functions, or 0; ticks of a thousandth of a second; how often a helper sleeps before it leaves.
YIELD, SLEEP, TICKS_MS, SLEEPS = 26, 27, 28, 29
JOBS, TAKEN_BACK, TIMED, LEAST_RATE = 32, 33, 34, 35
ALONE_JOBS, ALONE_TICKS, ALONE_UNITS, HELPED_JOBS, HELPED_TICKS, HELPED_UNITS = range(36, 42)
# In a helper's own copy: addresses of the shared job, of memory for the results of a chunk, of the team's CHUNK_BEST.
SHARED, ASIDE, BEST = 42, 43, 44
OWN_PLACES = CLAIMS = 48
TAKEN, FIXED, DONE = map(np.int64, range(1, 4))  # dense.ZERO says why they are NumPy's


def job_places(chunks: int) -> int:
    """Return the length of a shared job of at most so many chunks: int64, zeros at the start."""
    return CLAIMS + chunks


@inline
def word_of(generation: int, what: int) -> int:
    """Return the word of a chunk of a generation."""
    return 4 * generation + what


@inline
def claim(job: int, chunk: int, word: int) -> Any:
    """Raise a chunk's word to one of this generation, if it is of an older one; say whether that was done."""
    claims = job + 8 * CLAIMS
    before = load_acquire(claims, chunk)
    if before >= word - word % 4:
        return 0
    return compare_and_set(claims, chunk, before, word)


@inline
def move_on(job: int, chunk: int, before: int, word: int) -> Any:
    """Raise a chunk's word, if `before` stands there; say whether that was done."""
    return compare_and_set(job + 8 * CLAIMS, chunk, before, word)


@inline
def look_at(job: int, chunk: int) -> Any:
    """Return a chunk's word."""
    return load_acquire(job + 8 * CLAIMS, chunk)


@inline
def put(job: int, chunk: int, word: int) -> None:
    """Set the word of a chunk that nobody else may change."""
    store_release(job + 8 * CLAIMS, chunk, word)


@inline
def open_job(job: int) -> Any:
    """Let helpers see the numbers that stand; return the generation."""
    generation = get_int(job, JOBS) + 1
    set_int(job, JOBS, generation)
    store_release(job, GENERATION, generation)
    return generation


@inline
def close_job(job: int) -> None:
    """End the generation, before the numbers are changed."""
    store_release(job, GENERATION, 0)
    fence()


@inline
def copy_job(shared: int, own: int, generation: int) -> Any:
    """Copy the numbers of a generation; say whether they are all of that one."""
    for place in range(FIRST_NUMBER, FIRST_NUMBER + NUMBERS):
        set_int(own, place, get_int(shared, place))
    fence()
    return int(load_acquire(shared, GENERATION) == generation)
