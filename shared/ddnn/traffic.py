"""Bytes of an event on each link: the one count of them, for tiers, dry runs, evaluation and tuning.

Payload = the network's own tensors; body = whole HTTP bodies, as of one event a message: gathered ones need fewer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from ddnn.answers import answers_to_outputs
from ddnn.codec import payload_of
from ddnn.exits import NOBODY
from ddnn.topology import Input, Topology
from ddnn.types import Answer, Array, Bools, Exit, Ints, Tier
from ddnn.wire import HEADER_LENGTH, Parameters, decode_request, encode_request, encode_response

__all__ = ["Crossed", "Messages", "Offload", "Size", "communication_bytes", "crossings"]

Offload = Literal["staged", "eager"]
_EVENT: Final = b"0" * 32  #: an event id as the client makes them: 32 characters


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of one message."""

    payload: int
    body: int


class Messages:
    """The messages of one network and how much each weighs."""

    def __init__(self, topology: Topology, classes: int) -> None:
        self._topology, self._classes = topology, classes

    def from_device(self, device: int, carried: Sequence[Input], *, answered: bool = False) -> Size:
        """What a device sends its edge, without the file if that is a view; `answered`: it has answered its caller."""
        tensors: dict[str, Array] = {given.what: self._row(given, device) for given in carried}
        if self._topology.views in carried:
            tensors["view"] = _emptied(tensors["view"])
        if answered:
            tensors["answered"] = np.ones(1, np.bool_)
        return _size({"device": device, "max_exit": Exit.CLOUD.value}, tensors)

    def from_edge(self, edge: int) -> Size:
        """What an edge sends the cloud of an event that no exit below was sure of; of views that are files, none."""
        devices, tensors = self._topology.edges[edge].devices, dict[str, Array]()
        for given in self._topology.sent(Tier.EDGE):
            own = given.child is Tier.EDGE
            rows = [self._row(given, child) for child in ([edge] if own else devices)]
            if given.when == "asked":
                rows = [_emptied(row) for row in rows]
            if own or self._topology.rows(given, devices):
                tensors[given.what] = np.concatenate(rows, axis=-1)
            else:
                tensors[given.what] = np.stack(rows, axis=1)
        return _size({"edge": edge}, {**tensors, "present": self._present(edge)})

    def answered(self, edge: int, exit: Exit) -> Size:
        """What one of several edges sends the cloud of an event that it settled at `exit`."""
        tensors: dict[str, Array] = {
            "scores": self._topology.score_codec(exit).sample((self._classes,)),
            "exit": np.array([exit.value.encode()], np.object_),
            "present": self._present(edge),
            "answered": np.ones(1, np.bool_),
        }
        return _size({"edge": edge}, tensors)

    def answer(self, exit: Exit, *, by_edge: bool) -> Size:
        """An answer on its way down, given by an edge or by the cloud; none of it is payload."""
        devices = np.ones(len(self._topology.devices), np.bool_)
        answer = Answer(0, np.zeros(self._classes, np.float32), exit, 0.0, devices, policy_version=1)
        asked, headers = encode_request({"event": np.array([_EVENT], np.object_)})
        request = decode_request(asked, headers[HEADER_LENGTH])
        body, _ = encode_response(answers_to_outputs([answer], need_features=by_edge), request)
        return Size(payload=0, body=len(body))

    @property
    def file(self) -> int:
        """Usual bytes of the file that a view goes up as, if the cloud asks for such."""
        given = self._topology.views
        if given is None or self._topology.codec(given).datatype != "BYTES":
            return 0
        return given.mean_bytes or self._topology.bytes(given, 0, self._classes)

    def _row(self, given: Input, child: int) -> Array:
        return self._topology.codec(given, child).sample(self._topology.shape(given, child, self._classes))

    def _present(self, edge: int) -> Array:
        return np.ones((1, len(self._topology.edges[edge].devices)), np.bool_)


def _emptied(row: Array) -> Array:
    """A row of files, or of anything else as it is, without them."""
    if row.dtype != np.object_:
        return row
    empty = np.empty(row.shape, np.object_)
    empty[...] = b""
    return empty


