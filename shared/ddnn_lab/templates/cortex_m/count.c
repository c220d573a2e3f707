/* Golden events one after the other, a line each: how long, then all bits of scores and features.
 *
 * Emulated, time is counted in instructions: `-icount shift=0` makes one of them a nanosecond, and the board's SysTick
 * has 25 MHz, 40 to a tick. Elsewhere it is nanoseconds of the processor, the least of RUNS.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ddnn_golden.h"

#ifdef __arm__
#define RUNS 1
#define CONTROL (*(volatile uint32_t *)0xe000e010u)
#define RELOAD (*(volatile uint32_t *)0xe000e014u)
#define CURRENT (*(volatile uint32_t *)0xe000e018u) /* counts down, 24 bits */

static uint32_t elapsed(uint32_t since)
{
    return since - CURRENT;
}

static double counted(const ddnn_number *view, float *scores, uint8_t *features)
{
    RELOAD = 0xffffffu;
    CURRENT = 0;
    CONTROL = 5;
    while (!CURRENT)
        ;
    const uint32_t start = CURRENT;
    ddnn_section(view, scores, features);
    return 40.0 * (elapsed(start) & 0xffffffu);
}
#else
#ifndef RUNS
#define RUNS 100
#endif

static double counted(const ddnn_number *view, float *scores, uint8_t *features)
{
    const clock_t start = clock();
    for (int n = 0; n < 20; n++)
        ddnn_section(view, scores, features);
    return (double)(clock() - start) * 1e9 / CLOCKS_PER_SEC / 20;
}
#endif

int main(void)
{
    float scores[DDNN_CLASSES];
    uint8_t features[DDNN_FEATURES];
    for (int event = 0; event < DDNN_GOLDEN; event++) {
        double least = counted(ddnn_golden_views[event], scores, features);
        for (int run = 1; run < RUNS; run++) {
            const double one = counted(ddnn_golden_views[event], scores, features);
            least = one < least ? one : least;
        }
        printf("%.0f ", least);
        for (int i = 0; i < DDNN_CLASSES; i++) {
            uint32_t bits;
            memcpy(&bits, scores + i, 4);
            printf("%08lx", (unsigned long)bits);
        }
        printf(" ");
        for (int i = 0; i < DDNN_FEATURES; i++)
            printf("%02x", features[i]);
        printf("\n");
    }
    return 0;
}
