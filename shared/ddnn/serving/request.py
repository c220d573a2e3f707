"""What a request asks besides its tensors, read from its headers and parameters, and what its tensors must be."""

import asyncio
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import getrandbits
from typing import Any, Final, NamedTuple

from ddnn.answers import OUTPUTS
from ddnn.errors import BadInput, OtherBundle
from ddnn.identity import Peer
from ddnn.topology import Input, Topology
from ddnn.types import Array, Exit
from ddnn.wire import InferRequest

__all__ = ["AUDIT_S", "RequestOptions", "Stage", "TensorSpec", "answer_tensors", "input_tensor"]
__all__ += ["read_budget", "read_options", "request_id", "reserve", "row_ids"]

AUDIT_S: Final = 2.0  #: how long an audit may take at each tier; no caller waits for it
_LONGEST_MS: Final = 600_000.0
_EVENT_ID_BYTES: Final = 256
_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
_TRACEPARENT: Final = re.compile(rb"00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})")


class Stage(NamedTuple):
    """Where time went."""

    name: str  #: `queue`, an exit's name (its section), `uplink`, …
    seconds: float
    began: float  #: by `time.perf_counter`; events that went through a stage together have this in common


@dataclass(slots=True)
class RequestOptions:
    """What one request asks besides its tensors, and where its time went."""

    deadline: float  #: loop time, in seconds, by which the answer must be out
    max_exit: Exit = Exit.CLOUD  #: answer no higher than this exit
    threshold: float | None = None  #: instead of the policy's threshold at every exit that has one above 0
    wait_ms: float | None = None  #: instead of the policy's straggler timeout: wait for every child, alive or not
    caller: str = ""  #: whose shares what is held for it counts in
    audit: bool = False  #: its answer is compared with one already given, and counted nowhere
    peer: Peer | None = None  #: the tier that sent it, where certificates say so
    request_id: str = ""
    traceparent: bytes = b""
    span: str = ""  #: of this hop, where it is traced
    stages: list[Stage] = field(default_factory=list)  #: where the time of its events went
    upper_timings: list[str] = field(default_factory=list)  #: `Server-Timing` of the tiers above, as they came
    late: int = 0  #: rows that were answered with what there was, because the time was over

    def of_audit(self) -> "RequestOptions":
        """Those of an audit of an event that came with these."""
        deadline, traced = asyncio.get_running_loop().time() + AUDIT_S, self.traceparent
        return RequestOptions(
            deadline, threshold=0.0, audit=True, request_id=self.request_id, traceparent=traced, span=self.span
        )

    @property
    def own_terms(self) -> bool:
        """Whether it wants to be answered otherwise than the policy says."""
        return self.threshold is not None or self.max_exit is not Exit.CLOUD

    def of_event(self) -> "RequestOptions":
        """Those of an event that comes with this request and belongs to other callers too: whose it is, no terms."""
        return RequestOptions(
            self.deadline,
            caller=self.caller,
            request_id=self.request_id,
            traceparent=self.traceparent,
            span=self.span,
        )

    def headers(self) -> dict[str, str]:
        """Headers of the request upward: the same request id, the same trace with this hop as its parent."""
        if not self.request_id:
            return {}
        match = _TRACEPARENT.fullmatch(self.traceparent)
        trace, flags = (part.decode() for part in match.groups()) if match else (secrets.token_hex(16), "00")
        parent = self.span or secrets.token_hex(8)
        return {"x-request-id": self.request_id, "traceparent": f"00-{trace}-{parent}-{flags}"}


def request_id(given: bytes) -> str:
    """The caller's `x-request-id` if it is printable and at most 128 characters, else a new one."""
    # Unique, not secret: a secret costs several times as much.
    return given.decode() if _REQUEST_ID.fullmatch(given) else f"{getrandbits(128):032x}"


def read_budget(headers: Mapping[bytes, bytes], most_ms: float) -> float | None:
    """Milliseconds that the headers allow, at most `most_ms`; None where they do not say; raise `BadInput`."""
    header = headers.get(b"x-ddnn-deadline-ms")
    if header is None:
        return None
    try:
        value = float(header)
    except ValueError:
        value = -1.0
    if not 0 <= value <= _LONGEST_MS:
        shown = header[:40].decode("latin-1")
        raise BadInput(f"x-ddnn-deadline-ms is {shown!r}; expected 0 to {_LONGEST_MS:g} milliseconds")
    return min(value, most_ms)


