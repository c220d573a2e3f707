/* Golden events of device {{ device }} of {{ bundle }}: what it saw, and what ONNX Runtime made of that. */
#ifndef DDNN_GOLDEN_H
#define DDNN_GOLDEN_H

#include "ddnn_section.h"

#define DDNN_GOLDEN {{ events }}

static const ddnn_number ddnn_golden_views[DDNN_GOLDEN][DDNN_VIEW] = {
{% for row in views %}
    {{ "{" }}{{ row | join(", ") }}},
{% endfor %}
};
static const float ddnn_golden_scores[DDNN_GOLDEN][DDNN_CLASSES] = {
{% for row in scores %}
    {{ "{" }}{{ row | join(", ") }}},
{% endfor %}
};
{% if bits %}
static const uint8_t ddnn_golden_features[DDNN_GOLDEN][DDNN_FEATURES] = {
{% for row in features %}
    {{ "{" }}{{ row | join(", ") }}},
{% endfor %}
};
/* A bit for each feature whose value is so near to the next level that rounding may turn it. */
static const uint8_t ddnn_golden_ties[DDNN_GOLDEN][{{ ties[0] | length }}] = {
{% for row in ties %}
    {{ "{" }}{{ row | join(", ") }}},
{% endfor %}
};
{% endif %}

#endif
