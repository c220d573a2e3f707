"""The golden events as a self-test: do this bundle's sections still answer as torch did?

Torch's answers are arrays of N events by name, as `ddnn.bundle.Bundle.golden` lists them; the export's are alike.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np

from ddnn.bundle import Bundle
from ddnn.codec import codec_of
from ddnn.errors import BadBundle
from ddnn.levels import picked
from ddnn.runtime import Section
from ddnn.topology import Input, SectionSpec, Topology
from ddnn.types import Array, Bools, Exit, Ints, Tier

__all__ = ["TIES", "TOLERANCE", "check_sections", "compare", "score_range"]
__all__ += ["section_inputs", "sent_by", "taken", "there"]

TOLERANCE: Final = 1e-4
"""Largest difference of a score, and distance from the next level within which a feature may be another one."""

_ROOM: Final = 1.5
_LEAST: Final = 10.0  #: twice that apart, softmax is 0 and 1 anyway

TIES: Final = codec_of("bits1")  #: how golden events keep which features are ties


def check_sections(
    bundle: Bundle, tier: Tier, index: int, sections: Mapping[str, Section], events: int | None = None
) -> int:
    """Run the first `events` golden events (None = all) through a tier's sections; return how many; or `BadBundle`."""
    if not sections:
        return 0
    golden = {name: array[:events] for name, array in bundle.golden.items()}
    for spec in bundle.topology.sections_of(tier, index):
        try:
            given = taken(bundle.topology, spec, golden)
            some = there(bundle.topology, spec, golden["present"].astype(np.bool_)).any(axis=1)
            outputs = sections[spec.role].run(**given)
            compare(bundle.topology, spec, outputs, golden, np.asarray(some), "golden event")
        except BadBundle:
            raise
        except Exception as error:  # another section's inputs and outputs fail wherever they do not fit
            why = (str(error).splitlines() or [""])[0][:200]
            raise BadBundle(
                f"{spec.file}: golden events do not go through it ({type(error).__name__}: {why});"
                f" expected the section that ends in the {spec.exit} exit"
            ) from error
    return len(golden["present"])


def score_range(bundle: Bundle, exits: Sequence[Exit] = tuple(Exit), device: int | None = None) -> tuple[float, float]:
    """The smallest and the largest score that a tier takes: half as far again as golden events have, at least 10.

    Of the exits named, or of one device. Fused, one that says more would outweigh all others, and scores beyond all
    measure are no numbers any more.
    """
    golden = bundle.golden
    if device is None:
        seen = [golden[f"{exit}_scores"] for exit in exits if f"{exit}_scores" in golden]
    else:
        seen = [golden["device_scores"][golden["present"][:, device].astype(np.bool_), device]]
    low, high = (
        _ROOM * float(edge) for edge in (min(a.min(initial=0) for a in seen), max(a.max(initial=0) for a in seen))
    )
    return min(low, -_LEAST), max(high, _LEAST)


def section_inputs(bundle: Bundle, tier: Tier, index: int = 0) -> dict[str, dict[str, Array]]:
    """What each section of a tier takes, by role, of all golden events: torch's own outputs below it."""
    sections = bundle.topology.sections_of(tier, index)
    return {spec.role: taken(bundle.topology, spec, bundle.golden) for spec in sections}


def taken(
    topology: Topology,
    spec: SectionSpec,
    answers: Mapping[str, Array],
    rows: slice | Ints = slice(None),
    *,
    wanted: Collection[str] | None = None,
) -> dict[str, Array]:
    """What a section takes of the events at `rows`, where `answers` are those of the sections below it.

    With `wanted`, of its inputs only these.
    """
    inputs: dict[str, Array] = {
        given.what: _of_children(topology, spec, given, answers, rows)
        for given in spec.inputs
        if wanted is None or given.what in wanted
    }
    if spec.tier is Tier.DEVICE:
        return inputs
    some, given = there(topology, spec, answers["present"][rows].astype(np.bool_)), spec.inputs[0]
    if given.most:
        some = picked(answers["device_scores"][rows], some, given.most, given.pick)
    return {**inputs, "present": some}


