"""Everything that can go wrong, once.

Exit codes of the command line: 2 where what was given is wrong (a flag, a file, an address, a token), as the status
says; 1 where it was right and did not come to pass (a check failed, a tier is away, busy or at something else); 3 where
no operating point meets an objective.

DDNNError
├── BadInput              400  a request, file or flag that breaks its contract
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
├── WorkerLost                 of processes that learn together one is gone
├── Infeasible                 no operating point meets the objective
└── UplinkFailed               the upper tier gave no answer; becomes a degraded answer below
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

__all__ = ["BadBundle", "BadConfig", "BadData", "BadInput", "Conflict"]
__all__ += ["DDNNError", "DeadlineExceeded", "Forbidden", "Infeasible"]
__all__ += [
    "MethodNotAllowed",
    "NotFound",
    "OtherBundle",
    "Overloaded",
    "StalePolicy",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
]
__all__ += ["UnsupportedEncoding", "UplinkFailed", "WorkerLost"]


_GIVEN_WRONG: Final = frozenset({400, 401, 403, 404, 405, 413, 415})  #: statuses that other input would mend


class DDNNError(Exception):
    """Base of all errors of this project; the message is one sentence for the person who meets it."""

    status: ClassVar[int] = 500  #: HTTP status
    code: ClassVar[str] = "INTERNAL"  #: stable name in the error body; of a subclass its own name: `BAD_INPUT`
    retryable: ClassVar[bool] = False  #: whether the same request may succeed later
    exit_code: ClassVar[int] = 1  #: on the command line; of a subclass by its status, unless it has its own

    def __init_subclass__(cls, **differing: int) -> None:
        """What differs from the base is given by name: `class Overloaded(DDNNError, status=429, retryable=True)`."""
        cls.code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).upper()
        for name, value in differing.items():
            setattr(cls, name, value)
        if "exit_code" not in differing and "status" in differing:
            cls.exit_code = 2 if cls.status in _GIVEN_WRONG else 1


class BadInput(DDNNError, status=400):
    """The caller's input breaks its contract."""


class BadBundle(BadInput):
    """A bundle that does not verify; the message names the file."""


class BadData(BadInput):
    """A data file that breaks the data contract; the message names the array."""


class BadConfig(BadInput):
    """An unknown or impossible setting; the message names the key."""


class Unauthorized(DDNNError, status=401):
    """The bearer token is missing or wrong."""


class Forbidden(DDNNError, status=403):
    """The caller may not do this."""


class NotFound(DDNNError, status=404):
    """No such model or path."""


class MethodNotAllowed(DDNNError, status=405):
    """The path exists, with other methods."""


class OtherBundle(DDNNError, status=409):
    """The two sides run different bundles; an answer would be wrong."""


class Conflict(DDNNError, status=409):
    """This tier cannot do that as it stands."""


class StalePolicy(DDNNError, status=412):
    """The policy has changed since the caller read it."""


class TooLarge(DDNNError, status=413):
    """The body is larger than this tier accepts."""


class UnsupportedEncoding(DDNNError, status=415):
    """An unknown Content-Encoding."""


class Overloaded(DDNNError, status=429, retryable=True):
    """No room, or the wait would outlast the deadline."""


class Unavailable(DDNNError, status=503, retryable=True):
    """Starting or draining."""


class DeadlineExceeded(DDNNError, status=504, retryable=True):
    """The deadline passed and this tier holds nothing to answer with."""


class WorkerLost(DDNNError):
    """Of processes that learn together one is gone, and the others cannot go on without it."""


class Infeasible(DDNNError, exit_code=3):
    """No operating point meets the objective."""

    def __init__(self, message: str, nearest: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.nearest = [*nearest]
        """What comes nearest, each giving up one limit."""


class UplinkFailed(DDNNError, status=503, retryable=True):
    """The upper tier gave no answer; the message says why in a few words."""
