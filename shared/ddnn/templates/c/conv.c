{# How a place of the window is written, `a` + `step` × `name`, and the first and the end of those on the view. #}
{% macro first(start, step) %}{{ start }} < 0 ? {% if step == 1 %}-{{ start }}{% else %}({{ step - 1 }} - {{ start }}) / {{ step }}{% endif %} : 0{% endmacro %}
{% macro rest(start, step, size) %}{% if step == 1 %}{{ size }} - {{ start }}{% else %}({{ size + step - 1 }} - {{ start }}) / {{ step }}{% endif %}{% endmacro %}
{% macro times(number, name) %}{% if number != 1 %}{{ number }} * {% endif %}{{ name }}{% endmacro %}
int i = 0;
for (int o = 0; o < {{ out[0] }}; o++)
    for (int y = 0; y < {{ out[1] }}; y++) {
        const int top = {{ times(strides[0], "y") }} - {{ pads[0] }}, down = {{ rest("top", dilations[0], taken[1]) }};
        const int m_first = {{ first("top", dilations[0]) }}, m_end = down < {{ kernel[0] }} ? down : {{ kernel[0] }};
        for (int x = 0; x < {{ out[2] }}; x++, i++) {
            const int left = {{ times(strides[1], "x") }} - {{ pads[1] }}, right = {{ rest("left", dilations[1], taken[2]) }};
            const int n_first = {{ first("left", dilations[1]) }}, n_end = right < {{ kernel[1] }} ? right : {{ kernel[1] }};
            {{ number }} sum = 0;
            for (int c = 0; c < {{ each }}; c++)
                for (int m = m_first; m < m_end; m++) {
                    const int from = ({% if group > 1 %}(o / {{ out[0] // group }} * {{ each }} + c){% else %}c{% endif %} * {{ taken[1] }} + top + {{ times(dilations[0], "m") }}) * {{ taken[2] }} + left;
                    const int by = ((o * {{ each }} + c) * {{ kernel[0] }} + m) * {{ kernel[1] }};
                    for (int n = n_first; n < n_end; n++) {
                        const int a = from + {{ times(dilations[1], "n") }}, w = by + n;
                        {{ product | indent(24) }}
                    }
                }
            {{ store | indent(12) }}
        }
    }
