"""Fitting a policy's temperatures and thresholds on the validation split."""

from ddnn.tuning.calibration import fit_temperature, fit_temperatures
from ddnn.tuning.objective import Objective
from ddnn.tuning.report import change, show
from ddnn.tuning.tune import Chosen, choose, figures, tune

__all__ = ["Chosen", "Objective", "change", "choose", "figures", "fit_temperature", "fit_temperatures", "show", "tune"]
