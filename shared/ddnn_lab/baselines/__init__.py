"""What a result should be compared with; numpy only, and Pillow for JPEG."""

from ddnn_lab.baselines.jpeg import Jpeg, jpeg_views
from ddnn_lab.baselines.linear import linear, linear_alone
from ddnn_lab.baselines.majority import majority
from ddnn_lab.baselines.nearest import nearest
from ddnn_lab.baselines.presence import presence

__all__ = [
    "Jpeg",
    "jpeg_views",
    "linear",
    "linear_alone",
    "majority",
    "nearest",
    "presence",
]
