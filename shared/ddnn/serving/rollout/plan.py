"""What is rolled out and how far it is: one document, made at the cloud and followed by every tier below."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from zlib import crc32

from pydantic import Field

from ddnn.seal import Frozen

__all__ = ["NOTHING", "PLAN_PATH", "Plan", "Stage", "file_path", "sentence"]

PLAN_PATH: Final = "/v2/rollout"

Stage = Literal["none", "spreading", "canary", "serving", "returned"]
"""Pulled and proved; answers a share of the events; answers all; is taken back."""
Fingerprint = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Plan(Frozen):
    """One rollout, or that there was none."""

    serial: int = Field(default=0, ge=0)
    """Grows with every change; a tier follows the one above it."""
    stage: Stage = "none"
    bundle: Fingerprint | None = None
    """What is rolled out."""
    before: Fingerprint | None = None
    """What was served before, and is again where it is taken back."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Of the events, answered by it while it is a canary."""
    events: int = Field(default=100, ge=0, le=1_000_000)
    """Events that it has to answer as a canary before it gets all."""
    reason: Annotated[str, Field(max_length=500)] = ""
    """Why it was taken back."""

    @property
    def open(self) -> bool:
        """Whether it is under way."""
        return self.stage in ("spreading", "canary")

    @property
    def tag(self) -> str:
        """Tells it from any other."""
        return f"{self.serial}-{crc32(self.model_dump_json().encode()):08x}"

    @property
    def wanted(self) -> str | None:
        """The bundle that a tier should have beside, or instead of, the one it serves."""
        return self.bundle if self.open or self.stage == "serving" else None

    @property
    def part(self) -> float:
        """Share of the events that begin under the new bundle."""
        return {"canary": self.share, "serving": 1.0}.get(self.stage, 0.0)

    def next(self, stage: Stage, reason: str = "") -> "Plan":
        """The plan one step on."""
        return self.model_copy(update={"serial": self.serial + 1, "stage": stage, "reason": reason})


NOTHING: Final = Plan()


def file_path(bundle: str, name: str) -> str:
    """Where a tier serves a file of a bundle that it holds for those below."""
    return f"{PLAN_PATH}/bundles/{bundle}/{name}"


def sentence(document: Mapping[str, Any]) -> str:
    """How far a rollout is, by the document of `GET /v2/rollout`."""
    stage, bundle, figures = document["stage"], str(document["bundle"])[:12], document.get("figures")
    if stage == "none":
        return f"bundle {document['serving'][:12]} is served; nothing was rolled out"
    if stage == "spreading":
        waits = f", waits for {len(document['waits_for'])} below" if document["waits_for"] else ""
        return f"bundle {bundle} goes to all tiers, which prove it{waits}"
    if stage == "canary":
        done = figures["new"]["answered"] if figures else 0
        return f"bundle {bundle} answers {document['share']:.0%} of the events: {done} of {document['events']}"
    if stage == "returned":
        return f"bundle {bundle} was taken back: {document['reason']}"
    return f"bundle {bundle} is served; `ddnn rollout back` brings {str(document['before'])[:12]} again"
