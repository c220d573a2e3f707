"""Where a training starts: first weights, weights from elsewhere, sections that keep theirs, what moves the others."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from ddnn.data import Dataset
from ddnn.errors import BadConfig
from ddnn.network import DDNN, Plan
from ddnn.network.normalise import Normalise
from ddnn.topology import View
from ddnn.training.config import Config, TrainingConfig
from ddnn.training.fitting import fit_encodings
from ddnn.training.moments import fit_inputs

__all__ = ["initial_network", "keep_norms", "load_weights", "optimizer_of", "sections_named", "statistics_of"]


def initial_network(config: Config, data: Dataset, seed: int) -> DDNN:
    """The network before training: weights by `seed`, input normalisation by the training events."""
    views = [View.of(view, data.picture) for view in data.views]
    plan = Plan.of(config.network, views, len(data.classes))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = DDNN(plan)
    fit_inputs(network, data)
    fit_encodings(network, data)
    return network


def load_weights(network: DDNN, state: Mapping[str, Tensor], what: str) -> None:
    """Load weights; raise `BadConfig` naming the first tensor that does not fit."""
    for name, module in network.named_modules():
        if isinstance(module, Normalise):
            module.take_form(state, f"{name}.")
    own = network.state_dict()
    state = {name: own[name] for name in network.built_in} | dict(state)
    for name in [*own, *sorted(state.keys() - own.keys())]:
        mine, other = (f"{tuple(kept[name].shape)}" if name in kept else "none" for kept in (own, state))
        if mine != other:
            section = ".".join(part for part in name.split(".")[:2] if part.isdigit() or part == name.split(".")[0])
            raise BadConfig(f"{section}: {what} have {name} of shape {other}; expected {mine}, as the network has it")
    network.load_state_dict(state)


def sections_named(network: DDNN, names: Collection[str]) -> list[nn.Module]:
    """The sections of these names; raise `BadConfig` for one that the network does not have."""
    known: dict[str, list[nn.Module]] = {"cloud": [network.cloud]}
    for exit, sections in (("device", network.devices), ("local", network.locals), ("edge", network.edges)):
        if len(sections):
            known[exit] = [*sections]
            known |= {f"{exit}_{index}": [section] for index, section in enumerate(sections)}
    for name in names:
        if name not in known:
            expected = f"expected some of {', '.join(known)}"
            raise BadConfig(f"freeze names {name}, which this network does not have; {expected}")
    return [section for name in names for section in known[name]]


def optimizer_of(config: TrainingConfig, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
    """What moves the weights; its rate is set before each step."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(weights, lr=0.0, weight_decay=config.weight_decay, fused=True)
    return torch.optim.AdamW(weights, lr=0.0, weight_decay=config.weight_decay, fused=True)


def statistics_of(network: nn.Module) -> list[Tensor]:
    """Running means and variances of the batch norms: what a network gathers of its events without a gradient."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    return [getattr(norm, name) for norm in norms for name in ("running_mean", "running_var")]


def keep_norms(network: nn.Module) -> None:
    """Let the batch norms use the statistics that they have, and gather none, while all else learns."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eval()
