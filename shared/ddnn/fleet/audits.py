"""What a tier's audits say, in one line for a person."""

import time
from collections.abc import Mapping
from typing import Any

__all__ = ["audit_line"]


def audit_line(status: Mapping[str, Any]) -> str | None:
    """The `audits` of a `GET /v2/status`, as rich markup, red where an alarm is; None when there is nothing to say."""
    audits = status.get("audits") or {}
    share, exits = audits.get("share") or 0, audits.get("exits") or {}
    told = {exit: known for exit, known in exits.items() if known.get("audited")}
    if audits.get("off"):
        return f"no audits: {audits['off']}" if share else None
    if not told:
        return f"audits {share:.1%} of its sure answers; none yet" if share else None
    return "audits: " + " · ".join(_exit(exit, known) for exit, known in told.items())


def _exit(exit: str, known: Mapping[str, Any]) -> str:
    differ, promised, alarm = known["disagreement"], known.get("promised"), known.get("alarm")
    text = f"{exit} {differ['share']:.1%} unlike the cloud ({differ['low']:.1%} to {differ['high']:.1%}"
    text += f", {known['audited']:,} audited)"
    if promised is not None:
        text += f", promised {promised:.1%}"
    if (distance := known["confidence"].get("distance")) is not None:
        text += f", confidences {distance:.2f} from the usual"
    if alarm is None:
        return text
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(alarm["since"]))
    return f"[red]{text}, alarm since {since} UTC[/]"
