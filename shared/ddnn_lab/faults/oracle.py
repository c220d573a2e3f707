"""What a fleet may say of the golden events, whoever takes part: every exit run offline."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, Final, Protocol

import numpy as np

from ddnn.bundle import Bundle
from ddnn.evaluation.decide import judge, thresholds
from ddnn.evaluation.scores import Recorder
from ddnn.fleet.events import golden_events
from ddnn.types import Answer, Array, Bools, Exit
from ddnn_lab.faults.troubles import Sample, SteadyLoad, Trouble

__all__ = ["Oracle", "Trial", "Verdict", "Watched", "try_out", "until_whole"]

_TIE: Final = 1e-4  #: how near to its threshold rounding may decide
_SAME: Final = 1e-3  #: how far apart probabilities may be that are the same but for the batch they were computed in

_Exits = Mapping[Exit, tuple[Array, Array, Array]]


class Oracle:
    """Says what is wrong with an answer, if anything."""

    def __init__(self, bundle: Bundle, *, threshold: float | None = None) -> None:
        """`threshold` is what requests ask for instead of the policy's."""
        self._policy, self._threshold = bundle.policy, threshold
        self._events = len(bundle.golden["y"])
        data = golden_events(bundle)
        self._recorder, alone = Recorder(bundle, data), Recorder(bundle, data, batch=1)
        self._known: dict[bytes, _Exits] = {}
        many, one = (recorder.below["device_features"] for recorder in (self._recorder, alone))
        same = (many == one).all(axis=(1, 2)) & ~bundle.golden["edge_ties"].any(axis=(1, 2))
        self.rows: list[int] = np.flatnonzero(same & data.present.all(axis=1)).tolist()
        """Golden events that every device sees and whose features no rounding decides."""

    def fault(self, row: int, device: int, answer: Answer, reasons: Container[str]) -> str:
        """What is wrong with what `device` was told of golden event `row`; empty when nothing is.

        Right means: the label and probabilities that this exit gives for the devices that took part; and either the
        exit is sure, or the answer is degraded for one of `reasons`.
        """
        if answer.label < 0:
            return f"no label ({answer.degraded_reason})"
        if answer.exit is Exit.DEVICE and answer.devices.nonzero()[0].tolist() != [device]:
            return f"device {device} answered for {answer.devices.nonzero()[0].tolist()}"
        p, u, limits = self._exits(answer.devices)[answer.exit]
        place = (row,) if answer.exit is Exit.CLOUD else (row, device if answer.exit is Exit.DEVICE else 0)
        apart = float(np.abs(p[place] - answer.probabilities).max())
        if apart > _SAME or int(answer.probabilities.argmax()) != answer.label:
            return f"{answer.exit} says {answer.label}, {apart:.2g} away from {int(p[place].argmax())}"
        if answer.degraded:
            return "" if answer.degraded_reason in reasons else f"{answer.exit} degraded for {answer.degraded_reason}"
        if answer.degraded_reason:
            return f"not degraded, for {answer.degraded_reason!r}"
        limit = limits[place] if self._threshold is None else self._threshold
        if answer.exit is not Exit.CLOUD and u[place] >= limit + _TIE:
            return f"{answer.exit} is not sure ({u[place]:.3f}) and says nothing of being degraded"
        return ""

    def _exits(self, present: Bools) -> _Exits:
        key = present.tobytes()
        if key not in self._known:
            scores = self._recorder.scores(np.tile(present, (self._events, 1)))
            self._known[key] = {
                exit: (*judge(scores, self._policy, exit)[:2], thresholds(scores, self._policy, exit))
                for exit in scores.topology.exits
            }
        return self._known[key]


