"""The latest decisions of a tier, kept so that another policy can be tried on them, and what that trial says.

Legend: N decisions, n devices below, K classes. An event that comes to an exit whose scores of it are not known is
estimated by those events of which they are: as large a share of it is answered there, as surely as they are.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ddnn.exits import NOBODY, answers, judge_under, thresholds_under
from ddnn.formatting import signed
from ddnn.policy import Policy
from ddnn.serving.event import Event
from ddnn.topology import Topology
from ddnn.traffic import Offload, crossings
from ddnn.types import Answer, Bools, Exit, Floats, Ints

__all__ = ["MOST_BYTES", "Decision", "Ledger", "Replayed", "compare", "merge", "replay", "scores_behind", "sentence"]

Doubles = npt.NDArray[np.float64]

MOST_BYTES: Final = 16 << 20  #: decisions of one tier take at most, about
_SMALLEST: Final = np.float32(1e-35)
_OVERHEAD: Final = 1600  #: bytes of one decision besides its numbers


@dataclass(frozen=True, slots=True)
class Decision:
    """What is known of one event."""

    judged: Mapping[Exit, Floats]  #: (K,) scores of each exit that is known, an audit's too
    devices: Floats  #: (n, K) scores of the devices below; (0, K) at a device
    here: Bools  #: (n,), whose scores are known
    live: int  #: how many devices below this tier took part
    exit: Exit  #: where the event was answered

    @property
    def classes(self) -> int:
        return int(self.devices.shape[1])


class Ledger:
    """The last `events` decisions, or as many as fit into 16 MiB; over n devices below and K classes."""

    def __init__(
        self, events: int, *, devices: int, classes: int, exits: Sequence[Exit] = tuple(Exit), edge: int = 0
    ) -> None:
        """`exits` are those whose scores are seen here; `edge` is the number of the edge here or above."""
        each = 4 * classes * (devices + len(Exit)) + _OVERHEAD
        self.exits, self.edge = tuple(exits), edge
        self._devices, self._classes = devices, classes
        self._decisions: deque[Decision] = deque(maxlen=min(events, MOST_BYTES // each))

    def __len__(self) -> int:
        return len(self._decisions)

    def __iter__(self) -> Iterator[Decision]:
        return iter(self._decisions)

    @property
    def room(self) -> int:
        return self._decisions.maxlen or 0

    def note(self, event: Event, answer: Answer) -> None:
        """Keep what is known of an event that was answered; the oldest one goes."""
        if answer.label < 0 or not self._decisions.maxlen:
            return
        if answer.exit not in event.judged:
            event.judged[answer.exit] = scores_behind(answer, event.rule.policy)
        scores, here = event.inputs.get("scores"), event.inputs.get("present")
        if scores is None or here is None:
            scores = np.zeros((self._devices, self._classes), np.float32)
            here = np.zeros(self._devices, np.bool_)
            for part in event.contributions.values():  # of an event that devices settled, theirs is all there is
                if part.answered:
                    scores[part.child], here[part.child] = part.inputs["scores"][0], True
        live = int(np.count_nonzero(event.devices))
        self._decisions.append(Decision(event.judged, scores, here, live, answer.exit))


def scores_behind(answer: Answer, policy: Policy) -> Floats:
    """(K,) scores that make the answer's probabilities under `policy`; they are known but for a constant."""
    live = int(np.count_nonzero(answer.devices))
    temperature = policy.judging(answer.exit, live).temperatures.of(answer.exit)
    return np.asarray(np.log(np.maximum(answer.probabilities, _SMALLEST)) * np.float32(temperature), np.float32)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a policy does with recorded events."""

    events: int
    estimated: int  #: of those, how many came to an exit whose scores are not known
    share: dict[Exit, float]  #: answered at each exit
    bytes: float  #: payload an event, from the devices of this tier up to the cloud
    accuracy: float | None  #: mean probability of the label at the exit that answers; None where unknown


class _Walk:
    """How much of each event is left, and what has become of the rest."""

    def __init__(self, events: int) -> None:
        self.left: Doubles = np.ones(events)
        self.right: Doubles = np.zeros(events)
        self.estimated: Bools = np.zeros(events, np.bool_)
        self.answered: dict[Exit, Doubles] = {}
        self.blind = False

    def answer(self, exit: Exit, weight: Doubles, known: Bools, chance: Floats) -> None:
        """Let `exit` answer `weight` of each event, right by `chance`, or by the mean where it is not known."""
        usual = chance[known & (weight > 0)]
        self.blind |= not usual.size and bool((weight > 0).any())
        self.right += weight * np.where(known, chance, usual.mean() if usual.size else 0.0)
        self.estimated |= (weight > 0) & ~known
        self.left = self.left - weight
        self.answered[exit] = weight


def replay(
    decisions: Sequence[Decision], policy: Policy, topology: Topology, exits: Sequence[Exit], edge: int = 0
) -> Replayed:
    """Decide again at `exits`, whose scores edge `edge` sees; what goes on is answered as it was, or by the cloud."""
    live = np.array([decision.live for decision in decisions], np.int64)
    here = np.stack([decision.here for decision in decisions])
    walk = _Walk(len(decisions))
    for exit in exits:
        threshold = thresholds_under(policy, exit, live)
        known, unsure, chance = _judge(exit, decisions, policy, live, here)
        sure, reached = known & answers(unsure, threshold), walk.left > 0
        usually = float(sure[known & reached].mean()) if (known & reached).any() else 0.0
        guessed = reached & ~known & (threshold > 0)
        walk.estimated |= guessed
        walk.answer(exit, walk.left * np.where(guessed, usually, sure), known, chance)
    above = [exit for exit in topology.exits if exit not in exits]
    went = np.array([decision.exit.rank if decision.exit in above else Exit.CLOUD.rank for decision in decisions])
    for exit in above:
        known, _, chance = _judge(exit, decisions, policy, live, here)
        walk.answer(exit, walk.left * (went == exit.rank), known, chance)
    classes = decisions[0].classes
    payload = sum(
        weight * _payload(exit, live, classes, topology, edge, policy.offload) for exit, weight in walk.answered.items()
    )
    return Replayed(
        len(decisions),
        int(walk.estimated.sum()),
        {exit: float(weight.mean()) for exit, weight in walk.answered.items()},
        float(np.mean(payload)),
        None if walk.blind else float(walk.right.mean()),
    )


def _judge(
    exit: Exit, decisions: Sequence[Decision], policy: Policy, live: Ints, here: Bools
) -> tuple[Bools, Floats, Floats]:
    """Whether an exit's scores are known, how uncertain it is and how probable its label, (N,) each."""
    if exit is Exit.DEVICE and here.shape[1]:
        scores = np.stack([decision.devices for decision in decisions])
        p, uncertainty, _ = judge_under(policy, exit, scores, here.astype(np.int64))
        surest = np.arange(len(live)), uncertainty.argmin(axis=1)
        return np.asarray(here.any(axis=1)), uncertainty[surest], p[surest].max(axis=-1)
    nothing = np.zeros(decisions[0].classes, np.float32)
    known = np.array([exit in decision.judged for decision in decisions])
    scores = np.stack([decision.judged.get(exit, nothing) for decision in decisions])
    votes = None
    if exit in (Exit.LOCAL, Exit.EDGE) and here.any():
        votes = np.stack([decision.devices for decision in decisions]), here
    p, unsure, _ = judge_under(policy, exit, scores, live, votes)
    return known, unsure, p.max(axis=-1)


