"""Each way to learn together, priced for one network: an epoch's messages, bytes and worst time of communication."""

from collections.abc import Iterator
from typing import Any, Final

from ddnn.bundle import Bundle
from ddnn.links import LinkShape
from ddnn.network import DDNN
from ddnn.training.config import Config, WorkersConfig
from ddnn.training.distributed.analysis import ALL_REDUCE, PASSES, Link, model_of, network_of, work_of
from ddnn.training.distributed.cost import VALUE, Exchanged, Model, averaged, exchanged, rounds, served
from ddnn.training.split.wire import Cut
from ddnn.types import Tier

__all__ = ["priced"]

_SERVED: Final = {
    "softsync": "2 P (α + b m β)",
    "downpour": "no barrier; P (2 α + b m β) at a port",
    "admm": "2 P (α + b m β)",
}


def priced(
    bundle: Bundle,
    config: Config,
    workers: int,
    every: int,
    fetch_every: int,
    batch: int,
    events: int,
    shape: LinkShape,
) -> dict[str, Any]:
    """An epoch of `events` in batches of `batch` by so many workers, each behind a link of `shape`.

    What a run of `ddnn train --workers` hands to its transport is `counted`, to the byte; what a topology or a method
    sends is derived from the standard model, one port a machine.
    """
    network, steps = network_of(bundle), max(events // batch, 1)
    model = model_of(network, moments=config.training.optimizer == "adamw")
    work = work_of(network, [device.view for device in bundle.topology.devices])
    link = Link(shape.round_trip_s / 2, shape.seconds(1))
    wished = {"count": workers, "every": every, "fetch_every": fetch_every}
    rows = [*_modes(wished, model, steps, link), *_others(bundle, model, network, workers, every, steps, events, link)]
    return {
        "model": {"learning": model.learning, "statistics": model.statistics, "values": model.values},
        "workers": workers,
        "steps": steps,
        "link": str(shape),
        "modes": rows,
        "work": {
            "whole": work.whole,
            "depth": work.depth,
            "parallelism": work.parallelism,
            "pipeline": work.pipeline,
            "step": PASSES * work.whole * batch // workers,
            "devices": list(work.devices),
            "edges": list(work.edges),
            "cloud": work.cloud,
        },
    }


def _modes(wished: dict[str, int], model: Model, steps: int, link: Link) -> Iterator[dict[str, Any]]:
    """Those of `ddnn train`."""
    count = wished["count"]
    for mode in ("sync", "average"):
        workers = WorkersConfig.model_validate({**wished, "mode": mode})
        each, counted = rounds(workers, steps), exchanged(workers, model, steps)
        size = counted.sent / each
        for topology, (formula, share, seconds) in ALL_REDUCE.items():
            sent = round(share(count) * counted.sent)
            messages = each * {"server": 2, "tree": 2, "ring": 2 * (count - 1)}.get(topology, _twice_log(count))
            there = 2 * count * counted.sent if topology == "server" else 0
            yield {
                **_row(f"{mode}, {topology}", Exchanged(messages, sent, sent), there),
                "seconds": each * seconds(count, size, link),
                "formula": formula,
                "counted": counted.document(),
            }
    for mode, formula in _SERVED.items():
        workers = WorkersConfig.model_validate({**wished, "mode": mode})
        counted, server = exchanged(workers, model, steps), served(workers, model, steps)
        alone = counted.messages * link.latency_s + (counted.sent + counted.received) * link.byte_s
        yield {
            **_row(mode, counted, server.sent + server.received),
            "seconds": count * alone,  # one port serves one after the other
            "formula": formula,
            "counted": counted.document(),
        }


def _others(
    bundle: Bundle, model: Model, network: DDNN, count: int, every: int, steps: int, events: int, link: Link
) -> Iterator[dict[str, Any]]:
    """Those that are no modes of one command: an epoch of each."""
    exits = len(bundle.topology.exits)
    inputs = {id(each): each for each in network.inputs}.values()
    values = model.values + sum(each.mean.numel() + each.spread.numel() for each in inputs)
    for name, secret, formula in (
        ("federated, a round", False, "2 C K (α + b m β)"),
        ("federated, a secret round", True, "8 C K α + C K (12 m + 177 C K + 336) β"),
    ):
        server = averaged(count, values, secret=secret)
        one = Exchanged(server.messages // count, server.received // count, server.sent // count)
        yield {
            **_row(name, one, server.sent + server.received),
            "seconds": server.messages * link.latency_s + (server.sent + server.received) * link.byte_s,
            "formula": formula,
            "counted": one.document(),
        }
    replicas = WorkersConfig(count=count, mode="codistill", every=every)
    counted = exchanged(replicas, model, steps)
    yield {
        **_row("codistill, checkpoints", counted, 0),
        "seconds": rounds(replicas, steps) * count * (link.latency_s + VALUE * model.values * link.byte_s),
        "formula": "N (α + b m β), each K steps",
        "counted": counted.document(),
    }
    told = VALUE * len(bundle.manifest.classes) * exits * events
    yield {
        **_row("codistill, predictions", Exchanged(steps * count, told, (count - 1) * told), 0),
        "seconds": count * (steps * link.latency_s + told * link.byte_s),
        "formula": "N (α + 4 K exits B β), each step",
    }
    split = _split(bundle, steps, events)
    yield {
        **_row("split, a device", split, len(bundle.topology.devices) * (split.sent + split.received)),
        "seconds": split.messages * link.latency_s + (split.sent + split.received) * link.byte_s,
        "formula": "2 α + B (cut + b scores + b cut + b scores) β, each step",
        "counted": split.document(),
    }


def _split(bundle: Bundle, steps: int, events: int) -> Exchanged:
    """What the device that sends most exchanges to learn split: features, scores, their gradients, and heads."""
    classes, sections = len(bundle.manifest.classes), bundle.topology.sections
    given = [each.features for each in sections if each.tier is Tier.DEVICE and each.features]
    cuts = [Cut(classes, tuple(features.shape), features.codec) for features in given]
    most = [cut.exchanged(steps, events) for cut in cuts] or [Exchanged(0, 0, 0)]
    return max(most, key=lambda each: each.sent + each.received)


def _row(name: str, one: Exchanged, server: int) -> dict[str, Any]:
    return {"name": name, **one.document(), "server": server}


def _twice_log(count: int) -> int:
    return 2 * (count - 1).bit_length()
