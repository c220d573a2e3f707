/* What an emulated Cortex-M needs before main: where the stack begins, the floating-point unit on, newlib's start. */
#include <stdint.h>

extern uint32_t stack_end;
extern void _start(void); /* clears memory, opens the host's console, calls main, ends with its exit code */

static void stopped(void)
{
    for (;;)
        ;
}

static void reset(void)
{
#ifdef __ARM_FP
    *(volatile uint32_t *)0xe000ed88u |= 0xfu << 20; /* CPACR: the coprocessors 10 and 11 */
    __asm__ volatile("dsb\n\tisb");
#endif
    _start();
}

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    handler reset, others[14];
} vectors = {
    &stack_end,
    reset,
    {stopped, stopped, stopped, stopped, stopped, stopped, stopped, stopped, stopped, stopped, stopped, stopped,
     stopped, stopped},
};
