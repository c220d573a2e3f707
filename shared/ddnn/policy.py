"""The policy: thresholds, temperatures and waits as versioned data, `policy.json` in a bundle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import AfterValidator, Field, ValidationError

from ddnn.errors import BadBundle, BadInput
from ddnn.seal import Frozen, fingerprint, first_problem, read_sealed, write_sealed
from ddnn.signing import Signature, sign
from ddnn.task import check_criterion
from ddnn.types import Exit

__all__ = ["MOST_VERSIONS", "POLICY_FILE", "Allowance", "Audits", "Budget", "Doubts", "Judging", "Outliers", "Policy"]
__all__ += ["Promise", "PromisedRecall", "Temperatures", "Thresholds", "Usual"]

MOST_VERSIONS: Final = 2**53 - 1  #: what every reader of JSON takes as a whole number
POLICY_FILE: Final = "policy.json"

Threshold = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Temperature = Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


def _criterion(name: str) -> str:
    try:
        return check_criterion(name)
    except BadInput as error:
        raise ValueError(str(error).partition("; ")[2]) from error


class Thresholds(Frozen):
    """An exit answers iff its criterion is below its threshold; 0 = never, and the cloud always answers."""

    device: Threshold = 0.0
    local: Threshold = 0.5
    edge: Threshold = 0.5

    def of(self, exit: Exit) -> float:
        """The threshold of `exit`; the cloud's is above every criterion."""
        return 2.0 if exit is Exit.CLOUD else float(getattr(self, exit.value))


class Temperatures(Frozen):
    """What each exit's scores are divided by before softmax."""

    device: Temperature = 1.0
    local: Temperature = 1.0
    edge: Temperature = 1.0
    cloud: Temperature = 1.0

    def of(self, exit: Exit) -> float:
        """The temperature of `exit`."""
        return float(getattr(self, exit.value))


class Judging(Frozen):
    """What exits judge by, while so many devices are there."""

    thresholds: Thresholds = Thresholds()
    temperatures: Temperatures = Temperatures()


class Audits(Frozen):
    """Which sure answers go up all the same, in the background, to learn what the cloud would have said."""

    share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    """Share of an exit's sure answers that are audited; 0: none."""
    per_second: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 1.0
    """Audits a second at most, in the long run."""
    burst: int = Field(default=10, ge=1)  #: audits at once at most
    false_alarm: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = 0.01
    """Chance that an alarm is ever raised while the promise holds."""


AMinute = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]


class Allowance(Frozen):
    """What may go up to the cloud in a minute; None: as much as there is."""

    events: AMinute | None = None
    bytes: AMinute | None = None  #: of HTTP bodies
    cloud_seconds: AMinute | None = None  #: that the cloud's section works

    @property
    def limits(self) -> dict[str, float]:
        """Those there are, by name."""
        return {name: value for name, value in self if value is not None}


class Budget(Frozen):
    """How much may go up to the cloud; beyond it the tier below answers, degraded. Audits have bounds of their own."""

    site: Allowance = Allowance()  #: all edges together, of which each has an equal part
    device: Allowance = Allowance()  #: each device, of the events that go up because of it
    burst_s: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 10.0
    """What of so many seconds may go up at once, in seconds."""


class Outliers(Frozen):
    """When a device that contradicts the others is set aside (`ddnn.drift.outliers`); needs `promise.dissent`."""

    keep: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.75
    """Share of its promised agreement that a device must keep; 0: none is set aside."""
    false_alarm: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = 0.001
    """Chance that one which does is ever set aside."""
    per_second: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 20.0
    """Events a second that are looked at, at most."""


class Doubts(Frozen):
    """Which events are kept, to be labelled and learnt from (`ddnn.serving.doubts`); by default none."""

    events: int = Field(default=0, ge=0, le=100_000)
    """Kept at most; beyond it the oldest of the most frequent kind goes. 0: no more are kept."""
    bytes: int = Field(default=64 << 20, ge=0, le=1 << 40)  #: of them at most, at each tier
    age_s: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] = 7 * 86_400.0
    """Older ones go."""
    per_second: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 2.0
    """Events of each kind that are kept a second at most, in the long run."""
    unsure: Share = 0.5  #: kept where the answer's confidence is below; 0: none for that
    disagreeing: bool = True  #: whether those are kept that an audit found the cloud to call something else
    degraded: bool = True  #: whether degraded ones are
    random: Share = 0.0  #: share of all events that is kept, whatever was said of them
    views: Literal["none", "kept", "given"] = "none"
    """Whether devices keep the views of these events; kept, they stay there, given, an admin may fetch them."""


class Usual(Frozen):
    """What an exit did on the events a policy was tuned on."""

    share: Share  #: of all answers, those given at this exit
    confidence: tuple[Share, ...] = Field(min_length=10, max_length=10)
    """Share of this exit's answers in each of ten bins of confidence, 0 to 1."""


class PromisedRecall(Frozen):
    """What was found of one class."""

    least: Share  #: its recall is at least this
    events: int = Field(ge=0)  #: of the class, that this was found on
    missed: Share = 1.0
    """Of the answers below the cloud whose class the cloud says it is, at most this share is another class; 1 where
    there was none."""


