"""What a request asks besides its tensors, read from its headers and parameters."""

from collections.abc import Mapping
from functools import partial

from ddnn.errors import BadInput, OtherBundle
from ddnn.serving.case import Terms
from ddnn.serving.trace import travelling
from ddnn.types import Exit
from ddnn.wire import InferRequest

__all__ = ["read_budget", "read_terms"]

_LONGEST_MS = 600_000.0
_EXITS = {exit.value: exit for exit in Exit}


def read_budget(headers: Mapping[str, str]) -> float | None:
    """Milliseconds that the headers allow, None where they do not say; raise `BadInput`."""
    header = headers.get("x-ddnn-deadline-ms")
    if header is None:
        return None
    try:
        value = float(header)
    except ValueError:
        value = -1.0
    if not 0 <= value <= _LONGEST_MS:
        raise BadInput(f"x-ddnn-deadline-ms is {header[:40]!r}; expected 0 to {_LONGEST_MS:g} milliseconds")
    return value


def read_terms(
    request: InferRequest,
    headers: Mapping[str, str],
    *,
    arrived: float,
    budget_ms: float | None,
    default_ms: float,
    bundle: str,
    first_exit: Exit,
    request_id: str,
) -> Terms:
    """Read `max_exit`, `threshold`, `wait_ms` and `audit`; raise `BadInput`, or `OtherBundle`.

    `arrived` is the loop time at which the request came, in seconds. Its time budget is the smaller of `budget_ms`, the
    headers', and the protocol's `timeout`, in µs; `default_ms` where there is neither.
    """
    other = headers.get("x-ddnn-bundle")
    if other is not None and other != bundle:
        raise OtherBundle(f"x-ddnn-bundle is {other[:12]!r}; this tier serves {bundle[:12]!r}")
    highest, max_exit = Exit.CLOUD, request.text("max_exit")
    if max_exit is not None:
        if max_exit not in _EXITS:
            raise BadInput(f"parameter 'max_exit' is {max_exit[:40]!r}; expected one of {', '.join(Exit)}")
        highest = _EXITS[max_exit]
        if highest.rank < first_exit.rank:
            raise BadInput(f"parameter 'max_exit' is {max_exit!r}; this network's first exit is {first_exit.value!r}")
    timeout_us = request.number("timeout", 0.0, _LONGEST_MS * 1000)
    budgets = [budget_ms, timeout_us and timeout_us / 1000]
    return Terms(
        deadline=arrived + min((ms for ms in budgets if ms is not None), default=default_ms) / 1000,
        max_exit=highest,
        threshold=request.number("threshold", 0.0, 1.0),
        wait_ms=request.number("wait_ms", 0.0, _LONGEST_MS),
        audit=request.flag("audit"),
        travels=partial(travelling, headers, request_id),
    )
