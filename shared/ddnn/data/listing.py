"""Which photographs a data set is made of: those of a folder, or those that a table names.

| | |
| --- | --- |
| `split/class/event/device.jpg` | several cameras |
| `split/class/*.jpg` | one camera, each photograph an event |
| `event,device,path,label,split` | a table (`.csv`), of which `path` and `label` must be there |

Without folders of splits, classes are the first ones. Legend: N events, D devices, K classes.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from ddnn.data.split import SPLIT_NAMES
from ddnn.errors import BadData
from ddnn.types import Array, Bools, Ints

__all__ = ["Listing", "is_table", "list_folder", "list_table"]

PICTURES: Final = (".jpg", ".jpeg", ".png", ".webp")
SPLITS: Final = {"train": "train", "training": "train", "val": "validation", "valid": "validation"} | {
    name: name for name in SPLIT_NAMES
}
"""Names of folders, and of what a table's `split` may hold."""
COLUMNS: Final = ("event", "device", "path", "label", "split")
CAMERA: Final = "camera"  #: the device's name where there is one
MOST_DEVICES: Final = 256
FEWEST_VIEWS: Final = 1 / 8  #: of the devices that an event has on average, below which names are not those of devices
HOW: Final = "split/class/event/device.jpg, split/class/*.jpg, or a table event,device,path,label,split"


class Shot(NamedTuple):
    """One photograph."""

    event: str
    device: str
    path: Path
    label: str
    split: str  #: empty where nothing says
    group: str = ""


@dataclass(frozen=True)
class Listing:
    """Events in their order, each with the file of every device that sees it."""

    paths: tuple[tuple[Path | None, ...], ...]  #: N times D
    y: Ints  #: (N,)
    classes: tuple[str, ...]
    devices: tuple[str, ...]  #: their names, in the order of the views
    split: Array | None  #: (N,) of `train`, `validation`, `test`, empty where nothing says; None where nothing does
    groups: Array | None = None  #: (N,) if asked for
    odd: tuple[str, ...] = ()  #: files that are left out, each with the reason
    names: tuple[str, ...] = ()  #: N, of the events: split/class/event, or what the table calls them

    @property
    def present(self) -> Bools:
        """(N, D) whether there is a photograph."""
        return np.array([[path is not None for path in row] for row in self.paths])

    def of_split(self, name: str) -> Bools | None:
        """(N,) the events that the folder or table itself puts into a split; None where it names none."""
        found = None if self.split is None else self.split == name
        return found if found is not None and found.any() else None


