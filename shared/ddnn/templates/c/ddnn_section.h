/* Device {{ device }} of {{ bundle }}, written by `ddnn export --c` of ddnn {{ version }}.
 *
 * {{ "{:,}".format(weights) }} bytes of constants, {{ "{:,}".format(memory) }} bytes of static memory,
 * {{ "{:,}".format(macs) }} multiplications or additions of ±1 an event. C99 with an int of 32 bits or more;
 * one call at a time, as the memory is static.
 */
#ifndef DDNN_SECTION_H
#define DDNN_SECTION_H

#include <stdint.h>

#define DDNN_BUNDLE "{{ fingerprint }}"
#define DDNN_DEVICE {{ device }}
#define DDNN_DEVICES {{ devices }}
#define DDNN_CLASSES {{ classes }}
#define DDNN_VIEW {{ view }} /* numbers of a view, {{ view_shape }} in C order */
#define DDNN_FEATURES {{ features }} /* bytes of features as they go up, {{ features_codec }} */
#define DDNN_FEATURE_BITS {{ feature_bits }} /* of each; 0: they are floats */
#define DDNN_SCORES {{ scores }} /* bytes of scores as they go up, {{ scores_codec }} */
#define DDNN_WEIGHT_BYTES {{ weights }}
#define DDNN_MEMORY_BYTES {{ memory }}

/* What requests of this device have in common, as a stream describes it. */
#define DDNN_DESCRIBED_SCORES {{ described.scores }}
#define DDNN_DESCRIBED_FEATURES {{ described.features }}
#define DDNN_DESCRIBED_WAITS {{ described.waits }}

typedef {{ number }} ddnn_number; /* of a view */

/* The section: scores before softmax, and features packed as they go up. */
void ddnn_section(const ddnn_number view[DDNN_VIEW], float scores[DDNN_CLASSES], uint8_t features[DDNN_FEATURES]);

/* Scores as they go up. */
void ddnn_pack_scores(const float scores[DDNN_CLASSES], uint8_t row[DDNN_SCORES]);

/* Where the largest score is: the label of the device by itself. */
int ddnn_label(const float scores[DDNN_CLASSES]);

#endif
