"""Fitting a policy's temperatures and thresholds on the validation split."""

from ddnn.tuning.calibration import fit_temperatures
from ddnn.tuning.cost import CostModel
from ddnn.tuning.guarantee import Risk
from ddnn.tuning.objective import Objective
from ddnn.tuning.sample import Sample
from ddnn.tuning.tune import Chosen, Tuned, choose, tune, tune_policy

__all__ = ["Chosen", "CostModel", "Objective", "Risk", "Sample", "Tuned"]
__all__ += ["choose", "fit_temperatures", "tune", "tune_policy"]
