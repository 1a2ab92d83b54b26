/* Host functions on a stream, as a card has them: called later, one after the other, in a thread of the runtime's own,
 * where CUDA calls are not permitted. Whoever waits for the stream has them called first.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include "driver_types.h"
#include "cuda_runtime_api.h"

#define API __attribute__((visibility("default")))

struct call { cudaHostFn_t function; void *data; struct call *next; };
enum { LATER_MICROSECONDS = 20000, LOOK_MICROSECONDS = 200 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct call *first, **last = &first;
static int running, waiting;
static __thread int in_callback;

int fake_cuda_in_callback(void) { return in_callback; }

static void *call_them(void *unused) {
    in_callback = 1;
    for (;;) {
        for (int slept = 0; slept < LATER_MICROSECONDS && !__atomic_load_n(&waiting, __ATOMIC_ACQUIRE); slept += LOOK_MICROSECONDS)
            usleep(LOOK_MICROSECONDS);
        pthread_mutex_lock(&lock);
        struct call *call = first;
        if (!call) {
            running = 0;
            pthread_mutex_unlock(&lock);
            return NULL;
        }
        pthread_mutex_unlock(&lock);
        call->function(call->data);
        pthread_mutex_lock(&lock);
        first = call->next;
        if (!first) last = &first;
        pthread_mutex_unlock(&lock);
        free(call);
    }
}

/* Return when all that was enqueued before has been called. */
void fake_cuda_finish_callbacks(void) {
    if (in_callback) return;
    __atomic_add_fetch(&waiting, 1, __ATOMIC_ACQ_REL);
    for (;;) {
        pthread_mutex_lock(&lock);
        int left = first != NULL;
        pthread_mutex_unlock(&lock);
        if (!left) break;
        usleep(LOOK_MICROSECONDS / 4);
    }
    __atomic_sub_fetch(&waiting, 1, __ATOMIC_ACQ_REL);
}

API cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data) {
    struct call *call = malloc(sizeof *call);
    pthread_t thread;
    *call = (struct call){function, data, NULL};
    pthread_mutex_lock(&lock);
    *last = call;
    last = &call->next;
    if (!running) {
        running = 1;
        pthread_create(&thread, NULL, call_them, NULL);
        pthread_detach(thread);
    }
    pthread_mutex_unlock(&lock);
    return 0;
}
