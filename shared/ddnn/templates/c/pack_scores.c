{% if scores_codec == "float32" %}
void ddnn_pack_scores(const float scores[DDNN_CLASSES], uint8_t row[DDNN_SCORES])
{
    for (int i = 0; i < DDNN_CLASSES; i++) {
        uint32_t word;
        memcpy(&word, scores + i, 4);
        for (int n = 0; n < 4; n++)
            row[4 * i + n] = (uint8_t)(word >> 8 * n);
    }
}
{% else %}
static float ddnn_within(float number) /* what half precision holds */
{
    return number > 65504.0f ? 65504.0f : number < -65504.0f ? -65504.0f : number;
}

static void ddnn_keep_half(uint8_t *row, float number)
{
    const uint16_t half = ddnn_half(ddnn_within(number));
    row[0] = (uint8_t)half;
    row[1] = (uint8_t)(half >> 8);
}

{% if scores_codec == "float16" %}
void ddnn_pack_scores(const float scores[DDNN_CLASSES], uint8_t row[DDNN_SCORES])
{
    for (int i = 0; i < DDNN_CLASSES; i++)
        ddnn_keep_half(row + 2 * i, scores[i]);
}
{% else %}
void ddnn_pack_scores(const float scores[DDNN_CLASSES], uint8_t row[DDNN_SCORES])
{
    float largest = ddnn_within(scores[0]), smallest = largest;
    for (int i = 1; i < DDNN_CLASSES; i++) {
        const float one = ddnn_within(scores[i]);
        largest = one > largest ? one : largest;
        smallest = one < smallest ? one : smallest;
    }
    ddnn_keep_half(row, largest);
    ddnn_keep_half(row + 2, largest - smallest);
    float span = ddnn_single(ddnn_half(ddnn_within(largest - smallest)));
    span = span > 1e-7f ? span : 1e-7f;
    for (int i = 0; i < DDNN_CLASSES; i++) {
        const float below = largest - ddnn_within(scores[i]), level = rintf(sqrtf(below / span) * 255.0f);
        row[4 + i] = below > 0 ? (uint8_t)(level < 1 ? 1 : level > 255 ? 255 : level) : 0;
    }
}
{% endif %}
{% endif %}
