"""The device's side: its own views and section, of which scores and features go up and gradients come back."""

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ddnn.data import Dataset
from ddnn.errors import BadData, BadInput
from ddnn.network import DDNN
from ddnn.network.products import halved
from ddnn.network.quantise import clip_weights, sign, signed_weights
from ddnn.topology import View
from ddnn.training.config import Config
from ddnn.training.initial import initial_network, keep_norms, optimizer_of
from ddnn.training.loader import augment
from ddnn.training.split.wire import LEARN, STATE, Answer, Cut, Order
from ddnn.types import Array, Tier

__all__ = ["Device", "alone_of", "cut_of", "state_of", "take_state"]


class Device:
    """One device of a group: it has its views of the training events, and the labels of none.

    Args:
        config: The whole network's, and how it learns: as the server has it.
        index: Which device this is.
        view: (N, *shape) what it saw of the training events, in the order in which the server has their labels.
        present: (N,) of which events it saw anything.
        shapes: What views all devices have, this one's among them.
        classes: How many there are.
        seed: Makes the first weights, as at the server.
    """

    def __init__(
        self, config: Config, index: int, view: Array, present: Array, *, shapes: list[View], classes: int, seed: int
    ) -> None:
        if View.of(view).shape != shapes[index].shape or not len(view):
            found = f"device {index} has {len(view)} views of the shape {list(view.shape[1:])}"
            raise BadData(f"{found}; expected some of {list(shapes[index].shape)}")
        self.index, self.events, self._config = index, len(view), config.training
        network = initial_network(config, _mine(index, view, present, shapes, classes), seed)
        self._section, self._cut = network.devices[index], cut_of(network, index)
        self._quantise = network.cut(Tier.DEVICE)
        self._moments = network.inputs[index].mean, network.inputs[index].spread
        self._view, self._optimizer = view, optimizer_of(config.training, list(self._section.parameters()))
        self._signed, self._said = signed_weights(self._section), (torch.zeros(0), torch.zeros(0))
        self._chance = torch.Generator().manual_seed(seed * 1009 + index)

    def obey(self, body: bytes) -> bytes:
        """What it makes of an order; raise `BadInput` for one that asks for what it does not have."""
        order = Order.unpacked(body)
        if order.gradients is not None:
            self._learn(order.gradients, order.rate)
        if order.kind == LEARN:
            assert order.rows is not None
            return Answer(LEARN, order.turn, self._run(order.rows)).packed()
        if order.kind == STATE:
            return Answer(STATE, order.turn, state_of(self._section)).packed()
        take_state(self._section, order.state, f"device {self.index}")
        self._optimizer.state.clear()  # of weights that it has no more
        self._said = torch.zeros(0), torch.zeros(0)
        return Answer(order.kind, order.turn).packed()

    def _run(self, rows: Tensor) -> bytes:
        if len(rows) < 1 or int(rows.max()) >= self.events:
            raise BadInput(f"the server asks for events up to {int(rows.max())}; this device has {self.events}")
        self._section.train()
        if self._config.norms == "keep":
            keep_norms(self._section)
        view = torch.from_numpy(np.ascontiguousarray(self._view[rows.numpy()]))
        with torch.random.fork_rng(), halved():
            torch.manual_seed(int(torch.randint(2**62, (), generator=self._chance)))
            (view,) = augment([view], [self._moments], None, self._config)
            scores, cuts = self._section(view)
            features = sign(cuts) if self._cut.signs else cuts
        self._said = scores, features
        return self._cut.packed(scores, features)

    def _learn(self, gradients: Tensor, rate: float) -> None:
        said = self._said
        if len(said[0]) * self._cut.values != len(gradients):
            found = f"{len(gradients)} gradients came for {len(said[0])} events"
            raise BadInput(f"{found}; expected {len(said[0]) * self._cut.values}")
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad()
        with halved():
            torch.autograd.backward(said, self._cut.gradients(gradients))
        self._optimizer.step()
        clip_weights(self._signed)
        self._said = torch.zeros(0), torch.zeros(0)


def alone_of(data: Dataset, index: int) -> tuple[Array, Array]:
    """What one device has of a data set: its views of the training events, in their order, and which it saw."""
    rows = np.flatnonzero(data.split == "train")
    return data.views[index][rows], data.present[rows, index]


def cut_of(network: DDNN, index: int) -> Cut:
    """What a device's section gives upward."""
    sections = network.topology.sections
    section = next(each for each in sections if each.features and (each.tier, each.index) == (Tier.DEVICE, index))
    assert section.features is not None
    return Cut(network.plan.classes, tuple(section.features.shape), section.features.codec)


def state_of(section: torch.nn.Module) -> bytes:
    """A section's weights and statistics, as safetensors."""
    return save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in section.state_dict().items()})


def take_state(section: torch.nn.Module, body: bytes, whose: str) -> None:
    """Give a section such weights; raise `BadInput` where they are not its own, or no numbers."""
    try:
        state = load(body)
    except SafetensorError as error:
        raise BadInput(f"the weights of {whose} cannot be read ({error}); expected safetensors") from error
    if not all(torch.isfinite(tensor).all() for tensor in state.values() if tensor.is_floating_point()):
        raise BadInput(f"the weights of {whose} are no numbers; expected finite ones")
    try:
        section.load_state_dict(state)
    except RuntimeError as error:
        raise BadInput(f"the weights of {whose} do not fit: {str(error).splitlines()[-1].strip()}") from error


def _mine(index: int, view: Array, present: Array, shapes: list[View], classes: int) -> Dataset:
    """The events as this device alone knows them: without labels, and with nothing where others see something."""
    count = len(view)
    views = [np.broadcast_to(np.zeros((), each.numpy_dtype), (count, *each.shape)) for each in shapes]
    views[index] = view
    seen = np.zeros((count, len(shapes)), np.bool_)
    seen[:, index] = present
    y = np.zeros(count, np.int64)
    return Dataset(
        name=f"device {index}", views=tuple(views), y=y, y_dev=np.repeat(y[:, None], len(shapes), axis=1),
        present=seen, classes=tuple(str(each) for each in range(classes)), split=np.full(count, "train", "<U10"),
        grid=None, index=np.arange(count), fingerprint="", source={},
    )  # fmt: skip
