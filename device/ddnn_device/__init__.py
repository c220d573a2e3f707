"""The device tier: a section beside one sensor."""
