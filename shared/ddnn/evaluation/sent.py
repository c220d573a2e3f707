"""What goes up from each tier, in which codec, beside the raw views that it stands for."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Final

from ddnn.bundle import Bundle
from ddnn.codec import Bitwise, Codec
from ddnn.formatting import count
from ddnn.topology import Input, When
from ddnn.types import Tier
from ddnn.wire import DATATYPES

__all__ = ["sent", "sent_lines"]

_ABOVE: Final = {Tier.DEVICE: Tier.EDGE, Tier.EDGE: Tier.CLOUD}
_WHEN: Final[tuple[When, ...]] = ("always", "asked")
_PASSED: Final = {"device": "the view itself", "edge": "what its devices send"}


def sent(bundle: Bundle) -> list[dict[str, Any]]:
    """What a device sends its edge and an edge the cloud, of an event, as `ddnn evaluate --json` has it.

    `bytes` are the least and most payload of a device or edge, `raw_views` the same of their views, `bits` those of a
    number, None where its codec packs otherwise; `passed_on`: no section made it.
    """
    topology, entries = bundle.topology, list[dict[str, Any]]()
    for tier, when in product(_ABOVE, _WHEN):
        for given in topology.sent(tier, when):
            passing = given.what == "view" or (given.what == "features" and _passes_on(bundle, given.child))
            codec, (size, views) = topology.codec(given), _sizes(bundle, tier, given)
            entry = {
                "from": tier.value,
                "to": _ABOVE[tier].value,
                "what": given.what,
                "passed_on": passing,
                "when": when,
            }
            entries.append(entry | {"codec": codec.name, "bits": _bits(codec), "bytes": size, "raw_views": views})
    return entries


def sent_lines(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """The same in a line for each tier, such as "edge → cloud: features, 1 bit a number, 64 bytes …"."""
    lines: dict[str, list[str]] = {}
    for entry in entries:
        what = _PASSED[entry["from"]] if entry["passed_on"] else entry["what"]
        bits = f", {count(entry['bits'], 'bit')} a number" if entry["bits"] else f" as {entry['codec']}"
        asked = "when asked for, " if entry["when"] == "asked" else ""
        views = "a raw view has" if entry["from"] == "device" else "the raw views have"
        beside = "" if entry["what"] == "scores" else f" ({views} {_span(entry['raw_views'])})"
        least, most = entry["bytes"]
        size = count(most, "byte") if least == most else f"{_span(entry['bytes'])} bytes"
        words = f"{asked}{what}{bits}, {size}{beside}"
        lines.setdefault(f"{entry['from']} → {entry['to']}", []).append(words)
    return [f"{link}: {'; '.join(words)}" for link, words in lines.items()]


def _span(sizes: Sequence[int]) -> str:
    least, most = sizes
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _sizes(bundle: Bundle, tier: Tier, given: Input) -> tuple[list[int], list[int]]:
    """The least and most payload bytes that a sender sends of an event, and that its raw views have."""
    topology, classes = bundle.topology, len(bundle.manifest.classes)
    groups = [edge.devices for edge in topology.edges]
    if tier is Tier.DEVICE:
        groups = [(device,) for device in range(len(topology.devices))]
    views = [sum(topology.devices[device].view.bytes for device in group) for group in groups]
    own = given.child is Tier.EDGE
    senders = [(edge,) if own else group for edge, group in enumerate(groups)]
    sizes = [sum(topology.bytes(given, child, classes) for child in group) for group in senders]
    return [min(sizes), max(sizes)], [min(views), max(views)]


def _passes_on(bundle: Bundle, tier: Tier) -> bool:
    network = bundle.manifest.training.config.get("network", {})
    return bool(network.get(tier.value, {}).get("pass_on"))


def _bits(codec: Codec) -> int | None:
    if isinstance(codec, Bitwise):
        return codec.bits
    return None if codec.datatype == "BYTES" else 8 * DATATYPES[codec.datatype].itemsize