def there(topology: Topology, spec: SectionSpec, present: Bools) -> Bools:
    """(N, n), which of a section's children may take part, where `present` (N, D) devices did."""
    given = spec.inputs[0]
    children = topology.children(spec, given)
    if given.child is Tier.DEVICE:
        return present[:, list(children)]
    return np.stack([present[:, list(topology.edges[child].devices)].any(axis=1) for child in children], axis=1)


def sent_by(topology: Topology, answers: Mapping[str, Array], given: Input, child: int) -> Array:
    """(N, …) the view, scores or features of one device or edge, as it sends them."""
    if given.what == "view":
        return topology.codec(given, child).pack(answers[f"view_{child}"])
    rows = answers[f"{given.child}_{given.what}"][:, child]
    fewer = topology.rows(given, [child])
    return rows[:, : fewer[0]] if fewer else rows


def _of_children(
    topology: Topology, spec: SectionSpec, given: Input, answers: Mapping[str, Array], rows: slice | Ints
) -> Array:
    children = list(topology.children(spec, given))
    if given.what == "view":
        views = [_arrived(topology, given, answers, child, rows) for child in children]
        return views[0] if spec.tier is Tier.DEVICE else np.stack(views, axis=1)
    name = f"{given.child}_{given.what}"
    values = answers[name if name in answers else f"{Exit.LOCAL}_scores"][rows][:, children]
    features = topology.features(given.child)
    return features.unpack(values) if given.what == "features" and features else values


def _arrived(topology: Topology, given: Input, answers: Mapping[str, Array], child: int, rows: slice | Ints) -> Array:
    """Views of one device as they are where they are taken; where `answers` has its files, out of these."""
    codec, files = topology.codec(given, child), answers.get(f"file_{child}")
    if codec.datatype == "BYTES" and given.when == "asked" and files is not None:
        return codec.unpack(files[rows], topology.devices[child].view.shape)
    views = answers[f"view_{child}"][rows]
    asked = given.when == "asked"
    return codec.arrived(views, topology.devices[child].view.shape) if asked else views


def compare(
    topology: Topology,
    spec: SectionSpec,
    outputs: Mapping[str, Array],
    answers: Mapping[str, Array],
    sure: Bools,
    event: str,
    where: str = "",
) -> list[str]:
    """Hold a section's outputs against torch's answers; return what rounding turned, named.

    Raise `BadBundle` where an event of `sure` (N,) is off: scores by more than the tolerance, or a feature that was not
    close to another level. `event` is what a row is called, and `where` tells it from others.
    """
    name, torch = f"{spec.file}{where}", answers[f"{spec.exit}_scores"]
    torch = torch if torch.ndim == 2 else torch[:, spec.index]
    if outputs["scores"].shape != torch.shape:
        raise BadBundle(f"{name}: gives scores of shape {outputs['scores'].shape}; torch gives {torch.shape}")
    apart = np.abs(outputs["scores"] - torch).max(axis=-1)
    wrong = ~(apart <= TOLERANCE) & sure
    if wrong.any():
        raise BadBundle(
            f"{name}: scores of {event} {wrong.argmax()} are off by {apart[wrong.argmax()]:.2g};"
            f" expected at most {TOLERANCE:g} from what torch gave"
        )
    turned = [f"{name}: {event} {row}, scores" for row in np.flatnonzero(~(apart <= TOLERANCE))]
    if spec.features is None or "features" not in outputs:
        return turned
    features, found = spec.features, outputs["features"].astype(np.float64)
    own = Input(child=spec.tier, what="features", codec=features.codec, when="always")
    torch = features.unpack(sent_by(topology, answers, own, spec.index)).astype(np.float64)
    ties = TIES.unpack(answers[f"{spec.tier}_ties"][:, spec.index], features.shape)
    off = np.abs(found - torch) - features.coded.tolerance * np.maximum(np.abs(torch), 1)
    wrong = ~(off <= TOLERANCE + ties) & sure[:, np.newaxis]
    if wrong.any():
        row, place = np.argwhere(wrong)[0]
        raise BadBundle(
            f"{name}: features of {event} {row} differ from what torch gave, first element {place},"
            " which is not close to another level"
        )
    return turned + [f"{name}: {event} {row}, element {place}" for row, place in np.argwhere(off > TOLERANCE)]
