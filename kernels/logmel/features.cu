// Log-mel features on the device: the numbers of mel.py and norm.py, around one batched real FFT of 512 points.
//
// Every sum runs in an order that depends on nothing but the frame or the band itself, so a clip in a batch gets the
// bits that it gets alone. No header is included: NVRTC compiles this as it is, and so does a C++ compiler with a shim.

#define HOP 160
#define WINDOW 400
#define POINTS 512
#define BINS 257
#define TILE 16  // frames whose power a block holds: 16 x 257 floats of shared memory
#define SUMS 256 // threads that share the sums of a band

__device__ long long mirrored(long long position, long long last)
{
    // The index inside 0..last of a signal that is reflected at both ends as often as needed.
    long long turn = (position < 0 ? -position : position) % (2 * last);
    return turn > last ? 2 * last - turn : turn;
}

__device__ float emphasised(const float *clip, long long position)
{
    return position == 0 ? clip[0] : clip[position] - 0.97f * clip[position - 1];
}

// Pre-emphasis, framing and window: frames[b, t, 0..399] around sample 160 t, zeros up to 512.
// Grid (frames, B); waveforms [B, samples]; lengths [B]; window [400]; frames [B, frames, 512].
extern "C" __global__ void window_frames(const float *waveforms, const long long *lengths, const float *window,
                                         long long samples, int reflect, float *frames)
{
    const long long clip = blockIdx.y;
    const long long length = lengths[clip];
    const float *signal = waveforms + clip * samples;
    float *frame = frames + (clip * gridDim.x + blockIdx.x) * POINTS;
    for (int i = threadIdx.x; i < POINTS; i += blockDim.x) {
        long long position = (long long)blockIdx.x * HOP - WINDOW / 2 + i;
        if (reflect)
            position = mirrored(position, length > 1 ? length - 1 : 1);
        const bool inside = i < WINDOW && position >= 0 && position < length;
        frame[i] = inside ? window[i] * emphasised(signal, position) : 0.0f;
    }
}

// Power, filterbank and logarithm of 16 frames a block.
// Grid (frames / 16 rounded up, B); spectra [B, frames, 257] complex; bands [n_mels, 3]: first bin, first weight,
// number of weights; energies [B, n_mels, frames].
extern "C" __global__ void log_mel(const float *spectra, const float *weights, const long long *bands, int n_mels,
                                   int frames, float guard, float *energies)
{
    __shared__ float power[TILE * BINS];
    const int begin = blockIdx.x * TILE;
    const int count = frames - begin < TILE ? frames - begin : TILE;
    const float *tile = spectra + ((long long)blockIdx.y * frames + begin) * (2 * BINS);
    for (int i = threadIdx.x; i < count * BINS; i += blockDim.x) {
        const float real = tile[2 * i];
        const float imaginary = tile[2 * i + 1];
        power[i] = real * real + imaginary * imaginary;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < n_mels * TILE; i += blockDim.x) {
        const int frame = i % TILE; // neighbouring threads write neighbouring frames
        const int band = i / TILE;
        if (frame < count) {
            const float *bin = power + frame * BINS + bands[3 * band];
            const float *weight = weights + bands[3 * band + 1];
            float energy = 0.0f;
            for (int k = 0; k < bands[3 * band + 2]; ++k)
                energy += weight[k] * bin[k];
            energies[((long long)blockIdx.y * n_mels + band) * frames + begin + frame] = logf(energy + guard);
        }
    }
}

__device__ double shared_sum(double *sums, double own)
{
    // The sum over the block's threads, in an order that is always the same; every thread gets it.
    sums[threadIdx.x] = own;
    __syncthreads();
    for (int half = SUMS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half)
            sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    const double total = sums[0];
    __syncthreads();
    return total;
}

// Mean 0 and deviation 1 of each band over its valid frames, in double precision, in place; zeros elsewhere.
// Grid (n_mels, B), 256 threads; energies [B, n_mels, frames]; valid [B]. Without `scale` only the zeros are written.
extern "C" __global__ void normalize(float *energies, const long long *valid, int frames, int scale, double guard)
{
    __shared__ double sums[SUMS];
    const long long count = valid[blockIdx.y];
    float *band = energies + ((long long)blockIdx.y * gridDim.x + blockIdx.x) * frames;
    double mean = 0.0, factor = 1.0;
    if (scale && count > 0) {
        double own = 0.0;
        for (long long t = threadIdx.x; t < count; t += SUMS)
            own += band[t];
        mean = shared_sum(sums, own) / count;
        own = 0.0;
        for (long long t = threadIdx.x; t < count; t += SUMS)
            own += (band[t] - mean) * (band[t] - mean);
        const double squares = shared_sum(sums, own);
        factor = 1.0 / (sqrt(squares / (count > 1 ? count - 1 : 1)) + guard);
    }
    for (long long t = threadIdx.x; t < frames; t += SUMS)
        band[t] = t < count ? (float)((band[t] - mean) * factor) : 0.0f;
}
