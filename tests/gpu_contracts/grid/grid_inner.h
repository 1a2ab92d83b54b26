// The machine's own parts: lanes, warps, blocks, and who runs them.
#pragma once
#include "grid_fibre.h"
#include "grid_machine.h"
#include "grid_schedule.h"
#include <atomic>

namespace grid {

struct Lane {
    Context context;
    State state = READY;
    unsigned turn = 0; // which of the warp's two rows of slots comes next
    const void *at = nullptr;
    const std::uint32_t *polled = nullptr; // the word that the lane's last step read, and what it saw there
    std::uint32_t seen = 0;
    bool changed() const { return state == POLLS && __atomic_load_n(polled, __ATOMIC_SEQ_CST) != seen; }
};
struct Warp {
    unsigned arrived = 0;
    std::uint32_t slots[2][32];
};
struct Block {
    unsigned arrived = 0, ended = 0;
    int any[2] = {0, 0}, phase = 0;
    std::vector<char> dynamic, statics;
};

// Runs blocks `first` to `first + count`; one machine an OS thread.
struct Machine {
    const Launch &launch;
    unsigned first, count, warps; // warps: of a block
    std::vector<Lane> lanes;
    std::vector<Warp> warp;
    std::vector<Block> blocks;
    Context scheduler;
    unsigned current = 0, resident = ~0u; // lane that runs; block whose static variables are in place
    std::string fault;
    std::uint64_t steps = 0; // whatever lanes did but poll in vain
    Chooser chooser;
    std::uint64_t yields = 0;
    static std::atomic<bool> stop; // of concurrent machines: one has failed

    Machine(const Launch &launch, unsigned first, unsigned count);
    ~Machine();
    void go();
    void dispatch(unsigned warp_number);
    bool runnable(unsigned warp_number) const;
    void place_statics(unsigned block);
    [[noreturn]] void leave();
    void pause(State state, const void *at);
    void to_scheduler();
    void yield(bool certain);
    std::string stuck() const;
};
extern thread_local Machine *m; // of this OS thread, while it runs

} // namespace grid