def _payload(exit: Exit, live: Ints, classes: int, topology: Topology, edge: int, offload: Offload) -> Ints:
    """Payload bytes (N,) of events of one edge that are answered at `exit`; of sure devices one is sure."""
    below = topology.edges[edge].devices
    present = np.zeros((len(live), len(topology.devices)), np.bool_)
    present[:, below] = np.arange(len(below)) < live[:, np.newaxis]
    sure, settled = np.zeros_like(present), np.full((len(live), len(topology.edges)), NOBODY)
    sure[:, below[0]] = exit is Exit.DEVICE
    settled[:, edge] = NOBODY if exit is Exit.CLOUD else exit.rank
    devices, cloud = crossings(topology, classes, present, sure, settled, offload)
    return devices.payload + cloud.payload


_TIERS: Final = {"device": ("device",), "edge": ("local", "edge")}
_SMALL: Final = 0.0005  #: less than this share is not worth a word


def compare(before: Replayed, after: Replayed) -> dict[str, Any]:
    document: dict[str, Any] = {"events": after.events, "estimated": max(before.estimated, after.estimated)}
    for when, outcome in (("before", before), ("after", after)):
        share = {exit.value: share for exit, share in outcome.share.items()}
        document[when] = {"share": share, "bytes": outcome.bytes, "accuracy": outcome.accuracy}
    return {**document, "says": sentence(document)}


def merge(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several tiers' comparisons as one, each event as heavy as any other."""
    parts = [document for document in documents if document["events"]]
    events = sum(part["events"] for part in parts)
    if not events:
        return {"events": 0, "estimated": 0, "before": None, "after": None, "says": "no decisions are recorded yet"}
    figures = {when: _mean([(part["events"] / events, part[when]) for part in parts]) for when in ("before", "after")}
    document = {"events": events, "estimated": sum(part["estimated"] for part in parts), **figures}
    return {**document, "says": sentence(document)}


def sentence(document: Mapping[str, Any]) -> str:
    """The change in words, such as "bytes −18 %, 4 % more answered at the edge, …"."""
    before, after = document["before"], document["after"]
    words = [_bytes(before["bytes"], after["bytes"])]
    for tier, exits in _TIERS.items():
        change = sum(after["share"].get(exit, 0.0) - before["share"].get(exit, 0.0) for exit in exits)
        if abs(change) >= _SMALL:
            words.append(f"{abs(change) * 100:.2g} % {'more' if change > 0 else 'fewer'} answered at the {tier}")
    if len(words) == 1:
        words.append("as many answered below the cloud")
    if before["accuracy"] is None or after["accuracy"] is None:
        words.append("expected accuracy unknown, for want of answers from above")
    else:
        points = round(100 * (after["accuracy"] - before["accuracy"]), 1) or 0.0
        words.append(f"expected accuracy {signed(points, 1)} points" if points else "expected accuracy as it is")
    estimated = f" ({document['estimated']:,} estimated)" if document["estimated"] else ""
    return f"{', '.join(words)}, on {document['events']:,} recorded decisions{estimated}"


def _bytes(before: float, after: float) -> str:
    change = round(100 * (after / before - 1)) if before else 0
    if before == 0 and after > 0:
        return f"{after:.0f} bytes an event instead of none"
    return f"bytes {signed(change, 0)} %" if change else "bytes as they are"


def _mean(parts: Sequence[tuple[float, Mapping[str, Any]]]) -> dict[str, Any]:
    exits = {exit for _, part in parts for exit in part["share"]}
    known = all(part["accuracy"] is not None for _, part in parts)
    return {
        "share": {exit: sum(weight * part["share"].get(exit, 0.0) for weight, part in parts) for exit in sorted(exits)},
        "bytes": sum(weight * part["bytes"] for weight, part in parts),
        "accuracy": sum(weight * part["accuracy"] for weight, part in parts) if known else None,
    }
