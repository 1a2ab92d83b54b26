// The machine under grid_host.h: what a kernel's words and the parts of the machine say to one another.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace grid {

enum State : unsigned char { READY, AT_WARP, AT_BLOCK, POLLS, ENDED };

struct Index3 { unsigned x, y, z; };

// A kernel that was compiled in; `shared` to `shared_end` is where its __shared__ variables lie (none: both null).
struct Kernel {
    const char *name;
    void (*call)(void **arguments);
    char *shared, *shared_end;
    const Kernel *next;
    Kernel(const char *name, void (*call)(void **), char *shared, char *shared_end);
};
const Kernel *find(const std::string &name);

struct Launch {
    const Kernel *kernel;
    unsigned blocks, threads; // threads: of a block, whole warps
    std::size_t dynamic_bytes; // of shared memory a block, beside the static variables
    void **arguments;
    bool concurrent; // a block an OS thread
    std::uint64_t seed; // 0: in order, no pre-emption
    std::uint64_t yields; // about so many places to pre-empt at, as the run in order had
    std::string schedule; // to be replayed, if not empty
};

struct Outcome {
    std::string fault; // empty: none
    std::string schedule;
    std::uint64_t yields;
};

Outcome run(const Launch &launch);

// Of the running fibre. `at` is a place in the kernel's code, for reports.
void block_barrier(const void *at);
int block_any(int given, const void *at);
void warp_barrier(const void *at);
const std::uint32_t *gather(std::uint32_t value, const void *at); // of the warp's 32 lanes; valid until the next
std::uint32_t atomic_add(std::uint32_t *word, std::uint32_t value, const void *at);
std::uint32_t poll(const std::uint32_t *word, const void *at);
void fence();
void fresh(const void *data, std::size_t bytes, const void *at);
void constant(const void *data, std::size_t bytes, const void *at);
char *dynamic_shared();
[[noreturn]] void fail(const std::string &fault); // ends the run, from a fibre
std::string place(const void *at); // as an offset into the program, for addr2line

extern thread_local Index3 block_index, thread_index, block_size, grid_size;

// Where memory that kernels may touch lies. Plain accesses anywhere else are faults in a checked run.
enum Kind : unsigned { CONSTANT, GIVEN, SCRATCH }; // never written; holds values at launch; nothing to be read yet
struct Region { std::string name; char *data; std::size_t bytes; Kind kind; };

namespace check { // grid_check.cpp; a run that is not checked calls none of these
struct Setting {
    unsigned blocks, threads;
    std::vector<Region> buffers, own; // own: dynamic shared memory, a block each
    const char *shared, *shared_end;
    std::vector<std::pair<const char *, const char *>> ignored; // stacks and the machine's variables
};
void begin(const Setting &setting);
void end();
void fence(unsigned thread);
void atomic(unsigned thread, const void *word, const void *at);
void poll(unsigned thread, const void *word, const void *at);
void meet(unsigned first, unsigned count); // of a block, or of a warp
void read(const void *data, std::size_t bytes, const void *at);
extern std::vector<Region> buffers; // registered by who launches
} // namespace check

unsigned current_thread(); // counted over all blocks
bool in_fibre();

} // namespace grid
