"""Plots of the laboratory: of studies and of drifting streams."""
