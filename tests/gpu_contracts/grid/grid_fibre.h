// Fibres: stacks, the change from one to another, and what the sanitizers want to be told of it.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <sys/mman.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif
#ifdef GRID_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#ifdef GRID_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

namespace grid {

#if defined GRID_TSAN || defined GRID_ASAN
const std::size_t STACK_BYTES = 256 * 1024;
#else
const std::size_t STACK_BYTES = 64 * 1024;
#endif

struct Context {
    char *stack = nullptr;
    void *pointer = nullptr; // of the stack, where the fibre stands
    void *fibre = nullptr; // ThreadSanitizer's name of it
#ifndef __x86_64__
    ucontext_t saved;
#endif
};

#ifdef __x86_64__
// Change stacks: push what a call must keep, put the stack pointer down in `from`, take up that of `to`.
extern "C" void grid_change(void **from, void *to);
asm(R"(
.text
.type grid_change, @function
grid_change:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size grid_change, .-grid_change
)");
#endif

inline void hop(Context &from, Context &to)
{
#ifdef GRID_TSAN
    __tsan_switch_to_fiber(to.fibre, __tsan_switch_to_fiber_no_sync); // no order follows from it
#endif
#ifdef GRID_ASAN
    void *fake;
    __sanitizer_start_switch_fiber(&fake, to.stack, STACK_BYTES);
#endif
#ifdef __x86_64__
    grid_change(&from.pointer, to.pointer);
#else
    swapcontext(&from.saved, &to.saved);
#endif
#ifdef GRID_ASAN
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

// First thing that a fibre does.
inline void arrived()
{
#ifdef GRID_ASAN
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

// The context of the OS thread itself.
inline void adopt(Context &context)
{
#ifdef GRID_TSAN
    context.fibre = __tsan_get_current_fiber();
#endif
    (void)context;
}

inline void make(Context &context, void (*enter)())
{
    void *const memory = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        abort();
    context.stack = static_cast<char *>(memory);
#ifdef __x86_64__
    void **top = reinterpret_cast<void **>(context.stack + STACK_BYTES);
    *--top = nullptr; // where `enter`, which never returns, would return to: keeps the stack aligned as a call does
    *--top = reinterpret_cast<void *>(enter);
    context.pointer = top - 6; // six registers, all zero
#else
    getcontext(&context.saved);
    context.saved.uc_stack.ss_sp = context.stack;
    context.saved.uc_stack.ss_size = STACK_BYTES;
    context.saved.uc_link = nullptr;
    makecontext(&context.saved, enter, 0);
#endif
#ifdef GRID_TSAN
    context.fibre = __tsan_create_fiber(0);
#endif
}

inline void destroy(Context &context)
{
#ifdef GRID_TSAN
    __tsan_destroy_fiber(context.fibre);
#endif
    munmap(context.stack, STACK_BYTES);
}

// For ThreadSanitizer: what came before a release at `place` is before what follows an acquire there.
inline void order_before(const void *place)
{
#ifdef GRID_TSAN
    __tsan_release(const_cast<void *>(place));
#endif
    (void)place;
}
inline void order_after(const void *place)
{
#ifdef GRID_TSAN
    __tsan_acquire(const_cast<void *>(place));
#endif
    (void)place;
}

} // namespace grid
