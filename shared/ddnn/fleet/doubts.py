"""The doubted events of a whole fleet: what its edges noted of them, joined with what its devices saw."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import numpy as np

from ddnn.client.admin import Admin
from ddnn.data.labelled import Labelled
from ddnn.errors import BadInput, NotFound
from ddnn.fleet.status import TierStatus, read_statuses
from ddnn.types import Array
from ddnn.wire import DATATYPES

__all__ = ["KINDS", "Doubt", "FleetDoubts", "by_doubt", "chosen", "drawn"]

KINDS: Final = ("disagreeing", "degraded", "unsure", "random")
Progress = Callable[[str, int, int], object]


@dataclass
class Doubt:
    """One event that is kept somewhere."""

    id: str  #: in hexadecimal digits
    name: str  #: the same as text
    record: dict[str, Any] = field(default_factory=dict)  #: as the tier that chose it keeps it; empty where none has it
    seen: list[str] = field(default_factory=list)  #: names of the tiers that keep a view of it

    @property
    def kind(self) -> str:
        return str(self.record.get("kind", "seen"))

    @property
    def at(self) -> float:
        return float(self.record.get("at", 0.0))

    def document(self) -> dict[str, Any]:
        """As data, for `--json`."""
        known = {key: value for key, value in self.record.items() if key not in ("n", "view", "bytes")}
        return {**known, "id": self.id, "name": self.name, "seen": self.seen}


class FleetDoubts:
    """Of the tiers of a fleet by name, all of which take the same admin token."""

    def __init__(self, urls: Mapping[str, str], token: str | None = None, *, admin_token: str | None = None) -> None:
        self._token, self._admin_token = token, admin_token
        statuses = read_statuses(urls, token)
        self.tiers: list[TierStatus] = [tier for tier in statuses if tier.of("doubts") is not None]
        """Those that answer, and keep events."""
        self.away = [tier.name for tier in statuses if tier.status is None]
        if not self.tiers:
            problem = next((tier.problem for tier in statuses if tier.problem), "none keeps events")
            raise BadInput(f"no edge or device of this fleet answers ({problem}); `ddnn up --state DIR` starts one")

    @property
    def why_none(self) -> list[str]:
        """Why tiers keep nothing, those that do not."""
        parts = [(tier.name, tier.part("doubts")) for tier in self.tiers]
        return [f"{name}: {part['off'] or part['problem']}" for name, part in parts if part["off"] or part["problem"]]

    def listed(self) -> list[Doubt]:
        """All events, the most doubtful first."""
        found: dict[str, Doubt] = {}
        for tier in self.tiers:
            if tier.part("doubts")["off"] and not tier.part("doubts")["events"]:
                continue
            with self._admin(tier) as admin:
                for row in admin.doubts():
                    doubt = found.setdefault(row["id"], Doubt(row["id"], row["name"]))
                    if row["view"]:
                        doubt.seen.append(_name(tier))
                    if "label" in row and (not doubt.record or row["kind"] == "disagreeing"):
                        doubt.record = row
        for doubt in found.values():
            doubt.seen.sort()
        return sorted(found.values(), key=by_doubt)

    def one(self, event: str) -> Doubt:
        """The event of that id, as text or in hexadecimal digits; raise `NotFound`."""
        for doubt in self.listed():
            if event in (doubt.name, doubt.id):
                return doubt
        raise NotFound(f"no event {event[:80]!r} is kept in this fleet; `ddnn doubts list` shows those that are")

    def fetched(self, doubts: Sequence[Doubt], progress: Progress = lambda *_: None) -> tuple[Labelled, int]:
        """These events with the views that devices give, without labels; and how many no device gives a view of."""
        devices = [tier for tier in self.tiers if tier.of("tier") == "device"]
        if not devices:
            raise BadInput(f"no device answers ({', '.join(self.away)} do not); expected those that keep the views")
        shapes, classes, count = self._described(devices)
        visible = np.zeros((len(doubts), count), np.bool_)
        columns: list[dict[int, Array]] = [{} for _ in range(count)]
        for number, tier in enumerate(devices):
            device = int(tier.of("index"))
            with self._admin(tier) as admin:
                for row, doubt in enumerate(doubts):
                    progress("views", number * len(doubts) + row, len(devices) * len(doubts))
                    if _name(tier) not in doubt.seen:
                        continue
                    view = _given(admin, doubt.id)
                    if view is not None and view.shape == shapes[device][1]:
                        columns[device][row], visible[row, device] = view, True
        rows = np.flatnonzero(visible.any(axis=1)).tolist()
        views = []
        for (dtype, shape), column in zip(shapes, columns, strict=True):
            view = np.zeros((len(rows), *shape), dtype)
            for place, row in enumerate(rows):
                if row in column:
                    view[place] = column[row]
            views.append(view)
        about = _about([doubts[row] for row in rows])
        return Labelled.fresh(tuple(views), visible[rows], classes, **about), len(doubts) - len(rows)

    def delete(self, doubts: Iterable[Doubt] | None, progress: Progress = lambda *_: None) -> int:
        """Delete these events, or all, at every tier; how many entries there were."""
        ids = None if doubts is None else [doubt.id for doubt in doubts]
        gone = 0
        for number, tier in enumerate(self.tiers):
            progress("tiers", number, len(self.tiers))
            if not (tier.part("doubts")["off"] and not tier.part("doubts")["events"]):
                with self._admin(tier) as admin:
                    gone += admin.delete_doubts(ids)
        return gone

    def _described(
        self, devices: Sequence[TierStatus]
    ) -> tuple[list[tuple[Any, tuple[int, ...]]], tuple[str, ...], int]:
        """Type and shape of each device's views, the classes, and how many devices there are."""
        known: dict[int, tuple[Any, tuple[int, ...]]] = {}
        classes: tuple[str, ...] = ()
        for tier in devices:
            with self._admin(tier) as admin:
                metadata = admin.metadata()
            spec = next(given for given in metadata["inputs"] if given["name"] == "view")
            known[int(tier.of("index"))] = DATATYPES[spec["datatype"]], tuple(spec["shape"][1:])
            classes = tuple(metadata["parameters"]["classes"])
            count = sum(len(edge) for edge in metadata["parameters"]["edges"])
        first = next(iter(known.values()))
        return [known.get(device, first) for device in range(count)], classes, count

    def _admin(self, tier: TierStatus) -> Admin:
        return Admin(tier.url, self._token, admin_token=self._admin_token)


