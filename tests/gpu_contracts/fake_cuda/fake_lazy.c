/* A card that takes its time: what is enqueued waits in its stream, and is carried out in some order that CUDA allows.
 *
 * Within a stream the order stays; between streams it is drawn by lot, and so is how much is done at once: anything from
 * nothing at all until somebody waits. Until then a copy's target on the host is poisoned, and sources are not looked
 * at. Memory that is given back while something enqueued still needs it is counted. Off until a seed is given.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int (*work)(void *content);
struct entry { const void *stream; work carry_out; void *content; size_t bytes; };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *line;
static size_t waiting, room;
static uint64_t seed;
static long in_use, late, carried_out;
static int failure;

static unsigned lot(unsigned below) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(seed >> 33) % below;
}
/* Carry out the first entry of a stream. */
static void next_of(const void *stream) {
    size_t i = 0;
    while (line[i].stream != stream) i++;
    struct entry one = line[i];
    int status = one.carry_out(one.content);
    if (status && !failure) failure = status;
    carried_out++;
    free(one.content);
    memmove(line + i, line + i + 1, (--waiting - i) * sizeof *line);
}
static void some(void) {
    for (unsigned n = lot(2) ? 0 : lot((unsigned)waiting + 1); n && waiting; n--) next_of(line[lot((unsigned)waiting)].stream);
}

/* Carry out something on a stream, now or later; `content` is copied. Return its status where it is known. */
int fake_lazily(const void *stream, work carry_out, const void *content, size_t bytes) {
    if (!seed) return carry_out((void *)content);
    pthread_mutex_lock(&lock);
    if (waiting == room) line = realloc(line, (room = 2 * room + 16) * sizeof *line);
    struct entry one = {stream, carry_out, memcpy(malloc(bytes), content, bytes), bytes};
    line[waiting++] = one;
    late++;
    some();
    pthread_mutex_unlock(&lock);
    return 0;
}
/* Poison what is to be filled later. */
void fake_poison(void *target, size_t bytes) { if (seed) memset(target, 0xff, bytes); }
/* Carry out all of a stream, and others' in between; return the first failure of any since the last time. */
int fake_finish(const void *stream) {
    if (!seed) return 0;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < waiting; i++)
        if (line[i].stream == stream) {
            if (lot(2)) some();
            for (size_t k = 0; k < waiting; k++)
                if (line[k].stream == stream) { next_of(stream); break; }
            i = (size_t)-1;
        }
    int status = failure;
    failure = 0;
    pthread_mutex_unlock(&lock);
    return status;
}
/* Count memory that goes while something enqueued has an address in it. */
void fake_gone(const void *memory, size_t bytes) {
    if (!seed) return;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < waiting; i++)
        for (size_t k = 0; k + 8 <= line[i].bytes; k += 8) {
            uint64_t word = *(uint64_t *)((char *)line[i].content + k);
            if (word >= (uint64_t)memory && word < (uint64_t)memory + bytes) in_use++;
        }
    pthread_mutex_unlock(&lock);
}

/* Take one's time from now on; 0: do everything at once, as before. */
void fake_driver_lazy(unsigned long seed_) {
    while (waiting) next_of(line[0].stream);
    seed = seed_;
    in_use = late = carried_out = 0;
}
/* How often memory went too early; what was enqueued and what of it is done; what still waits. */
void fake_driver_lateness(long *out) { out[0] = in_use; out[1] = late; out[2] = carried_out; out[3] = (long)waiting; }
/* Leave undone what still waits. */
void fake_driver_forget(void) {
    for (; waiting; waiting--) free(line[waiting - 1].content);
}
