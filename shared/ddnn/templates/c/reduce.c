int i = 0;
{% for size, step in kept %}
for (int k{{ loop.index }} = 0; k{{ loop.index }} < {{ size }}; k{{ loop.index }}++)
{% endfor %}
{
    float sum = {{ start }};
{% for size, step in gone %}
    for (int r{{ loop.index }} = 0; r{{ loop.index }} < {{ size }}; r{{ loop.index }}++)
{% endfor %}
    {
        const float one = {{ source }}[{% for size, step in kept %}{{ step }} * k{{ loop.index }} + {% endfor %}{% for size, step in gone %}{{ step }} * r{{ loop.index }} + {% endfor %}0];
        {{ join }}
    }
    {{ end }}
    {{ store | indent(4) }}
    i++;
}
