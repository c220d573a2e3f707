"""Why the upper tier gave no answer."""

from typing import Literal

from ddnn.errors import UplinkFailed

__all__ = ["NoReply", "Reason"]

Reason = Literal[
    "unreachable",  # no connection, or it broke
    "timeout",  # no answer before the deadline
    "refused",  # 429 or 503: no room, starting or draining
    "circuit_open",  # held off after failures, not even tried
    "other_bundle",  # 409
    "unauthorized",  # 401 or 403
    "bad_answer",  # 200, and what came makes no sense
    "error",  # any other status
    "deadline",  # no budget left to try with
]


class NoReply(UplinkFailed):
    """The upper tier gave no usable reply; `reason` is the slug for metrics and `degraded_reason`."""

    def __init__(
        self, reason: Reason, message: str, *, again: bool = False, after_s: float | None = None, lives: bool = False
    ) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.again = again
        """Whether another try may be worth it."""
        self.after_s = after_s
        """What the tier above asked to wait before that, in seconds."""
        self.lives = lives
        """Whether it shows that the tier above lives all the same: a fault of configuration."""
