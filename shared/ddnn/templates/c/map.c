for (int i = 0; i < {{ size }}; i++) {
    {{ store | indent(4) }}
}
