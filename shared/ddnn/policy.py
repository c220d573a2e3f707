"""The policy: thresholds, temperatures and waits as versioned data, `policy.json` in a bundle."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ddnn.errors import BadBundle
from ddnn.seal import read_sealed, write_sealed
from ddnn.tier import Exit

__all__ = ["POLICY_FILE", "Policy", "Temperatures", "Thresholds"]

POLICY_FILE: Final = "policy.json"

Threshold = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Temperature = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Thresholds(_Frozen):
    """An exit answers iff its criterion is below its threshold; 0 = never, and the cloud always answers."""

    device: Threshold = 0.0
    local: Threshold = 0.5
    edge: Threshold = 0.5

    def of(self, exit: Exit) -> float:
        """The threshold of `exit`; the cloud's is above every criterion."""
        return 2.0 if exit is Exit.CLOUD else float(getattr(self, exit.value))


class Temperatures(_Frozen):
    """What each exit's scores are divided by before softmax."""

    device: Temperature = 1.0
    local: Temperature = 1.0
    edge: Temperature = 1.0
    cloud: Temperature = 1.0

    def of(self, exit: Exit) -> float:
        """The temperature of `exit`."""
        return float(getattr(self, exit.value))


class Policy(_Frozen):
    """Everything about answering that may change without training again."""

    format: Literal[1] = 1
    version: int = Field(default=1, ge=1)
    """Grows by one with every change; an answer names the version it was given under."""
    bundle: str
    """Fingerprint of the bundle this policy belongs to."""
    criterion: Literal["entropy", "max_probability", "margin"] = "entropy"
    thresholds: Thresholds = Thresholds()
    temperatures: Temperatures = Temperatures()
    offload: Literal["staged", "eager"] = "staged"
    """staged: scores first, features when asked for. eager: both at once."""
    wait_ms: Annotated[float, Field(ge=0, le=60_000)] = 150.0
    """How long, in milliseconds, a collector waits at most for an event's missing children."""
    adaptive_wait: bool = True
    """Wait less than `wait_ms` when the children are known to arrive closer together."""
    tuned: dict[str, Any] | None = None
    """What the thresholds were chosen on and what that promised: data, split, objective, figures."""

    @classmethod
    def read(cls, bundle: Path) -> "Policy":
        """Read and check the policy in the folder `bundle`; raise `BadBundle`."""
        document = read_sealed(bundle / POLICY_FILE, seal="checksum")
        try:
            return cls.model_validate({k: v for k, v in document.items() if k != "checksum"})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise BadBundle(f"{POLICY_FILE}: {where} is {first['input']!r}: {first['msg']}") from error

    def write(self, bundle: Path) -> None:
        """Write this policy into the folder `bundle`, atomically."""
        write_sealed(bundle / POLICY_FILE, self.model_dump(mode="json"), seal="checksum")
