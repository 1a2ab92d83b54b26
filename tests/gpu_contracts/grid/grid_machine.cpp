// Fibres and their schedules: all blocks on one OS thread in an order that a seed decides, or a block an OS thread.
#include "grid_inner.h"
#include <chrono>
#include <cstring>
#include <sched.h>
#include <thread>

namespace grid {

thread_local Index3 block_index, thread_index, block_size, grid_size;

static const Kernel *&kernels()
{
    static const Kernel *first;
    return first;
}
Kernel::Kernel(const char *name, void (*call)(void **), char *shared, char *shared_end)
    : name(name), call(call), shared(shared), shared_end(shared_end), next(kernels())
{
    kernels() = this;
}
const Kernel *find(const std::string &name)
{
    const Kernel *one = kernels();
    while (one && name != one->name)
        one = one->next;
    return one;
}

std::atomic<bool> Machine::stop;
thread_local Machine *m;

unsigned current_thread() { return m->first * block_size.x + m->current; }
bool in_fibre() { return m != nullptr && m->current != ~0u; }

void take(unsigned lane) // say who runs, in the words that kernels read
{
    m->current = lane;
    thread_index.x = lane % block_size.x;
    block_index.x = m->first + lane / block_size.x;
}

static void enter()
{
    arrived();
    order_after(&m->first);
    m->launch.kernel->call(m->launch.arguments);
    Lane &me = m->lanes[m->current];
    me.state = ENDED, ++m->steps;
    order_before(&m->launch); // what kernels leave is there for who launched them
    ++m->blocks[m->current / block_size.x].ended;
    m->leave();
}

Machine::Machine(const Launch &launch, unsigned first, unsigned count)
    : launch(launch), first(first), count(count), warps(launch.threads / 32), lanes(count * launch.threads),
      warp(count * warps), blocks(count), chooser(launch.seed, launch.yields, launch.schedule, count * warps, !launch.concurrent)
{
    block_size = {launch.threads, 1, 1}, grid_size = {launch.blocks, 1, 1};
    thread_index = block_index = {0, 0, 0};
    adopt(scheduler);
    for (Block &block : blocks) { // undefined on a card: bytes that are no sensible number
        block.dynamic.assign(launch.dynamic_bytes + 16, char(0xff));
        block.statics.assign(launch.kernel->shared_end - launch.kernel->shared, char(0xff));
    }
    for (Lane &lane : lanes)
        make(lane.context, enter);
    order_before(&this->first);
}
Machine::~Machine()
{
    for (Lane &lane : lanes)
        destroy(lane.context);
}

void Machine::place_statics(unsigned block)
{
    if (block == resident || blocks[block].statics.empty())
        return;
    char *const place = launch.kernel->shared;
    if (resident != ~0u)
        memcpy(blocks[resident].statics.data(), place, blocks[resident].statics.size());
    memcpy(place, blocks[block].statics.data(), blocks[block].statics.size());
    resident = block;
}

bool Machine::runnable(unsigned number) const
{
    for (unsigned i = 32 * number; i < 32 * number + 32; ++i)
        if (lanes[i].state == READY || lanes[i].changed())
            return true;
    return false;
}

void Machine::dispatch(unsigned number)
{
    place_statics(number / warps);
    for (unsigned i = 32 * number; i < 32 * number + 32; ++i)
        if (lanes[i].changed())
            lanes[i].state = READY;
    for (unsigned k = 0; k < 32; ++k) {
        const unsigned i = 32 * number + (chooser.descending() ? 31 - k : k);
        if (lanes[i].state == READY) {
            take(i);
            hop(scheduler, lanes[i].context);
            m->current = ~0u;
            return; // lanes hand on to one another until none of the warp can go on
        }
    }
}

void Machine::go()
{
    m = this;
    current = ~0u;
    std::vector<unsigned> able;
    unsigned rounds = 0;
    std::uint64_t seen = ~std::uint64_t(0); // steps, when pollers were woken last
    auto since = std::chrono::steady_clock::now();
    for (;;) {
        able.clear();
        for (unsigned w = 0; w < warp.size(); ++w)
            if (runnable(w))
                able.push_back(w);
        if (able.empty()) {
            unsigned ended = 0;
            for (const Block &block : blocks)
                ended += block.ended;
            if (ended == lanes.size() || stop)
                break;
            const auto now = std::chrono::steady_clock::now();
            if (steps != seen)
                rounds = 0, since = now, seen = steps;
            // Another machine may change what is polled; and a lane that read one word twice is not waiting for it.
            if (launch.concurrent ? now - since < std::chrono::seconds(60) : ++rounds < 3) {
                if (launch.concurrent)
                    sched_yield();
                for (Lane &lane : lanes)
                    if (lane.state == POLLS)
                        lane.state = READY;
                continue;
            }
            fault = "deadlock: " + stuck();
        } else {
            const int chosen = chooser.next(able);
            if (chosen < 0)
                fault = "the schedule does not fit this kernel";
            else
                dispatch(unsigned(chosen));
        }
        if (!fault.empty()) {
            stop = true;
            break;
        }
    }
    order_after(&launch);
    m = nullptr;
}

std::string Machine::stuck() const
{
    static const char *const words[] = {"can go on", "wait at a shuffle", "wait at a barrier", "poll", "have ended"};
    std::string out;
    for (unsigned b = 0; b < count; ++b) {
        std::vector<std::pair<std::string, unsigned>> groups;
        for (unsigned i = b * launch.threads; i < (b + 1) * launch.threads; ++i) {
            const Lane &lane = lanes[i];
            const std::string said = words[lane.state] + (lane.state == ENDED ? "" : " at " + place(lane.at));
            if (groups.empty() || groups.back().first != said)
                groups.emplace_back(said, 0);
            ++groups.back().second;
        }
        for (const auto &group : groups)
            out += "\n  block " + std::to_string(first + b) + ": " + std::to_string(group.second) + " threads " + group.first;
    }
    return out;
}

// --- what fibres do: hand on -----------------------------------------------------------------------------------------

void Machine::to_scheduler()
{
    const unsigned me = current;
    hop(lanes[me].context, scheduler);
    take(me);
}

// Go on with another lane of the warp, else with the scheduler; come back when this lane is resumed.
void Machine::pause(State state, const void *at)
{
    const unsigned me = current, base = me / 32 * 32;
    lanes[me].state = state, lanes[me].at = at;
    for (unsigned k = 1; k < 32; ++k) {
        const unsigned other = base + (me + (chooser.descending() ? 32 - k : k)) % 32;
        if (lanes[other].state == READY) {
            take(other);
            hop(lanes[me].context, lanes[other].context);
            take(me);
            return;
        }
    }
    to_scheduler();
}

void Machine::leave()
{
    pause(ENDED, nullptr);
    __builtin_unreachable();
}

void Machine::yield(bool certain)
{
    ++yields;
    if (chooser.stops() || certain)
        to_scheduler(); // this lane stays ready
}

// --- launches ----------------------------------------------------------------------------------------------------------

static Outcome run_together(const Launch &launch)
{
    Machine machine(launch, 0, launch.blocks);
    check::Setting setting{launch.blocks, launch.threads, check::buffers, {}, launch.kernel->shared, launch.kernel->shared_end, {}};
    for (Lane &lane : machine.lanes)
        setting.ignored.emplace_back(lane.context.stack, lane.context.stack + STACK_BYTES);
    for (Block &block : machine.blocks)
        setting.own.push_back({"shared", block.dynamic.data(), block.dynamic.size(), SCRATCH});
    for (Index3 *index : {&block_index, &thread_index, &block_size, &grid_size})
        setting.ignored.emplace_back(reinterpret_cast<char *>(index), reinterpret_cast<char *>(index + 1));
    check::begin(setting);
    machine.go();
    check::end();
    return {machine.fault, machine.chooser.schedule(), machine.yields};
}

static Outcome run_concurrently(const Launch &launch)
{
    std::vector<std::string> faults(launch.blocks);
    std::vector<std::thread> pool;
    for (unsigned b = 0; b < launch.blocks; ++b)
        pool.emplace_back([&launch, &faults, b] {
            Machine machine(launch, b, 1);
            machine.go();
            faults[b] = machine.fault;
        });
    for (std::thread &one : pool)
        one.join();
    order_after(&launch);
    Outcome out{"", "", 0};
    for (const std::string &fault : faults)
        if (out.fault.empty())
            out.fault = fault;
    return out;
}

Outcome run(const Launch &launch)
{
    if (launch.threads % 32 || launch.threads == 0 || launch.blocks == 0)
        return {"a launch needs whole warps and a block", "", 0};
    Machine::stop = false;
    return launch.concurrent ? run_concurrently(launch) : run_together(launch);
}

} // namespace grid