def read_options(
    request: InferRequest,
    headers: Mapping[bytes, bytes],
    *,
    arrived: float,
    budget_ms: float | None,
    default_ms: float,
    most_ms: float,
    bundle: str,
    exits: Mapping[str, Exit],
    request_id: str,
    caller: str,
    peer: Peer | None = None,
) -> RequestOptions:
    """Read the options of a request that came at loop time `arrived`; raise `BadInput`, or `OtherBundle`.

    Its time is the smaller of `budget_ms` and the protocol's `timeout`, in µs; `default_ms` where there is
    neither; `most_ms` at most.
    """
    other, asked = headers.get(b"x-ddnn-bundle"), request.parameters
    if other is not None and other != bundle.encode():
        raise OtherBundle(f"x-ddnn-bundle is {other[:12].decode('latin-1')!r}; this tier serves {bundle[:12]!r}")
    max_exit = exits.get(asked.get("max_exit", Exit.CLOUD))  # type: ignore[arg-type]
    if max_exit is None:
        given, known, first = request.text("max_exit") or "", ", ".join(Exit), next(iter(exits))
        why = f"this network's first exit is {first!r}" if given in set(Exit) else f"expected one of {known}"
        raise BadInput(f"parameter 'max_exit' is {given[:40]!r}; {why}")
    budgets = [] if budget_ms is None else [budget_ms]
    if "timeout" in asked:
        budgets.append((request.number("timeout", 0.0, _LONGEST_MS * 1000) or 0.0) / 1000)
    return RequestOptions(
        deadline=arrived + min(*budgets, most_ms) / 1000 if budgets else arrived + default_ms / 1000,
        max_exit=max_exit,
        threshold=request.number("threshold", 0.0, 1.0) if "threshold" in asked else None,
        wait_ms=request.number("wait_ms", 0.0, _LONGEST_MS) if "wait_ms" in asked else None,
        audit="audit" in asked and request.flag("audit"),
        peer=peer,
        request_id=request_id,
        caller=caller,
        traceparent=headers.get(b"traceparent", b""),
    )


@dataclass(frozen=True)
class TensorSpec:
    """One tensor as the protocol's metadata describes it; -1 in `shape` is the batch, or any size up to `most`."""

    name: str
    datatype: str
    shape: Sequence[int]
    optional: bool = False
    most: int = 0
    unpack: Callable[[Array], Array] | None = None  #: raises `BadInput` for a file that cannot be read
    missing: bool = False  #: NaN and infinity are taken, as numbers that are missing

    @property
    def largest(self) -> tuple[int, ...]:
        """Its shape with the largest sizes there may be; the batch stays -1."""
        return (self.shape[0], *(self.most if size == -1 else size for size in self.shape[1:]))

    def metadata(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}
        return {**entry, "parameters": {"optional": True}} if self.optional else entry


def input_tensor(
    topology: Topology, given: Input, child: int, classes: int, *places: int, optional: bool = False
) -> TensorSpec:
    """What a section takes of child number `child`, [B, …], or of so many places, [B, places, …]."""
    codec, shape = topology.codec(given, child), topology.shape(given, child, classes)
    unpack = partial(codec.unpack, shape=shape) if codec.datatype == "BYTES" else None
    missing, sizes = given.what == "view" and topology.devices[child].view.missing, codec.wire_shape(shape)
    return TensorSpec(given.what, codec.datatype, (-1, *places, *sizes), optional, unpack=unpack, missing=missing)


def answer_tensors(classes: int, devices: int, *, need_features: bool, named: bool = False) -> list[TensorSpec]:
    """What every tier gives; `need_features`: it also says whose features it wants; `named`: it names classes."""
    sizes = {"B": -1, "K": classes, "D": devices}
    return [
        TensorSpec(name, datatype, [sizes[letter] for letter in letters])
        for name, (datatype, letters) in OUTPUTS.items()
        if {"need_features": need_features, "class_name": named}.get(name, True)
    ]


def row_ids(request: InferRequest, name: str, most: int) -> list[bytes | None]:
    """The event ids of the 1 to `most` rows of tensor `name`, None each where there are none; raise `BadInput`."""
    array = request.inputs.get(name)
    rows = array.shape[0] if array is not None and array.ndim else 1
    if not 1 <= rows <= most:
        raise BadInput(f"input tensor {name!r} has {rows} rows; expected 1 to {most}")
    if "event" not in request.inputs:
        return [None] * rows
    ids: list[bytes] = request.take("event", "BYTES", (rows,)).tolist()
    for event in ids:
        if not 0 < len(event) <= _EVENT_ID_BYTES:
            raise BadInput(f"input tensor 'event' holds an id of {len(event)} bytes; expected 1 to {_EVENT_ID_BYTES}")
    if len(set(ids)) < len(ids):
        raise BadInput("input tensor 'event' names an event twice; expected each row to be another event")
    return [*ids]


def reserve(left: float) -> float:
    """Seconds of `left` that a tier keeps for itself when it hands a deadline up: a tenth, 5 to 50 ms."""
    return min(max(left / 10, 0.005), 0.05)
