"""Fitting a policy's temperatures and thresholds on the validation split."""

from ddnn.tuning.temperature import fit_temperature, fit_temperatures
from ddnn.tuning.tune import figures, tune

__all__ = ["figures", "fit_temperature", "fit_temperatures", "tune"]
