{# One row `y` of a convolution's output `o`: where the window lies on the view, and the sum at each `x`. #}
{% macro first(start, step) %}{{ start }} < 0 ? {% if step == 1 %}-{{ start }}{% else %}({{ step - 1 }} - {{ start }}) / {{ step }}{% endif %} : 0{% endmacro %}
{% macro rest(start, step, size) %}{% if step == 1 %}{{ size }} - {{ start }}{% else %}({{ size + step - 1 }} - {{ start }}) / {{ step }}{% endif %}{% endmacro %}
{% macro times(number, name) %}{% if number != 1 %}{{ number }} * {% endif %}{{ name }}{% endmacro %}
{% macro row(conv, store) %}
const int top = {{ times(conv.strides[0], "y") }} - {{ conv.pads[0] }}, down = {{ rest("top", conv.dilations[0], conv.taken[1]) }};
const int m_first = {{ first("top", conv.dilations[0]) }}, m_end = down < {{ conv.kernel[0] }} ? down : {{ conv.kernel[0] }};
for (int x = 0; x < {{ conv.out[2] }}; x++, i++) {
    const int left = {{ times(conv.strides[1], "x") }} - {{ conv.pads[1] }}, right = {{ rest("left", conv.dilations[1], conv.taken[2]) }};
    const int n_first = {{ first("left", conv.dilations[1]) }}, n_end = right < {{ conv.kernel[1] }} ? right : {{ conv.kernel[1] }};
    {{ conv.number }} sum = 0;
    for (int c = 0; c < {{ conv.each }}; c++)
        for (int m = m_first; m < m_end; m++) {
            const int from = ({% if conv.group > 1 %}(o / {{ conv.out[0] // conv.group }} * {{ conv.each }} + c){% else %}c{% endif %} * {{ conv.taken[1] }} + top + {{ times(conv.dilations[0], "m") }}) * {{ conv.taken[2] }} + left;
            const int by = ((o * {{ conv.each }} + c) * {{ conv.kernel[0] }} + m) * {{ conv.kernel[1] }};
            for (int n = n_first; n < n_end; n++) {
                const int a = from + {{ times(conv.dilations[1], "n") }}, w = by + n;
                {{ conv.product | indent(16) }}
            }
        }
    {{ store | indent(4) }}
}
{% endmacro %}
