"""Studies: networks trained over seeds and folds, measured, and told in tables and plots."""

from ddnn.bench.run import run_study
from ddnn.bench.study import Study

__all__ = ["Study", "run_study"]
