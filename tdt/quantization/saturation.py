"""Where uint8 x int8 products saturate on a CPU without VNNI.

AVX2's `vpmaddubsw` adds the products of two neighbouring inputs in int16. Activations rewritten to uint8 reach 255,
so two large weights of the same sign can exceed 32767: 255 * 127 * 2 = 64770. Real data seldom does; calibration
looks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]
    Int8 = npt.NDArray[np.int8]
    Bool = npt.NDArray[np.bool_]

_INT16_MAX, _INT16_MIN = 32767, -32768
_CANDIDATES_AT_ONCE = 65536


def saturating_columns(values: Int8, levels: Float32) -> Bool:
    """Return the columns in which a pair of products leaves int16 on the sample.

    Parameters
    ----------
    values : ndarray [shape=(K, N)], int8
        Quantised matrix.
    levels : ndarray [shape=(R, K)], float32
        Rows of quantised activations, -128 … 127.

    Returns
    -------
    ndarray [shape=(N,)], bool
        True where an output column saturates.
    """
    rows = levels.astype(np.int32) + 128
    usable = len(values) // 2 * 2  # a last odd input is paired with zero
    even, odd = values[0:usable:2].astype(np.int32), values[1:usable:2].astype(np.int32)
    top_even, top_odd = rows[:, 0:usable:2].max(axis=0)[:, None], rows[:, 1:usable:2].max(axis=0)[:, None]
    upper = top_even * np.maximum(even, 0) + top_odd * np.maximum(odd, 0)
    lower = top_even * np.minimum(even, 0) + top_odd * np.minimum(odd, 0)
    suspects = np.argwhere((upper > _INT16_MAX) | (lower < _INT16_MIN))
    columns = np.zeros(values.shape[1], np.bool_)
    for start in range(0, len(suspects), _CANDIDATES_AT_ONCE // max(len(rows), 1) + 1):
        pairs, outputs = suspects[start : start + _CANDIDATES_AT_ONCE // max(len(rows), 1) + 1].T
        sums = rows[:, 2 * pairs] * even[pairs, outputs] + rows[:, 2 * pairs + 1] * odd[pairs, outputs]
        bad = ((sums > _INT16_MAX) | (sums < _INT16_MIN)).any(axis=0)
        columns[outputs[bad]] = True
    return columns
