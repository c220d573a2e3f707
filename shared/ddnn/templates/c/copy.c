{% for size, to, of in axes %}
for (int k{{ loop.index }} = 0; k{{ loop.index }} < {{ size }}; k{{ loop.index }}++)
{% endfor %}
    {{ target }}[{{ start }}{% for size, to, of in axes %} + {{ to }} * k{{ loop.index }}{% endfor %}] = {{ source }}[{{ first }}{% for size, to, of in axes %} + {{ of }} * k{{ loop.index }}{% endfor %}];
