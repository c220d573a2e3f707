"""A fleet in trouble: troubles, what they must not do, and a soak of them."""

__all__: list[str] = []
