"""A whole fleet on one machine: its processes, the sensors that play events to it, the table that shows the answers."""
