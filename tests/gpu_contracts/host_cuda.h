// CUDA's execution model on one host thread: every CUDA thread is a fibre, __syncthreads() a real barrier.
//
// Blocks run one after the other; the fibres of a block run in ascending or descending order up to the next barrier.
// Shared memory is static storage, as uninitialised as a device's: it keeps what the block before left there.
// A block some of whose threads end while others wait at a barrier is reported, as a device would hang.
#include <cmath>
#include <csetjmp>
#include <cstddef>
#include <ucontext.h>
#include <utility>
#include <vector>

struct Index3 { unsigned x, y, z; };
static Index3 blockIdx, threadIdx, blockDim, gridDim;

#define __global__
#define __device__ static
#define __shared__ static

namespace host_cuda {
const std::size_t STACK = 64 * 1024;
enum State { READY, WAITING, DONE };
struct Fibre { ucontext_t context; jmp_buf paused; bool started; State state; Index3 index; std::vector<char> stack; };
static std::vector<Fibre> fibres;
static jmp_buf scheduler;
static std::size_t current;
static void (*body)(void *);
static void *body_arguments;

static void enter()
{
    body(body_arguments);
    fibres[current].state = DONE;
    _longjmp(scheduler, 1);
}

// Contexts start a fibre on its stack; jumps, which make no system call, switch between those that have started.
__attribute__((noinline)) static void resume(Fibre &fibre)
{
    if (_setjmp(scheduler) == 0) {
        if (fibre.started)
            _longjmp(fibre.paused, 1);
        fibre.started = true;
        setcontext(&fibre.context);
    }
}

__attribute__((noinline)) static void pause(Fibre &fibre)
{
    if (_setjmp(fibre.paused) == 0)
        _longjmp(scheduler, 1);
}

static bool run_block(bool descending)
{
    for (Fibre &fibre : fibres) {
        fibre.state = READY;
        fibre.started = false;
        getcontext(&fibre.context);
        fibre.context.uc_stack.ss_sp = fibre.stack.data();
        fibre.context.uc_stack.ss_size = fibre.stack.size();
        fibre.context.uc_link = nullptr;
        makecontext(&fibre.context, enter, 0);
    }
    for (;;) {
        std::size_t done = 0, waiting = 0;
        for (std::size_t i = 0; i < fibres.size(); ++i) {
            current = descending ? fibres.size() - 1 - i : i;
            threadIdx = fibres[current].index;
            if (fibres[current].state == READY)
                resume(fibres[current]);
            done += fibres[current].state == DONE;
            waiting += fibres[current].state == WAITING;
        }
        if (done == fibres.size())
            return true;
        if (waiting != fibres.size())
            return false; // some ended, some wait: undefined on a device
        for (Fibre &fibre : fibres)
            fibre.state = READY;
    }
}

template <typename... Arguments, std::size_t... I>
void call(void (*kernel)(Arguments...), void **arguments, std::index_sequence<I...>)
{
    kernel(*static_cast<Arguments *>(arguments[I])...);
}

template <typename... Arguments> int launch(void (*kernel)(Arguments...), const unsigned *grid, const unsigned *block,
                                            void **arguments, int descending)
{
    struct Launch { void (*kernel)(Arguments...); void **arguments; } state = {kernel, arguments};
    body_arguments = &state;
    body = [](void *opaque) {
        Launch *one = static_cast<Launch *>(opaque);
        call(one->kernel, one->arguments, std::index_sequence_for<Arguments...>());
    };
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    fibres.resize(block[0] * block[1] * block[2]);
    for (std::size_t i = 0; i < fibres.size(); ++i) {
        fibres[i].stack.resize(STACK);
        fibres[i].index = {unsigned(i % block[0]), unsigned(i / block[0] % block[1]), unsigned(i / block[0] / block[1])};
    }
    for (unsigned z = 0; z < grid[2]; ++z)
        for (unsigned y = 0; y < grid[1]; ++y)
            for (unsigned x = 0; x < grid[0]; ++x) {
                blockIdx = {x, y, z};
                if (!run_block(descending != 0))
                    return 1;
            }
    return 0;
}
} // namespace host_cuda

static void __syncthreads()
{
    using namespace host_cuda;
    const Index3 own = threadIdx;
    const std::size_t number = current;
    fibres[number].state = WAITING;
    pause(fibres[number]);
    threadIdx = own;
}

#define HOST_KERNEL(name)                                                                                              \
    extern "C" int launch_##name(const unsigned *grid, const unsigned *block, void **arguments, int descending)       \
    {                                                                                                                  \
        return host_cuda::launch(name, grid, block, arguments, descending);                                            \
    }
