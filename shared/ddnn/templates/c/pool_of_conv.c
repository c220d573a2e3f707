{% from "c/rows.c" import row %}
int i = 0;
for (int o = 0; o < {{ out[0] }}; o++) {
    int made = 0; /* rows of the convolution, of which the last {{ kernel[0] }} are kept */
    for (int to = 0; to < {{ out[1] }}; to++) {
        const int above = {{ strides[0] }} * to - {{ pads[0] }};
        const int below = above + {{ kernel[0] }} < {{ taken[1] }} ? above + {{ kernel[0] }} : {{ taken[1] }};
        for (; made < below; made++) {
            const int y = made;
            int i = (o * {{ taken[1] }} + y) * {{ taken[2] }};
            {{ row(conv, kept) | trim | indent(12) }}
        }
        for (int at = 0; at < {{ out[2] }}; at++, i++) {
            const int before = {{ strides[1] }} * at - {{ pads[1] }};
            const int after = before + {{ kernel[1] }} < {{ taken[2] }} ? before + {{ kernel[1] }} : {{ taken[2] }};
            float sum = {{ start }};
            int seen = 0;
            for (int p = above < 0 ? 0 : above; p < below; p++)
                for (int q = before < 0 ? 0 : before; q < after; q++) {
                    const float one = {{ source }}[p % {{ kernel[0] }} * {{ taken[2] }} + q];
                    {{ join }}
                    seen++;
                }
            {{ end }}
            {{ store | indent(12) }}
        }
    }
}
