"""The one argument of the compiled decoder: a table of sizes and addresses, and how it is filled.

A field's name is its place in an int64 array. Addresses point into arrays that the caller keeps alive while the
compiled code runs; what they hold is described at the types they come from (:mod:`.tables`, :mod:`.buffers`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .claims import ASIDE, SHARED
from .claims import BEST as BEST_AT

if TYPE_CHECKING:
    from .buffers import Aside, DecodingState, Emitted, Rule, Workspace
    from .fused_buffers import Fused
    from .step_measures import Measured
    from .tables import Dense, Weights

# What to do: instruction set (simd), evaluation of the output layer (joint), whether LSTM and projections are 8-bit.
ISA, MODE, QUANTIZED = 0, 1, 2
# The rule.
BLANK, MAX_SYMBOLS, WINDOW, DURATION_COUNT, DURATION_TABLE, CAPACITY = 3, 4, 5, 6, 7, 8
# Sizes, padded: layers, hidden width H16, gates 4 × H16, joint J16, token rows V16, duration rows, embedding E16,
# encoder D16, bytes of a row of quantised activations.
LAYERS, HIDDEN, GATES, JOINT, TOKENS, DURATION_ROWS, EMBEDDING, ENCODER, LEVEL_WIDTH = 9, 10, 11, 12, 13, 14, 15, 16, 17
CHUNK_BEST_WIDTH = 18  # chunks of the output layer
# Programs that round activations, by place (roundings); 0 where nothing is rounded.
ROUNDINGS = 19
# Weights.
TABLE, READY, EMBEDDING_ROWS, INPUT0, BIAS, PREDICTOR_BIAS, ENCODER_BIAS = 20, 21, 22, 23, 24, 25, 26
ROW_TABLES, DURATION_WEIGHTS, DURATION_BIAS, OUTPUT_VALUES, OUTPUT_LEVELS, OUTPUT_COLUMNS, CONSTANTS = range(27, 34)
# Where the state before the label of an utterance stands; what a beam search has beside (beam_task), and each thread.
SOURCES, BEAM, BEAM_SCRATCH = 34, 35, 36
# Buffers.
ACTIVATIONS, LOGITS, DURATION_LOGITS, NORMS, BEST, SUMS, MASKS, ZEROS = 40, 41, 42, 43, 44, 45, 46, 47
GATE_ROWS, GATHERED, ACTIVE, EMITTED, CHUNK_BEST, COLUMNS, COLUMN_LEVELS, COLUMN_COUNTS = range(48, 56)
FIRSTS, RESULTS, PENDING_ROWS, PENDING_PLACES, LEVELS, STATS, DOTS = range(56, 63)
# State of the utterances.
STATE_HIDDEN, STATE_CELL, NEXT_HIDDEN, NEXT_CELL, PROJECTED = range(63, 68)
LABELS, TIMES, STOPS, STARTS, COUNTS, LAST_TIMES, REPEATS, PREDICTED = range(68, 76)
# Results: token ids, frames, durations, log-probabilities, entropies; and the counters.
OUT_TOKENS, OUT_FRAMES, OUT_DURATIONS, OUT_LOGPROBS, OUT_ENTROPIES, COUNTERS = range(76, 82)
# Projected frames of all utterances; what they are projected from, and how many rows of it; how many utterances.
FRAMES, ENCODER_FRAMES, ENCODER_ROWS, COUNT = range(82, 86)
# The job that is shared (team), and how many threads beside the first share it.
JOB, HELPERS = 86, 87
# What is added to the logits: automata an utterance (0 where nothing is added: the fields after it are not read), their
# descriptors, and by utterance which of them, their states, the address of a mask, what is to be done (fusing), a row
# of bonuses, whether it is made, and what plain decoding chose; a scratch row of the thread; of each token the
# log-probability of what plain decoding would have chosen, and whether that is another one.
SLOTS, MODELS, LISTED, MODEL_STATES, TOKEN_MASKS, WAYS, BONUSES, BONUS_MADE, PLAIN_TOKENS = range(88, 97)
SCRATCH, OUT_TOPS, OUT_CHANGED = 97, 98, 99
# What each step is measured by, where that is asked for (0 where not: the field after it is not read): by utterance and
# frame what a blank there says, how many frames an utterance has; by utterance and token what its duration says.
STEP_BLANKS, STEP_FRAMES, STEP_DURATIONS = 37, 38, 39
# Four addresses a matrix (values, levels, scales, sums): recurrent layers 0.., input layers 1.., predictor, encoder.
MATRICES = 100

# Places in the counters: joint rounds and row evaluations, predictor rounds and rows, emissions, rows whose bounds
# survived the screening, full products, table rows filled, rows refined for confidences; ticks, and blocks of encoder
# frames; rounds that read the output layer by columns, and how many columns they read; ticks of scores.
ROUNDS, EVALUATIONS, PREDICTOR_ROUNDS, PREDICTIONS, EMISSIONS, SURVIVORS, FALLBACKS, TABLE_ROWS, REFINED = range(9)
JOINT_TICKS, PREDICTOR_TICKS, PROJECTION_TICKS, TOTAL_TICKS, PROJECTION_BLOCKS = range(9, 14)
COLUMN_ROUNDS, COLUMNS_READ, SCORE_TICKS = 14, 15, 16
COUNTER_PLACES = 17


def describe_weights(weights: Weights) -> Any:
    """Return a task whose sizes and weights are filled in."""
    layers, gates = weights.bias.shape
    task = np.zeros(MATRICES + 4 * (2 * layers + 1), np.int64)
    task[LAYERS], task[GATES], task[HIDDEN] = layers, gates, gates // 4
    task[JOINT], task[TOKENS] = weights.predictor_bias.size, weights.rows.shape[1]
    task[DURATION_ROWS], task[EMBEDDING] = weights.duration_bias.size, weights.embedding.shape[1]
    task[TABLE : CONSTANTS + 1] = [
        _at(array)
        for array in (
            weights.table, weights.ready, weights.embedding, weights.input0, weights.bias, weights.predictor_bias,
            weights.encoder_bias, weights.rows, weights.duration, weights.duration_bias, weights.output.values,
            weights.output.levels, weights.columns, weights.constants,
        )
    ]  # fmt: skip
    task[ROUNDINGS] = _at(weights.roundings[0]) if weights.roundings else 0
    stacks = [(weights.recurrent, layers), (weights.inputs, layers - 1), (weights.predictor, 1), (weights.encoder, 1)]
    places = [_places(stack, index) for stack, count in stacks for index in range(count)]
    task[MATRICES:] = [place for group in places for place in group]
    return task


def _at(array: Any) -> int:
    return int(array.ctypes.data)


def _places(stack: Dense, index: int) -> list[int]:
    return [_at(part[index]) if len(part) else 0 for part in stack]


def set_rule(task: Any, rule: Rule, isa: int, mode: int, *, quantized: bool) -> None:
    """Fill in what to do."""
    task[ISA], task[MODE], task[QUANTIZED] = isa, mode, quantized
    task[BLANK], task[MAX_SYMBOLS], task[WINDOW] = rule.blank, rule.max_symbols, rule.window
    task[DURATION_COUNT], task[DURATION_TABLE] = len(rule.durations), _at(rule.durations)


def set_workspace(task: Any, work: Workspace) -> None:
    """Point to the buffers."""
    task[ACTIVATIONS : DOTS + 1] = [_at(array) for array in work]
    task[CHUNK_BEST_WIDTH], task[LEVEL_WIDTH] = work.chunk_best.shape[1], work.levels.shape[1]


def set_run(task: Any, state: DecodingState, out: Emitted, job: Any, helpers: int, counters: Any) -> None:
    """Point to the utterances' state and results, to the shared job (claims.job_places) and to counters [places] int64.

    `helpers` threads beside the first will assist.
    """
    task[STATE_HIDDEN : PREDICTED + 1] = [_at(array) for array in state[:-1]]
    task[SOURCES] = _at(state.sources)
    set_out(task, out)
    task[JOB], task[HELPERS], task[COUNTERS] = _at(job), helpers, _at(counters)


def set_out(task: Any, out: Emitted) -> None:
    """Point to where tokens are written."""
    task[OUT_TOKENS : OUT_ENTROPIES + 1] = [_at(array) for array in out]
    task[CAPACITY] = out.tokens.shape[1]


def set_helper(task: Any, own: Aside, counters: Any) -> None:
    """Point a copy of the first thread's task to what the helper has for itself, with counters [places] of its own."""
    own.job[SHARED], own.job[ASIDE], own.job[BEST_AT] = task[JOB], _at(own.results), task[CHUNK_BEST]
    task[SUMS], task[MASKS], task[DOTS], task[CHUNK_BEST] = map(_at, own[:4])
    task[JOB], task[COUNTERS] = _at(own.job), _at(counters)


