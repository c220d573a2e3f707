"""The cloud tier: takes what the edge was not sure of, and always answers."""
