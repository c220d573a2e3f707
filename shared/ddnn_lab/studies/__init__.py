"""Studies: networks trained over seeds and folds, measured, and shown in tables and plots."""

from ddnn_lab.studies.run import run_study
from ddnn_lab.studies.study import Study, study_file

__all__ = ["Study", "run_study", "study_file"]