def set_frames(task: Any, frames: Any, count: int) -> None:
    """Point to projected frames [R, J16] and say how many utterances stand in the list of active ones."""
    task[FRAMES], task[COUNT] = _at(frames), count


def set_projection(task: Any, encoder_frames: Any) -> None:
    """Point to encoder frames [R, D16] that are to be projected first; D16 as the workspace was made for."""
    task[ENCODER_FRAMES], (task[ENCODER_ROWS], task[ENCODER]) = _at(encoder_frames), encoder_frames.shape


def set_fusion(task: Any, fused: Fused, scratch: Any) -> None:
    """Point to what is added to the logits; `scratch` is of :func:`.fused_buffers.scratch`."""
    task[SLOTS], task[MODELS] = fused.listed.shape[1], _at(fused.models)
    by_utterance = (fused.listed, fused.states, fused.masks, fused.ways, fused.bonuses, fused.made, fused.plain)
    task[LISTED : PLAIN_TOKENS + 1] = [_at(array) for array in by_utterance]
    task[SCRATCH], task[OUT_TOPS], task[OUT_CHANGED] = _at(scratch), _at(fused.tops), _at(fused.changed)


def set_measures(task: Any, measured: Measured) -> None:
    """Point to where each step's measures go."""
    task[STEP_BLANKS], task[STEP_FRAMES] = _at(measured.blanks), measured.blanks.shape[1]
    task[STEP_DURATIONS] = _at(measured.durations)
