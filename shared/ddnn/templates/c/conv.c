{% from "c/rows.c" import row %}
int i = 0;
for (int o = 0; o < {{ conv.out[0] }}; o++)
    for (int y = 0; y < {{ conv.out[1] }}; y++) {
        {{ row(conv, store) | trim | indent(8) }}
    }
