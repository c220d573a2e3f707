int i = 0;
for (int b = 0; b < {{ batch }}; b++)
    for (int m = 0; m < {{ rows }}; m++)
        for (int o = 0; o < {{ columns }}; o++, i++) {
            {{ number }} sum = 0;
            for (int k = 0; k < {{ inner }}; k++) {
                const int a = {{ a }};
                const int w = {{ w }};
                {{ product | indent(16) }}
            }
            {{ store | indent(12) }}
        }
