"""The control room: what tiers tell upward of themselves, a picture of the fleet made of it, a page that shows it."""
