// The switch between two fibers: what a function must keep, and the stack pointer.

#include "fiber.hpp"

#if defined(__x86_64__)
asm(R"(
.text
.globl moegrad_fiber_switch
.type moegrad_fiber_switch, @function
moegrad_fiber_switch:
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
.size moegrad_fiber_switch, .-moegrad_fiber_switch
)");
#endif
