#!/usr/bin/env python
"""Write kernels/logmel/filterbanks.npz: librosa's mel filterbanks of the published models, at once to hand."""

import numpy as np

from tdt.kernels.logmel.filterbank import STORED, compute_filterbank

if __name__ == "__main__":
    np.savez_compressed(STORED, **{str(n_mels): compute_filterbank(n_mels) for n_mels in (80, 128)})
    print(f"{STORED}: {STORED.stat().st_size} bytes")
