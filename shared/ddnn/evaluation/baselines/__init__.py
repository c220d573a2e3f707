"""What a result should be compared with; numpy only, and Pillow for JPEG."""

from ddnn.evaluation.baselines.exits import OracleExit, exit_alone, exit_labels, oracle_exit, random_offload
from ddnn.evaluation.baselines.jpeg import Jpeg, jpeg_views
from ddnn.evaluation.baselines.linear import linear, linear_alone
from ddnn.evaluation.baselines.majority import majority
from ddnn.evaluation.baselines.nearest import nearest
from ddnn.evaluation.baselines.presence import presence

__all__ = [
    "Jpeg",
    "OracleExit",
    "exit_alone",
    "exit_labels",
    "jpeg_views",
    "linear",
    "linear_alone",
    "majority",
    "nearest",
    "oracle_exit",
    "presence",
    "random_offload",
]
