/* Holds the section against golden events, on this machine or on a board: exit code 0 where all is as ONNX Runtime. */
#include <stdio.h>
#include <string.h>

#include "ddnn_golden.h"
#include "ddnn_section.h"

#define TOLERANCE 1e-4f

int main(void)
{
    float largest = 0, scores[DDNN_CLASSES];
    int off = 0, turned = 0;
    uint8_t features[DDNN_FEATURES];
    for (int event = 0; event < DDNN_GOLDEN; event++) {
        ddnn_section(ddnn_golden_views[event], scores, features);
        for (int i = 0; i < DDNN_CLASSES; i++) {
            const float apart = scores[i] - ddnn_golden_scores[event][i], size = apart < 0 ? -apart : apart;
            largest = size > largest ? size : largest;
            off += !(size <= TOLERANCE);
        }
#if DDNN_FEATURE_BITS
        for (int i = 0; i < DDNN_FEATURES; i++) { /* what differs may, where its value is at the next level */
            const unsigned differs = features[i] ^ ddnn_golden_features[event][i];
            for (int at = 0; at < 8; at += DDNN_FEATURE_BITS) {
                const int element = (8 * i + at) / DDNN_FEATURE_BITS;
                if (!(differs >> at & ((1u << DDNN_FEATURE_BITS) - 1)))
                    continue;
                if (ddnn_golden_ties[event][element / 8] >> element % 8 & 1)
                    turned++;
                else
                    off++;
            }
        }
#endif
    }
    printf("%d events: scores within %.1e, %d features turned at a tie, %d numbers off\n", DDNN_GOLDEN,
           (double)largest, turned, off);
    return off != 0;
}
