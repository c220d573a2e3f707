"""What a dry run says: two outcomes side by side, as a document and as a sentence, of one tier or of several."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ddnn.serving.ledger_replay import Outcome

__all__ = ["compare", "merge", "sentence"]

_TIERS: Final = {"device": ("device",), "edge": ("local", "edge")}
_SMALL: Final = 0.0005
"""Less than this share is not worth a word."""


def compare(before: Outcome, after: Outcome) -> dict[str, Any]:
    """The figures of both and what they say."""
    told = {"before": _figures(before), "after": _figures(after)}
    document = {"events": after.events, "estimated": max(before.estimated, after.estimated), **told}
    return {**document, "says": sentence(document)}


def merge(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several tiers' comparisons as one, each event as heavy as any other."""
    parts = [document for document in documents if document["events"]]
    events = sum(part["events"] for part in parts)
    if not events:
        return {"events": 0, "estimated": 0, "before": None, "after": None, "says": "no decisions are recorded yet"}
    told = {when: _mean([(part["events"] / events, part[when]) for part in parts]) for when in ("before", "after")}
    document = {"events": events, "estimated": sum(part["estimated"] for part in parts), **told}
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
        words.append(f"expected accuracy {_signed(points, '.1f')} points" if points else "expected accuracy as it is")
    estimated = f" ({document['estimated']:,} estimated)" if document["estimated"] else ""
    return f"{', '.join(words)}, on {document['events']:,} recorded decisions{estimated}"


def _bytes(before: float, after: float) -> str:
    change = round(100 * (after / before - 1)) if before else 0
    if before == 0 and after > 0:
        return f"{after:.0f} bytes an event instead of none"
    return f"bytes {_signed(change, '.0f')} %" if change else "bytes as they are"


def _signed(value: float, how: str) -> str:
    return f"{'−' if value < 0 else '+'}{abs(value):{how}}"


def _figures(outcome: Outcome) -> dict[str, Any]:
    share = {exit.value: share for exit, share in outcome.share.items()}
    return {"share": share, "bytes": outcome.bytes, "accuracy": outcome.accuracy}


def _mean(parts: Sequence[tuple[float, Mapping[str, Any]]]) -> dict[str, Any]:
    exits = {exit for _, part in parts for exit in part["share"]}
    known = all(part["accuracy"] is not None for _, part in parts)
    return {
        "share": {exit: sum(weight * part["share"].get(exit, 0.0) for weight, part in parts) for exit in sorted(exits)},
        "bytes": sum(weight * part["bytes"] for weight, part in parts),
        "accuracy": sum(weight * part["accuracy"] for weight, part in parts) if known else None,
    }
