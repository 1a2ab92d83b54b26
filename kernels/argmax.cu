// The decision of a TDT joint on the device, so that two integers and a score cross the bus and not a row of logits.

#define THREADS 256

__device__ bool beats(float a, int a_index, float b, int b_index)
{
    // NumPy's argmax: a NaN is larger than any number, and of equals (NaNs among themselves too) the first wins.
    const bool a_nan = a != a, b_nan = b != b;
    if (a_nan != b_nan)
        return a_nan;
    return (!a_nan && a > b) || ((a_nan || a == b) && a_index < b_index);
}

__device__ int first_largest(const float *values, int count, float *best, int *where)
{
    // The argmax of `count` values by the whole block; every thread gets it, best[0] holds the value.
    float value = 0.0f;
    int index = count; // none yet
    for (int i = threadIdx.x; i < count; i += THREADS)
        if (index == count || beats(values[i], i, value, index)) {
            value = values[i];
            index = i;
        }
    best[threadIdx.x] = value;
    where[threadIdx.x] = index;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        const int other = threadIdx.x + half;
        if (threadIdx.x < half && where[other] < count
            && (where[threadIdx.x] == count || beats(best[other], where[other], best[threadIdx.x], where[threadIdx.x]))) {
            best[threadIdx.x] = best[other];
            where[threadIdx.x] = where[other];
        }
        __syncthreads();
    }
    return where[0];
}

// Argmax of the token logits and of the duration logits of each row; a NaN anywhere in a slice is its argmax and score.
// Grid (rows), 256 threads; logits [rows, n_tokens + n_durations]; tokens, durations [rows] (indices), scores [rows].
extern "C" __global__ void argmax_token_duration(const float *logits, int n_tokens, int n_durations, int *tokens,
                                                 int *durations, float *scores)
{
    __shared__ float best[THREADS];
    __shared__ int where[THREADS];
    const float *row = logits + (long long)blockIdx.x * (n_tokens + n_durations);
    const int token = first_largest(row, n_tokens, best, where);
    const float score = best[0];
    __syncthreads();
    const int duration = first_largest(row + n_tokens, n_durations, best, where);
    if (threadIdx.x == 0) {
        tokens[blockIdx.x] = token;
        durations[blockIdx.x] = duration;
        scores[blockIdx.x] = score;
    }
}
