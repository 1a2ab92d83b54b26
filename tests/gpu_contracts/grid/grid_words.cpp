// What a kernel's words do: barriers, shuffles, atomics, fences, loads.
#include "grid_inner.h"
#include <cstdio>
#include <dlfcn.h>

namespace grid {

// This lane does something else than poll.
static void moved()
{
    ++m->steps;
    m->lanes[m->current].polled = nullptr;
}

static void meet_warp(const void *at)
{
    const unsigned me = m->current;
    Warp &warp = m->warp[me / 32];
    moved();
    if (++warp.arrived < 32) {
        m->pause(AT_WARP, at);
    } else {
        warp.arrived = 0;
        for (unsigned i = me / 32 * 32; i < me / 32 * 32 + 32; ++i)
            m->lanes[i].state = READY;
    }
}
void warp_barrier(const void *at)
{
    Warp &warp = m->warp[m->current / 32];
    unsigned &turn = m->lanes[m->current].turn;
    const void *const name = warp.slots[turn];
    turn ^= 1;
    if (warp.arrived == 31)
        check::meet(current_thread() / 32 * 32, 32);
    order_before(name);
    meet_warp(at);
    order_after(name);
}
const std::uint32_t *gather(std::uint32_t value, const void *at)
{
    Lane &me = m->lanes[m->current];
    std::uint32_t *const row = m->warp[m->current / 32].slots[me.turn];
    me.turn ^= 1; // so that a lane may be one shuffle ahead of the others
    row[m->current % 32] = value;
    meet_warp(at);
    return row;
}

static int meet_block(int given, const void *at)
{
    const unsigned me = m->current, size = m->launch.threads, base = me / size * size;
    Block &block = m->blocks[me / size];
    const int phase = block.phase;
    moved();
    order_before(&block.any[phase]);
    block.any[phase] |= given;
    if (++block.arrived < size) {
        m->pause(AT_BLOCK, at);
    } else {
        check::meet(m->first * size + base, size);
        block.arrived = 0;
        block.phase ^= 1, block.any[block.phase] = 0;
        for (unsigned i = base; i < base + size; ++i)
            m->lanes[i].state = READY;
        m->yield(true);
    }
    order_after(&block.any[phase]);
    return block.any[phase];
}
void block_barrier(const void *at) { meet_block(0, at); }
int block_any(int given, const void *at) { return meet_block(given != 0, at); }

std::uint32_t atomic_add(std::uint32_t *word, std::uint32_t value, const void *at)
{
    moved();
    m->yield(true);
    check::atomic(current_thread(), word, at);
    order_after(word), order_before(word);
    return __atomic_fetch_add(word, value, __ATOMIC_SEQ_CST);
}
std::uint32_t poll(const std::uint32_t *word, const void *at)
{
    Lane &me = m->lanes[m->current];
    m->yield(false);
    if (me.polled == word && __atomic_load_n(word, __ATOMIC_SEQ_CST) == me.seen)
        m->pause(POLLS, at); // nothing has changed: until it does
    me.polled = word, me.seen = __atomic_load_n(word, __ATOMIC_SEQ_CST);
    check::poll(current_thread(), word, at);
    order_after(word);
    return me.seen;
}
void fence()
{
    check::fence(current_thread());
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
void fresh(const void *data, std::size_t bytes, const void *at)
{
    moved();
    m->yield(false);
    check::read(data, bytes, at);
}
void constant(const void *data, std::size_t bytes, const void *at) { check::read(data, bytes, at); }
char *dynamic_shared()
{
    std::vector<char> &bytes = m->blocks[m->current / m->launch.threads].dynamic;
    return bytes.data() + (16 - reinterpret_cast<std::uintptr_t>(bytes.data()) % 16) % 16;
}
void fail(const std::string &fault)
{
    m->fault = fault;
    for (;;)
        m->to_scheduler(); // never resumed
}
std::string place(const void *at)
{
    Dl_info info;
    if (!at || !dladdr(at, &info))
        return "?";
    char text[32];
    snprintf(text, sizeof text, "<%#zx>", std::size_t(static_cast<const char *>(at) - static_cast<const char *>(info.dli_fbase)) - 1);
    return text;
}

} // namespace grid