def is_table(path: Path) -> bool:
    """Whether `path` is a table of photographs, by the names of its columns."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return {"path", "label"} <= {name.strip().lower() for name in next(csv.reader(file), [])}


def list_folder(root: Path, classes: Sequence[str] = (), devices: Sequence[str] = ()) -> Listing:
    """The photographs under `root`; `classes` and `devices` in this order, if given, and no others.

    Raise `BadData` where there is none, or names cannot be what they should be.
    """
    odd: list[str] = []
    shots = [*_walk(root, odd)]
    if not shots:
        raise BadData(f"{root} holds no photographs{_first(odd)}; expected {HOW}")
    several = [shot for shot in shots if shot.device]
    if several and len(several) < len(shots):
        beside = [str(shot.path.relative_to(root)) for shot in shots if not shot.device]
        odd += [f"{name} (beside folders of events)" for name in beside]
    kept = several or [shot._replace(device=CAMERA) for shot in shots]
    return _listing(str(root), kept, odd, root, classes, devices)


def list_table(
    path: Path, group_by: str | None = None, classes: Sequence[str] = (), devices: Sequence[str] = ()
) -> Listing:
    """The photographs that a table names, by paths from its own folder; `group_by` names another of its columns."""
    shots, odd = list[Shot](), list[str]()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or ()]
            columns = rows.fieldnames
            if group_by is not None and group_by.lower() not in columns:
                raise BadData(f"group-by names {group_by}, which {path.name} does not hold; it holds {_and(columns)}")
            for number, row in enumerate(rows, 2):
                shot = _shot(
                    path, number, {name: (value or "").strip() for name, value in row.items() if name}, group_by
                )
                if shot.path.suffix.lower() in PICTURES:
                    shots.append(shot)
                else:
                    odd.append(f"{shot.path.name} (no photograph, row {number})")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadData(f"{path} cannot be read ({error}); expected a table {','.join(COLUMNS)} in UTF-8") from error
    if not shots:
        raise BadData(f"{path} names no photographs{_first(odd)}; expected {HOW}")
    return _listing(str(path), shots, odd, path.parent, classes, devices)


def _shot(table: Path, number: int, row: dict[str, str], group_by: str | None) -> Shot:
    """One row, checked; without an event, each is one of its own."""
    name, split = row.get("path", ""), row.get("split", "")
    for column in ("path", "label"):
        if not row.get(column):
            raise BadData(f"{table}, row {number}: {column} is empty; expected one in every row")
    if split and split.lower() not in SPLITS:
        raise BadData(f"{table}, row {number}: split is {split!r}; expected {', '.join(SPLIT_NAMES)}, or nothing")
    group = row.get(group_by.lower(), "") if group_by else ""
    event, device = row.get("event") or f"row {number}", row.get("device") or CAMERA
    return Shot(event, device, table.parent / name, row["label"], SPLITS.get(split.lower(), ""), group)


def _walk(root: Path, odd: list[str]) -> Iterator[Shot]:
    """Every photograph at one of the expected places, without a device where it is an event of its own."""
    try:
        folders = _folders(root, root, odd)
        named = [folder for folder in folders if folder.name.lower() in SPLITS]
        odd += [f"{folder.name}/ (beside folders of splits)" for folder in folders if named and folder not in named]
        for top in named or [root]:
            split = SPLITS[top.name.lower()] if named else ""
            for of_class in _folders(top, root, odd) if named else folders:
                for entry in _sorted(of_class):
                    yield from _shots(entry, root, of_class.name, split, odd)
    except OSError as error:
        raise BadData(f"{error.filename or root} cannot be read ({error.strerror}); expected {HOW}") from error


def _shots(entry: Path, root: Path, label: str, split: str, odd: list[str]) -> Iterator[Shot]:
    """Of an entry of a class's folder: its photographs if it is an event's folder, itself if it is one."""
    name = "/".join(filter(None, (split, label, entry.stem if entry.is_file() else entry.name)))
    if _is_picture(entry):
        yield Shot(name, "", entry, label, split)
    elif entry.is_dir():
        seen: dict[str, str] = {}
        for file in _sorted(entry):
            where = file.relative_to(root).as_posix()
            if not _is_picture(file):
                odd.append(f"{where} (no photograph)")
            elif file.stem in seen:
                odd.append(f"{where} (a second view of {file.stem}, beside {seen[file.stem]})")
            else:
                seen[file.stem] = file.name
                yield Shot(name, file.stem, file, label, split)
    else:
        odd.append(f"{entry.relative_to(root).as_posix()} (no photograph)")


def _folders(folder: Path, root: Path, odd: list[str]) -> list[Path]:
    """Folders in one; files there are odd."""
    entries = _sorted(folder)
    odd += [f"{entry.relative_to(root).as_posix()} (in no class)" for entry in entries if not entry.is_dir()]
    return [entry for entry in entries if entry.is_dir()]


def _sorted(folder: Path) -> list[Path]:
    """What is in a folder, numbers in names by their value; hidden files are a system's own."""
    return sorted((e for e in folder.iterdir() if not e.name.startswith(".")), key=lambda entry: _natural(entry.name))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES and path.is_file()


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """For sorting: `2` before `10`."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part.casefold()) for part in parts)


def _listing(
    source: str, shots: Sequence[Shot], odd: list[str], root: Path, classes: Sequence[str], devices: Sequence[str]
) -> Listing:
    """Events out of photographs; raise `BadData` where an event has two classes or splits, or two views of a device."""
    found = sorted({shot.device for shot in shots}, key=_natural)
    rows: dict[str, dict[str, Shot]] = {}
    for shot in shots:
        row = rows.setdefault(shot.event, {})
        if shot.device in row:
            raise BadData(f"{source}: event {shot.event!r} has two views of device {shot.device!r}; expected one")
        row[shot.device] = shot
    _refuse_strangers(source, "device", found, devices)
    if (not devices and len(found) > max(8, len(shots) / len(rows) / FEWEST_VIEWS)) or len(found) > MOST_DEVICES:
        raise BadData(
            f"{source}: the photographs of {len(rows)} events have {len(found)} names, {', '.join(found[:3])} …; "
            "expected the device's in each event, such as 0.jpg to 5.jpg"
        )
    for event, row in rows.items():
        for what, values in (("label", {s.label for s in row.values()}), ("split", {s.split for s in row.values()})):
            if len(values) > 1:
                raise BadData(f"{source}: event {event!r} has the {what}s {_and(sorted(values))}; expected one")
    labels = sorted({shot.label for shot in shots}, key=_natural)
    _refuse_strangers(source, "class", labels, classes)
    names, order = tuple(classes or labels), tuple(devices or found)
    if len(names) < 2:
        raise BadData(f"{source} has the one class {names[0]}; expected at least 2 classes")
    place, first = (
        {name: index for index, name in enumerate(names)},
        [next(iter(row.values())) for row in rows.values()],
    )
    split, groups = np.array([shot.split for shot in first]), np.array([shot.group for shot in first])
    return Listing(
        tuple(tuple(row[name].path if name in row else None for name in order) for row in rows.values()),
        np.array([place[shot.label] for shot in first], np.int64),
        names,
        order,
        split if (split != "").any() else None,
        groups if (groups != "").any() else None,
        tuple(odd),
        tuple(rows),
    )


def _refuse_strangers(source: str, what: str, found: Iterable[str], known: Sequence[str]) -> None:
    strangers = [name for name in found if name not in known]
    if known and strangers:
        raise BadData(f"{source} has the {what} {strangers[0]!r}; expected some of {_and(known)}")


def _and(names: Iterable[str]) -> str:
    """The first dozen of names, each in its quotes where it is empty."""
    listed = [name or "''" for name in names]
    return ", ".join(listed[:12]) + (" …" if len(listed) > 12 else "")


def _first(odd: Sequence[str]) -> str:
    return f", but {odd[0]}" if odd else ""
