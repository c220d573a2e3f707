"""The laboratory: what measures the product, as an extra. It may import ddnn; nothing imports it."""

__all__: list[str] = []
