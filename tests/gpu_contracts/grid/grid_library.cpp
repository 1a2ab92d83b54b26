// A kernel as a library: what the do-nothing driver calls in the place of a launch.
#include "grid_machine.h"
#include <cstdio>

// Run a kernel in order; return 1, and say why, where it fails.
extern "C" int grid_launch(const char *name, unsigned blocks, unsigned threads, std::size_t bytes, void **arguments, char *said,
                           std::size_t room)
{
    grid::Launch launch{};
    launch.kernel = grid::find(name);
    launch.blocks = blocks, launch.threads = threads, launch.dynamic_bytes = bytes, launch.arguments = arguments;
    const grid::Outcome outcome = launch.kernel ? grid::run(launch) : grid::Outcome{"no such kernel", "", 0};
    snprintf(said, room, "%s", outcome.fault.c_str());
    return !outcome.fault.empty();
}