def _size(parameters: Parameters, tensors: dict[str, Array]) -> Size:
    body, _ = encode_request({"event": np.array([_EVENT], np.object_), **tensors}, parameters=parameters)
    return Size(payload_of(tensors), len(body))


@dataclass(frozen=True, slots=True)
class Crossed:
    """Bytes of each event that cross one link, (N,) each."""

    payload: Ints
    body: Ints

    @classmethod
    def nothing(cls, events: int) -> "Crossed":
        """No bytes yet."""
        return cls(np.zeros(events, np.int64), np.zeros(events, np.int64))

    def add(self, events: Bools, size: Size) -> None:
        """Add a message for each of `events` (N,)."""
        self.payload[events] += size.payload
        self.body[events] += size.body

    def add_files(self, bytes: Ints, places: int) -> None:
        """Add what the files in a tensor of so many `places` take, (N,), to messages counted without them."""
        digits = np.char.str_len((bytes + 4 * places).astype(str)) - len(str(4 * places))
        self.payload[:] += bytes
        self.body[:] += bytes + np.where(bytes > 0, digits, 0)

    def per_event(self) -> dict[str, float]:
        """The mean of each."""
        return {"payload": int(self.payload.sum()) / len(self.payload), "body": int(self.body.sum()) / len(self.body)}


def crossings(
    topology: Topology,
    classes: int,
    present: Bools,
    sure: Bools,
    settled: Ints,
    offload: Offload,
    *,
    asked: Bools | None = None,
    view_bytes: Ints | None = None,
) -> tuple[Crossed, Crossed]:
    """What each event sends from its devices to their edges, and from the edges to the cloud.

    `present` (N, D) are the devices that took part, `sure` (N, D) those that answered themselves, `settled` (N, E) the
    rank of the exit at which each edge settled its event, `NOBODY` where it sent it up or saw nothing. Where the cloud
    asks for views: `asked` (N, D) whose, by default the first ones', and their `view_bytes` (N, D), by default usual.
    """
    devices, cloud = Crossed.nothing(len(present)), Crossed.nothing(len(present))
    messages = Messages(topology, classes)
    views, always = topology.views, topology.sent(Tier.DEVICE)
    later = tuple(given for given in topology.sent(Tier.DEVICE, "asked") if given != views)
    if views and asked is None:
        asked = present & (present.cumsum(axis=1) <= (views.most or len(topology.devices)))
    files = np.full(present.shape, messages.file) if view_bytes is None else view_bytes
    first = always if offload == "staged" else (*always, *later)
    for index, edge in enumerate(topology.edges):
        mine = settled[:, index]
        more = np.isin(mine, (NOBODY, Exit.EDGE.rank)) if offload == "staged" else np.zeros_like(present[:, 0])
        for device in edge.devices:
            there, unsure = present[:, device], present[:, device] & ~sure[:, device]
            if len(topology.devices) > 1:  # a sure device that is alone is the local exit: nothing waits for it
                devices.add(there & sure[:, device], messages.from_device(device, always, answered=True))
            devices.add(unsure, messages.from_device(device, first))
            if later:
                devices.add(there & more, messages.from_device(device, later))
            if views and asked is not None:
                sent = asked[:, device] & (mine == NOBODY)
                devices.add(sent, messages.from_device(device, (views,)))
                devices.add_files(sent * files[:, device], 1)
        some = np.asarray(present[:, edge.devices].any(axis=1))
        up = some & (mine == NOBODY)
        cloud.add(up, messages.from_edge(index))
        if views and asked is not None:
            cloud.add_files(up * (asked * files)[:, edge.devices].sum(axis=1), len(edge.devices))
        if len(topology.edges) > 1:
            for exit in Exit:  # the other edges' callers wait for what this one already answered
                cloud.add(some & (mine == exit.rank), messages.answered(index, exit))
    return devices, cloud


def communication_bytes(classes: int, filters: int, values: int, local_share: float) -> float:
    """Bytes a device and event by the paper: c = 4·|C| + (1 − l)·f·o / 8 (DDNN paper, equation 1).

    4 bytes for each of |C| scores; one bit for each of the `values` o of each of the `filters` f, but of the share l
    that exits locally. It counts neither headers, nor answers, nor edge → cloud.
    """
    return 4 * classes + (1 - local_share) * filters * values / 8
