"""What each message between tiers weighs, found by encoding it as a tier sends it, an event a message."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from ddnn.answers import answers_to_outputs
from ddnn.bundle import Topology
from ddnn.types import Answer, Array, Exit
from ddnn.wire import HEADER_LENGTH, Parameters, decode_request, encode_request, encode_response

__all__ = ["Messages", "Size"]

_PAYLOAD: Final = ("view", "scores", "features", "present")
_EVENT: Final = b"0" * 32
"""An event id as the client makes them: 32 characters."""


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of one message."""

    payload: int
    """The network's own tensors: views, scores, features, presence."""
    body: int
    """The whole HTTP body."""


class Messages:
    """The messages of one network, K classes."""

    def __init__(self, topology: Topology, classes: int) -> None:
        self._topology, self._classes = topology, classes

    def from_device(self, device: int, *carried: Literal["view", "scores", "features", "answered"]) -> Size:
        """What a device sends its edge; `answered`: it has answered its caller itself."""
        view, cut = self._topology.devices[device].view, self._topology.device_cut
        tensors: dict[str, Array] = {
            "view": np.zeros((1, *view.shape), view.numpy_dtype),
            "scores": self._scores,
            "features": np.zeros((1, cut.bytes if cut else 0), np.uint8),
            "answered": np.ones(1, np.bool_),
        }
        parameters: Parameters = {"device": device, "max_exit": Exit.CLOUD.value}
        return _size(parameters, {name: tensors[name] for name in carried})

    def from_edge(self, edge: int) -> Size:
        """What an edge sends the cloud of an event that nobody below was sure of."""
        topology, devices = self._topology, self._topology.edges[edge].devices
        view, cut = topology.devices[devices[0]].view, topology.device_cut
        carried: Array = np.zeros((1, len(devices), *view.shape), view.numpy_dtype)
        if cut:
            shape = (1, topology.edge_cut.bytes) if topology.edge_cut else (1, len(devices), cut.bytes)
            carried = np.zeros(shape, np.uint8)
        return _size({"edge": edge}, {"features" if cut else "view": carried, "present": self._present(edge)})

    def told(self, edge: int, exit: Exit) -> Size:
        """What one of several edges tells the cloud of an event that it settled at `exit`."""
        tensors: dict[str, Array] = {
            "scores": self._scores,
            "exit": np.array([exit.value.encode()], np.object_),
            "present": self._present(edge),
            "answered": np.ones(1, np.bool_),
        }
        return _size({"edge": edge}, tensors)

    def answer(self, exit: Exit, *, by_edge: bool) -> Size:
        """An answer on its way down, given by an edge or by the cloud; none of it is payload."""
        answer = Answer(
            label=0,
            probabilities=np.zeros(self._classes, np.float32),
            exit=exit,
            confidence=0.0,
            devices=np.ones(len(self._topology.devices), np.bool_),
            policy_version=1,
        )
        asked, headers = encode_request({"event": np.array([_EVENT], np.object_)})
        request = decode_request(asked, headers[HEADER_LENGTH])
        body, _ = encode_response(answers_to_outputs([answer], need_features=by_edge), request)
        return Size(payload=0, body=len(body))

    @property
    def _scores(self) -> Array:
        return np.zeros((1, self._classes), np.float32)

    def _present(self, edge: int) -> Array:
        return np.ones((1, len(self._topology.edges[edge].devices)), np.bool_)


def _size(parameters: Parameters, tensors: dict[str, Array]) -> Size:
    body, _ = encode_request({"event": np.array([_EVENT], np.object_), **tensors}, parameters=parameters)
    return Size(sum(array.nbytes for name, array in tensors.items() if name in _PAYLOAD), len(body))
