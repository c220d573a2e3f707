int i = 0;
for (int o = 0; o < {{ out[0] }}; o++)
    for (int y = 0; y < {{ out[1] }}; y++)
        for (int x = 0; x < {{ out[2] }}; x++, i++) {
            float sum = {{ start }};
            int seen = 0;
            for (int m = 0; m < {{ kernel[0] }}; m++) {
                const int row = {{ strides[0] }} * y + {{ dilations[0] }} * m - {{ pads[0] }};
                if (row < 0 || row >= {{ taken[1] }})
                    continue;
                for (int n = 0; n < {{ kernel[1] }}; n++) {
                    const int column = {{ strides[1] }} * x + {{ dilations[1] }} * n - {{ pads[1] }};
                    if (column < 0 || column >= {{ taken[2] }})
                        continue;
                    const float one = {{ source }}[(o * {{ taken[1] }} + row) * {{ taken[2] }} + column];
                    {{ join }}
                    seen++;
                }
            }
            {{ end }}
            {{ store | indent(12) }}
        }