def by_doubt(doubt: Doubt) -> tuple[bool, float]:
    """Sorts the most doubtful first: those on which an audit disagreed, then by confidence."""
    return doubt.kind != "disagreeing", float(doubt.record.get("confidence", 2.0))


def drawn(doubts: Sequence[Doubt], most: int | None) -> list[Doubt]:
    """So many of these at most, by a hash of their ids.

    Not the most doubtful: those are alike, and what learns from them alone takes them for all of their kind.
    """
    by_chance = sorted(doubts, key=lambda doubt: blake2b(doubt.id.encode(), person=b"ddnn doubts").digest())
    return by_chance[:most]


def chosen(doubts: Sequence[Doubt], kinds: Sequence[str], most: int | None = None) -> list[Doubt]:
    """At most so many of these kinds, or of all, the most doubtful; raise `BadInput`."""
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise BadInput(f"--kind is {unknown[0]!r}; expected {', '.join(KINDS)}")
    return [doubt for doubt in doubts if doubt.record and (not kinds or doubt.kind in kinds)][:most]


def _name(tier: TierStatus) -> str:
    return f"{tier.of('tier')}-{tier.of('index')}"


def _given(admin: Admin, id: str) -> Array | None:
    """A view; None where it has gone meanwhile."""
    try:
        return admin.doubt_view(id)
    except NotFound:
        return None


def _about(doubts: Sequence[Doubt]) -> dict[str, Array]:
    records = [doubt.record for doubt in doubts]
    return {
        "event": np.array([doubt.name for doubt in doubts], dtype=np.str_),
        "kind": np.array([doubt.kind for doubt in doubts], dtype=np.str_),
        "answer": np.array([record.get("label", -1) for record in records], np.int64),
        "exit": np.array([record.get("exit", "") for record in records], dtype=np.str_),
        "confidence": np.array([record.get("confidence", np.nan) for record in records], np.float32),
        "at": np.array([doubt.at for doubt in doubts], np.float64),
    }
