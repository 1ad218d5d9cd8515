/* Stacks that threads of a block run on, one at a time, and what ends a launch. */
#include "core.h"

#include <stdarg.h>
#include <stdio.h>

Sim sim;

#if defined __x86_64__
enum { SAVED_WORDS = 6, SAVED_ARGS = 4, SAVED_FUNCTION = 3 };
/* sim_enter: rbx points at the arguments, r12 at the kernel, which returns into sim_leave. */
asm(R"(
    .text
    .globl sim_switch, sim_enter, sim_leave
    .hidden sim_switch, sim_enter, sim_leave
sim_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
sim_enter:
    mov 0(%rbx), %rdi
    mov 8(%rbx), %rsi
    mov 16(%rbx), %rdx
    mov 24(%rbx), %rcx
    mov 32(%rbx), %r8
    mov 40(%rbx), %r9
    jmp *%r12
sim_leave:
    call sim_thread_exit
)");
#elif defined __aarch64__
enum { SAVED_WORDS = 20, SAVED_ARGS = 0, SAVED_FUNCTION = 1, SAVED_LINK = 11 };
/* sim_enter: x19 points at the arguments, x20 at the kernel, which returns into sim_leave. */
asm(R"(
    .text
    .globl sim_switch, sim_enter, sim_leave
    .hidden sim_switch, sim_enter, sim_leave
sim_switch:
    sub sp, sp, #160
    stp x19, x20, [sp]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x2, sp
    str x2, [x0]
    mov sp, x1
    ldp x19, x20, [sp]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
sim_enter:
    ldp x0, x1, [x19]
    ldp x2, x3, [x19, #16]
    ldp x4, x5, [x19, #32]
    ldp x6, x7, [x19, #48]
    adr x30, sim_leave
    br x20
sim_leave:
    bl sim_thread_exit
)");
#else
#error "the simulator's fibers need x86-64 or AArch64"
#endif

void *sim_first_stack(u8 *end, void *function, void *const *arg, int args)
{
    int stacked = args > REGISTER_ARGS ? args - REGISTER_ARGS : 0;
    void **top = (void **)end - (stacked + 1) / 2 * 2;
    for (int i = 0; i < stacked; i++)
        top[i] = arg[REGISTER_ARGS + i];
#if defined __x86_64__
    *--top = (void *)sim_leave;
    *--top = (void *)sim_enter;
    top -= SAVED_WORDS;
#else
    top -= SAVED_WORDS;
    top[SAVED_LINK] = (void *)sim_enter;
#endif
    top[SAVED_ARGS] = (void *)arg;
    top[SAVED_FUNCTION] = function;
    return top;
}

void sim_fault(const void *site, const char *format, ...)
{
    SimReport *report = sim.report;
    int used = snprintf(report->text, sizeof report->text, "kernel %s, block (%u,%u,%u), ",
                        sim.launch->name, sim.block[0], sim.block[1], sim.block[2]);
    va_list args;
    va_start(args, format);
    vsnprintf(report->text + used, sizeof report->text - (size_t)used, format, args);
    va_end(args);
    report->site[0] = site;
    sim.failed = true;
    void *ended;
    sim_switch(&ended, sim.host_stack);
    __builtin_unreachable();
}
