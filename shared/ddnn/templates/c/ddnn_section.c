/* Device {{ device }} of {{ bundle }}, written by `ddnn export --c`; see the header. */
#include "ddnn_section.h"

#include <float.h>
#include <limits.h>
{% if maths %}
#include <math.h>
{% endif %}
#include <string.h>

#if INT_MAX < 2147483647 || FLT_MANT_DIG != 24
#error "expected an int of 32 bits, and single precision of IEEE 754"
#endif
#ifdef __FAST_MATH__
#error "expected arithmetic as it is written, without -ffast-math"
#endif

#define DDNN_BIT(bits, at) ((bits)[(at) >> 3] >> ((at) & 7) & 1)

{% for text in arrays %}
{{ text }}
{% endfor %}

{% for kind, size in blocks %}
static {{ kind }} {{ kind }}s[{{ size }}];
{% endfor %}

{% if halves %}
/* Half precision of a single, to the nearest, ties to even. */
static uint16_t ddnn_half(float number)
{
    uint32_t word;
    memcpy(&word, &number, 4);
    const uint32_t sign = word >> 16 & 0x8000u, size = word & 0x7fffffffu;
    if (size >= 0x7f800000u) /* infinity, or no number */
        return (uint16_t)(sign | 0x7c00u | (size > 0x7f800000u ? 0x200u : 0));
    if (size >= 0x477ff000u)
        return (uint16_t)(sign | 0x7c00u);
    if (size >= 0x38800000u) {
        const uint32_t rest = size - 0x38000000u;
        return (uint16_t)(sign | (rest + 0xfffu + (rest >> 13 & 1)) >> 13);
    }
    if (size < 0x33000000u)
        return (uint16_t)sign;
    const uint32_t whole = (size & 0x7fffffu) | 0x800000u, shift = 126 - (size >> 23);
    const uint32_t half = whole >> shift, left = whole & ((1u << shift) - 1), middle = 1u << (shift - 1);
    return (uint16_t)(sign | (half + (left > middle || (left == middle && (half & 1)))));
}

{% endif %}
{% if singles %}
/* The single that a half is. */
static float ddnn_single(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, size = half & 0x7fffu;
    uint32_t word = sign | (size >= 0x7c00u ? 0x7f800000u | (size & 0x3ffu) << 13 : (size << 13) + 0x38000000u);
    if (size < 0x400u) { /* whole numbers of 2 ** -24 */
        const float small = (float)size * 5.9604644775390625e-08f;
        memcpy(&word, &small, 4);
        word |= sign;
    }
    float number;
    memcpy(&number, &word, 4);
    return number;
}

{% endif %}
void ddnn_section(const ddnn_number view[DDNN_VIEW], float scores[DDNN_CLASSES], uint8_t features[DDNN_FEATURES])
{
{% for name, kind, at in buffers %}
    {{ kind }} *const {{ name }} = {{ kind }}s + {{ at }};
{% endfor %}
    memset(features, 0, DDNN_FEATURES);
{% for step in steps %}
    { /* {{ step.what }}{{ " " }}{{ step.shape | join(" × ") }} */
        {{ step.text | indent(8) }}
    }
{% endfor %}
}

{% include "c/pack_scores.c" %}

int ddnn_label(const float scores[DDNN_CLASSES])
{
    int label = 0;
    for (int i = 1; i < DDNN_CLASSES; i++)
        if (scores[i] > scores[label])
            label = i;
    return label;
}