class Promise(Frozen):
    """What tuning found, and what the audits of a running fleet are held against."""

    disagreement: dict[Exit, Share] = Field(default={})
    """For each exit below the cloud that answers: at most this share of its answers differs from the cloud's."""
    confidence: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = 0.95
    """How sure that is, over the draw of the events it was found on."""
    risk: Share | None = None
    """The guarantee asked for: at most this share of all events is lost by not asking the cloud; none without one."""
    loss: Literal["accuracy", "disagreement"] | None = None
    """What a loss is: the cloud right and the answer wrong; or, found without labels, an answer unlike the cloud's."""
    recall: dict[Annotated[int, Field(ge=0)], PromisedRecall] = Field(default={})
    """Of the classes whose recall was asked for, each by itself as sure as `confidence`."""
    events: int = Field(default=0, ge=0)  #: events it was found on
    usual: dict[Exit, Usual] = Field(default={})
    """What each exit did there, for audits to compare with; empty when it was not noted."""
    dissent: tuple[tuple[Share, ...], ...] = ()
    """By device, and by class that the other devices of its edge say: at most this share of its labels is another
    class, each as sure as `confidence`; empty when it was not noted."""


class Policy(Frozen):
    """Everything about answering that may change without training again."""

    format: Literal[1] = 1
    version: int = Field(default=1, ge=1, le=MOST_VERSIONS)
    """Grows by one with every change; an answer names the version it was given under."""
    bundle: str  #: fingerprint of the bundle this policy belongs to
    criterion: Annotated[str, AfterValidator(_criterion)] = "entropy"
    """Of those in `ddnn.task`, or `package.module:function`."""
    thresholds: Thresholds = Thresholds()
    temperatures: Temperatures = Temperatures()
    live: dict[Annotated[int, Field(ge=1)], Judging] = Field(default={})
    """Instead of these two at a fused exit, by how many devices take part in its answer; a count not here has these."""
    offload: Literal["staged", "eager"] = "staged"  # staged: scores first, features when asked for. eager: both at once
    wait_ms: Annotated[float, Field(ge=0, le=60_000)] = 150.0
    """How long, in milliseconds, a collector waits at most for an event's missing children."""
    adaptive_wait: bool = True  #: wait less than `wait_ms` when the children are known to arrive closer together
    audits: Audits = Audits()
    budget: Budget = Budget()
    outliers: Outliers = Outliers()
    doubts: Doubts = Doubts()
    promise: Promise | None = None
    tuned: dict[str, Any] | None = None
    """What the thresholds were chosen on and what that promised: data, split, objective, figures."""
    signature: Signature | None = None  #: whose word all of the above is

    def judging(self, exit: Exit, live: int) -> Judging:
        """What `exit` judges by when `live` devices take part in its answer; a device's own is always the same."""
        return self._own if exit is Exit.DEVICE else self.live.get(live, self._own)

    def at(self, thresholds: Thresholds) -> "Policy":
        """The same with these thresholds, however many devices take part."""
        live = {n: Judging(thresholds=thresholds, temperatures=each.temperatures) for n, each in self.live.items()}
        return self.model_copy(update={"thresholds": thresholds, "live": live})

    @property
    def _own(self) -> Judging:
        # Not cached: `model_copy` would take the cached value along. Not validated again: asked for every event.
        return Judging.model_construct(thresholds=self.thresholds, temperatures=self.temperatures)

    @property
    def etag(self) -> str:
        """Names this very content; the version comes first, for people."""
        return f'"{self.version}-{fingerprint(self.model_dump(mode="json"), "signature")[:12]}"'

    def named(self) -> dict[str, Any]:
        """What tells it from others: version, etag, whose word it is."""
        return {"version": self.version, "etag": self.etag, "signed_by": self.signature and self.signature.key}

    @property
    def digest(self) -> str:
        """What a signature is over; keys that have their defaults count for nothing, so that others can be added."""
        return fingerprint(self.model_dump(mode="json", exclude_defaults=True), "signature")

    def signed(self, key: Ed25519PrivateKey) -> "Policy":
        """The same with the word of `key`."""
        return self.model_copy(update={"signature": sign(key, "policy", self.digest)})

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Policy":
        """Check a policy's document; raise `BadInput` naming the key, what it is and what is expected."""
        try:
            # As JSON: a text or a flag in a number's place is refused, the counts of `live` are keys.
            return cls.model_validate_json(orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS), strict=True)
        except ValidationError as error:
            raise BadInput(first_problem(error, "the policy")) from error

    @classmethod
    def read(cls, bundle: Path) -> "Policy":
        """Read and check the policy in the folder `bundle`; raise `BadBundle`."""
        document = read_sealed(bundle / POLICY_FILE, seal="checksum")
        try:
            return cls.model_validate({k: v for k, v in document.items() if k != "checksum"})
        except ValidationError as error:
            raise BadBundle(f"{POLICY_FILE}: {first_problem(error, 'the policy')}") from error

    def write(self, bundle: Path) -> None:
        """Write this policy into the folder `bundle`, atomically."""
        write_sealed(bundle / POLICY_FILE, self.model_dump(mode="json"), seal="checksum")
