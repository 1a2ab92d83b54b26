// Every plain access checked: in a buffer, of a word that was written, and ordered against those of other threads.
//
// The kernel is compiled with -fsanitize=thread, whose hooks end here and not in ThreadSanitizer's library. Order is
// kept as vectors of versions, one a thread: __syncthreads and __syncwarp join those who meet; a fence and then an atomic
// hand on what lies before the fence; a poll or an atomic and then a fence take it up, as the PTX model has it. A
// shuffle orders nothing. A word remembers its last writer and, since then, its readers, with their places in the code.
// Stricter than a card: what another block wrote in this launch may be read by `fresh` only, ordered or not, so that no
// kernel has to argue about what lies in a multiprocessor's own cache.
#include "grid_machine.h"
#include <algorithm>
#include <unordered_map>

namespace grid {
namespace check {

std::vector<Region> buffers;

#ifndef GRID_CHECK
void begin(const Setting &) {}
void end() {}
void fence(unsigned) {}
void atomic(unsigned, const void *, const void *) {}
void poll(unsigned, const void *, const void *) {}
void meet(unsigned, unsigned) {}
void read(const void *, std::size_t, const void *) {}
#else

using Version = std::uint32_t;
struct Access { unsigned thread; Version version; const void *at; };
struct Word { bool written = false, atomic = false, ours = false; Access writer{0, 0, nullptr}; std::vector<Access> readers; };
struct Area { Region region; std::vector<Word> words; };

static const Setting *setting;
static std::vector<Area> areas;
static std::vector<std::vector<Version>> known, fenced, taken; // by thread: versions of all; as of its fence; not fenced yet
static std::unordered_map<const void *, std::vector<Version>> handed; // by word: what atomics on it hand on
static unsigned long since; // accesses since the fibre last changed
static unsigned last;

static void add_area(const Region &region)
{
    areas.push_back({region, {}});
    if (region.kind != CONSTANT) {
        areas.back().words.resize((region.bytes + 3) / 4);
        for (Word &word : areas.back().words)
            word.written = region.kind == GIVEN;
    }
}
void begin(const Setting &given)
{
    setting = &given;
    const unsigned threads = given.blocks * given.threads;
    known.assign(threads, std::vector<Version>(threads, 0));
    for (unsigned t = 0; t < threads; ++t)
        known[t][t] = 1;
    fenced = taken = std::vector<std::vector<Version>>(threads, std::vector<Version>(threads, 0));
    handed.clear(), areas.clear();
    for (const Region &region : given.buffers)
        add_area(region);
    for (const Region &region : given.own)
        add_area(region);
    if (given.shared != given.shared_end) // one area a block; `area_of` adds the block's number
        for (unsigned b = 0; b < given.blocks; ++b)
            add_area({"shared", const_cast<char *>(given.shared), std::size_t(given.shared_end - given.shared), SCRATCH});
}
void end() { setting = nullptr; }

static void join(std::vector<Version> &into, const std::vector<Version> &other)
{
    for (std::size_t i = 0; i < into.size(); ++i)
        into[i] = std::max(into[i], other[i]);
}
void meet(unsigned first, unsigned count)
{
    std::vector<Version> all = known[first];
    for (unsigned t = first + 1; t < first + count; ++t)
        join(all, known[t]);
    for (unsigned t = first; t < first + count; ++t)
        known[t] = all, ++known[t][t];
}
void fence(unsigned thread)
{
    join(known[thread], taken[thread]);
    fenced[thread] = known[thread];
    ++known[thread][thread];
}
static std::vector<Version> &handed_by(const void *word)
{
    std::vector<Version> &made = handed[word];
    made.resize(known.size(), 0);
    return made;
}

static std::string name(const Area &area, const void *data)
{
    const std::size_t word = (static_cast<const char *>(data) - area.region.data) / 4;
    return area.region.name + "[" + std::to_string(word) + "]";
}
static std::string who(unsigned thread)
{
    return "block " + std::to_string(thread / setting->threads) + " thread " + std::to_string(thread % setting->threads);
}
static void clash(const Area &area, const void *data, const char *now, const void *at, const char *before, const Access &other)
{
    fail("race on " + name(area, data) + ": " + who(current_thread()) + " " + now + " it at " + place(at) + ", " +
         who(other.thread) + " " + before + " it at " + place(other.at) + ", and nothing puts them in order");
}
static bool ordered(const Access &other, unsigned thread)
{
    return other.thread == thread || known[thread][other.thread] >= other.version;
}

// Return the area that holds an address, or none where the machine's own memory lies.
static Area *area_of(const char *data, const void *at)
{
    const bool is_shared = data >= setting->shared && data < setting->shared_end;
    if (is_shared)
        return &areas[areas.size() - setting->blocks + current_thread() / setting->threads];
    for (Area &area : areas)
        if (data >= area.region.data && data < area.region.data + area.region.bytes)
            return &area;
    for (const auto &range : setting->ignored)
        if (data >= range.first && data < range.second)
            return nullptr;
    fail("out of bounds: " + who(current_thread()) + " at " + place(at) + " touches memory that is in no buffer");
}
static void count()
{
    const unsigned thread = current_thread();
    since = thread == last ? since + 1 : 0;
    last = thread;
    if (since > 1ul << 22)
        fail("hang: " + who(thread) + " runs on without end");
}

enum Way { PLAIN, FRESH, ATOMIC };

static void look(Area &area, Word &word, const char *data, const void *at, Way way)
{
    const bool by_atomic = way == ATOMIC;
    const unsigned thread = current_thread();
    if (!word.written)
        fail("unwritten: " + who(thread) + " reads " + name(area, data) + " at " + place(at) + ", which nobody wrote");
    if (word.ours && !(word.atomic && by_atomic) && !ordered(word.writer, thread))
        clash(area, data, "reads", at, "wrote", word.writer);
    if (by_atomic)
        return;
    if (way == PLAIN && word.ours && word.writer.thread / setting->threads != thread / setting->threads)
        fail("stale: " + who(thread) + " reads " + name(area, data) + " plainly at " + place(at) + ", which " +
             who(word.writer.thread) + " wrote at " + place(word.writer.at) + "; its own cache may hold an older value");
    const Access mine{thread, known[thread][thread], at};
    for (Access &reader : word.readers)
        if (ordered(reader, thread)) {
            reader = mine; // whoever comes after this one comes after that one, too
            return;
        }
    word.readers.push_back(mine);
}
static void change(Area &area, Word &word, const char *data, const void *at, Way way)
{
    const bool by_atomic = way == ATOMIC;
    const unsigned thread = current_thread();
    if (word.ours && !(word.atomic && by_atomic) && !ordered(word.writer, thread))
        clash(area, data, "writes", at, "wrote", word.writer);
    for (const Access &reader : word.readers)
        if (!ordered(reader, thread))
            clash(area, data, "writes", at, "read", reader);
    word.readers.clear();
    word.written = word.ours = true, word.atomic = by_atomic;
    word.writer = {thread, known[thread][thread], at};
}
static void touch(const void *place_of, std::size_t bytes, const void *at, bool writes, Way way)
{
    if (!setting || !in_fibre())
        return;
    count();
    const char *const data = static_cast<const char *>(place_of);
    Area *const area = area_of(data, at);
    if (!area)
        return;
    if (data + bytes > area->region.data + area->region.bytes)
        fail("out of bounds: " + who(current_thread()) + " at " + place(at) + " goes beyond " + area->region.name);
    if (area->region.kind == CONSTANT) {
        if (writes)
            fail("constant: " + who(current_thread()) + " writes " + name(*area, data) + " at " + place(at));
        return;
    }
    const std::size_t first = std::size_t(data - area->region.data) / 4;
    for (std::size_t i = first; i <= (std::size_t(data - area->region.data) + bytes - 1) / 4; ++i)
        (writes ? change : look)(*area, area->words[i], area->region.data + 4 * i, at, way);
}
void read(const void *data, std::size_t bytes, const void *at) { touch(data, bytes, at, false, FRESH); }
void atomic(unsigned thread, const void *word, const void *at)
{
    touch(word, 4, at, true, ATOMIC);
    std::vector<Version> &by = handed_by(word);
    join(taken[thread], by);
    join(by, fenced[thread]);
}
void poll(unsigned thread, const void *word, const void *at)
{
    touch(word, 4, at, false, ATOMIC);
    join(taken[thread], handed_by(word));
}

#endif
} // namespace check
} // namespace grid

#ifdef GRID_CHECK // the hooks that the compiler calls
#define TOLD(p, size, writes) grid::check::touch(p, size, __builtin_return_address(0), writes, grid::check::PLAIN)
#define HOOK(size)                                                                                                     \
    extern "C" void __tsan_read##size(void *p) { TOLD(p, size, false); }                                               \
    extern "C" void __tsan_write##size(void *p) { TOLD(p, size, true); }                                               \
    extern "C" void __tsan_unaligned_read##size(void *p) { TOLD(p, size, false); }                                     \
    extern "C" void __tsan_unaligned_write##size(void *p) { TOLD(p, size, true); }
HOOK(1) HOOK(2) HOOK(4) HOOK(8) HOOK(16)
extern "C" void __tsan_read_range(void *p, std::size_t size) { TOLD(p, size, false); }
extern "C" void __tsan_write_range(void *p, std::size_t size) { TOLD(p, size, true); }
extern "C" void __tsan_func_entry(void *) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_init() {}
#endif
