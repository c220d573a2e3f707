"""Everything that can go wrong, once.

DDNNError
├── BadInput              400  a request, file or flag that breaks its contract; exit code 2 on the command line
│   ├── BadBundle              a bundle that does not verify
│   ├── BadData                a data file that breaks the data contract
│   └── BadConfig              an unknown or impossible setting
├── Unauthorized          401
├── Forbidden             403
├── NotFound              404
├── MethodNotAllowed      405
├── OtherBundle           409  the two sides run different bundles
├── Conflict              409  this tier follows another, or there is nothing to go back to
├── StalePolicy           412  the policy has changed since it was read
├── TooLarge              413
├── UnsupportedEncoding   415
├── Overloaded            429  no room, or the wait would outlast the deadline
├── Unavailable           503  starting or draining
├── DeadlineExceeded      504  and nothing to answer with
├── Infeasible                 no operating point meets the objective; exit code 3
└── UplinkFailed               the upper tier gave no answer; becomes a degraded answer below
"""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "BadBundle",
    "BadConfig",
    "BadData",
    "BadInput",
    "Conflict",
    "DDNNError",
    "DeadlineExceeded",
    "Forbidden",
    "Infeasible",
    "MethodNotAllowed",
    "NotFound",
    "OtherBundle",
    "Overloaded",
    "StalePolicy",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "UnsupportedEncoding",
    "UplinkFailed",
]


class DDNNError(Exception):
    """Base of all errors of this project; the message is one sentence for the person who meets it."""

    status = 500
    """HTTP status."""
    code = "INTERNAL"
    """Stable name in the error body."""
    retryable = False
    """Whether the same request may succeed later."""
    exit_code = 1
    """Process exit code on the command line."""


class BadInput(DDNNError):
    """The caller's input breaks its contract."""

    status = 400
    code = "BAD_INPUT"
    exit_code = 2


class BadBundle(BadInput):
    """A bundle that does not verify; the message names the file."""

    code = "BAD_BUNDLE"


class BadData(BadInput):
    """A data file that breaks the data contract; the message names the array."""

    code = "BAD_DATA"


class BadConfig(BadInput):
    """An unknown or impossible setting; the message names the key."""

    code = "BAD_CONFIG"


class Unauthorized(DDNNError):
    """The bearer token is missing or wrong."""

    status = 401
    code = "UNAUTHORIZED"


class Forbidden(DDNNError):
    """The caller may not do this."""

    status = 403
    code = "FORBIDDEN"


class NotFound(DDNNError):
    """No such model or path."""

    status = 404
    code = "NOT_FOUND"


class MethodNotAllowed(DDNNError):
    """The path exists, with other methods."""

    status = 405
    code = "METHOD_NOT_ALLOWED"


class OtherBundle(DDNNError):
    """The two sides run different bundles; an answer would be wrong."""

    status = 409
    code = "OTHER_BUNDLE"


class Conflict(DDNNError):
    """This tier cannot do that as it stands."""

    status = 409
    code = "CONFLICT"


class StalePolicy(DDNNError):
    """The policy has changed since the caller read it."""

    status = 412
    code = "STALE_POLICY"


class TooLarge(DDNNError):
    """The body is larger than this tier accepts."""

    status = 413
    code = "TOO_LARGE"


class UnsupportedEncoding(DDNNError):
    """An unknown Content-Encoding."""

    status = 415
    code = "UNSUPPORTED_ENCODING"


class Overloaded(DDNNError):
    """No room, or the wait would outlast the deadline."""

    status = 429
    code = "OVERLOADED"
    retryable = True


class Unavailable(DDNNError):
    """Starting or draining."""

    status = 503
    code = "UNAVAILABLE"
    retryable = True


class DeadlineExceeded(DDNNError):
    """The deadline passed and this tier holds nothing to answer with."""

    status = 504
    code = "DEADLINE_EXCEEDED"
    retryable = True


class Infeasible(DDNNError):
    """No operating point meets the objective."""

    exit_code = 3
    code = "INFEASIBLE"

    def __init__(self, message: str, nearest: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.nearest = [*nearest]
        """What comes nearest, each giving up one limit."""


class UplinkFailed(DDNNError):
    """The upper tier gave no answer; the message says why in a few words."""

    status = 503
    code = "UPLINK_FAILED"
    retryable = True