_PATIENCE_S: Final = 60.0
_POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Trial:
    """When what happened, on the machine's monotonic clock."""

    trouble: Trouble
    target: str
    began: float
    ended: float  #: when all was well again but for what the fleet has yet to notice
    whole: float  #: from here on no answer was degraded, and everybody took part
    opened: float | None  #: when the circuit of the tier below was first seen open

    @property
    def breaker(self) -> str | None:
        """Who must open its circuit; None where nobody has to."""
        if not self.trouble.lasting or (self.trouble.own and self.target not in ("edge", "cloud")):
            return None
        return _below(self.target)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What callers saw in a trial."""

    trial: Trial
    asked: int  #: requests to living tiers
    lost: list[str]  #: of those, what had no answer, and why
    wrong: list[str]  #: answers that were neither right for the exit they claim nor degraded for a good reason
    reasons: dict[str, int]  #: of degraded answers
    seconds: list[float]  #: how long they took

    @property
    def faults(self) -> list[str]:
        """All that may not be."""
        unopened = self.trial.breaker is not None and self.trial.opened is None
        circuit = [f"{self.trial.breaker} never opened its circuit"] if unopened else []
        return [*self.lost, *self.wrong, *circuit]

    def document(self, deadline_s: float) -> dict[str, Any]:
        """As JSON; times in milliseconds."""
        trial = self.trial
        late = [1000 * (each - deadline_s) for each in self.seconds if each > deadline_s]
        return {
            "target": trial.target,
            "trouble": trial.trouble.name,
            "asked": self.asked,
            "lost": len(self.lost),
            "wrong": len(self.wrong),
            "faults": self.faults[:10],
            "reasons": self.reasons,
            "p50_ms": 1000 * float(np.median(self.seconds)),
            "p99_ms": 1000 * float(np.percentile(self.seconds, 99)),
            "max_ms": 1000 * max(self.seconds),
            "late": len(late),
            "latest_past_deadline_ms": max(late, default=0.0),
            "breaker_ms": None if trial.opened is None else 1000 * (trial.opened - trial.began),
            "breaker_must_open": trial.breaker is not None,
            "whole_ms": 1000 * (trial.whole - trial.ended),
        }

    @classmethod
    def of(
        cls,
        trial: Trial,
        samples: Sequence[Sample],
        oracle: Oracle,
        deadline_s: float,
        *,
        busy: frozenset[str] = frozenset(),
    ) -> "Verdict":
        """Judge what was sent from just before the trouble began until the fleet was whole.

        `busy` are reasons that a machine with too much to do may add to those of the trouble.
        """
        lost, wrong, seconds = [], [], []
        reasons: Counter[str] = Counter()
        asked = 0
        for sample in samples:
            if not trial.began - deadline_s <= sample.sent <= trial.whole:
                continue
            told, hit = sample.told, trial.target in (f"device-{sample.device}", "edge", "cloud")
            gone = trial.trouble.own and trial.target == f"device-{sample.device}" and sample.sent <= trial.ended
            if isinstance(told, Answer):
                if fault := oracle.fault(
                    sample.row, sample.device, told, busy | trial.trouble.reasons if hit else busy
                ):
                    wrong.append(f"{_when(sample, trial)}: {fault}, after {sample.seconds:.2f} s")
                reasons.update([told.degraded_reason] if told.degraded else [])
            elif not gone:
                lost.append(f"{_when(sample, trial)}: {told}")
            if not gone:
                asked += 1
                seconds.append(sample.seconds)
        return cls(trial, asked, lost, wrong, dict(reasons), seconds)


class Watched(Protocol):
    """A fleet that says how it is."""

    def status(self, name: str) -> dict[str, Any] | None:
        """`GET /v2/status` of the tier `name`; None where nobody answers."""

    def statuses(self) -> Iterable[dict[str, Any] | None]:
        """The same of every tier."""


def try_out(
    fleet: Watched,
    load: SteadyLoad,
    trouble: Trouble,
    target: str,
    *,
    seconds: float,
    quiet_s: float = 1.0,
    opens: bool = False,
) -> Trial:
    """Let `trouble` befall `target` for so long, and wait until the fleet is whole again, for `quiet_s` at least.

    With `opens` it lasts at least until the circuit towards the target is open.
    """
    began = monotonic()
    trouble.begin(fleet, target)
    opened, until = None, monotonic() + seconds
    while monotonic() < until or (opens and opened is None):
        assert monotonic() < until + _PATIENCE_S, f"{_below(target)} does not open its circuit"
        if opened is None and (status := fleet.status(_below(target))) and status["uplink"]["circuit"] != "closed":
            opened = monotonic()
        sleep(_POLL_S)
    trouble.check(fleet, target)
    trouble.end(fleet, target)
    ended = monotonic()
    return Trial(trouble, target, began, ended, until_whole(fleet, load, ended, quiet_s=quiet_s), opened)


def until_whole(fleet: Watched, load: SteadyLoad, since: float, *, quiet_s: float = 1.0) -> float:
    """Wait for nothing but whole answers for `quiet_s`, circuits closed and everybody alive; when they began."""
    while True:
        heard, samples = load.heard_until, load.samples[:]
        broken = max((each.sent for each in samples if each.sent >= since and _broken(each)), default=since)
        if heard - broken > quiet_s and all(map(_well, fleet.statuses())):
            return min((each.sent for each in samples if each.sent > broken), default=broken)
        assert monotonic() < since + _PATIENCE_S, f"not whole again: {_last(samples)}"
        sleep(_POLL_S)


def _well(status: Mapping[str, Any] | None) -> bool:
    if status is None:
        return False
    uplink, collector = status["uplink"], status["collector"]
    return (uplink is None or uplink["circuit"] == "closed") and (collector is None or all(collector["alive"]))


def _broken(sample: Sample) -> bool:
    return isinstance(sample.told, str) or sample.told.degraded


def _when(sample: Sample, trial: Trial) -> str:
    return f"device {sample.device}, {sample.sent - trial.began:+.2f} s"


def _below(target: str) -> str:
    """Who asks the target; of a device, itself."""
    return {"cloud": "edge", "edge": "device-0"}.get(target, target)


def _last(samples: Sequence[Sample]) -> list[str]:
    broken = [each for each in samples if _broken(each)][-3:]
    return [each.told.degraded_reason if isinstance(each.told, Answer) else each.told for each in broken]
