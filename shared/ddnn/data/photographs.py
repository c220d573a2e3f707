"""Photographs, decoded once into a file of the user's cache: as views of one size, read row by row from there.

Decoded anew where a file, the size or the way of resizing has changed. Legend: N events, D devices.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import numpy as np

from ddnn.data.dataset import Events
from ddnn.data.listing import Listing, list_folder, list_table
from ddnn.data.stored import Stored, rows_of
from ddnn.errors import BadData, BadInput
from ddnn.formatting import size
from ddnn.picture import MOST_PIXELS as TAKEN_PIXELS
from ddnn.picture import Picture, decode
from ddnn.types import Array

__all__ = ["SIZE", "Photographs", "Progress", "cache_folder", "parse_size", "read_photographs"]

Progress = Callable[[str, int, int], object]
"""Called with what is being done, how much of it is done, and how much there is."""

AT_ONCE: Final = 64  #: photographs for each thread that are handed out together
ENDING: Final = ".views"
KEPT_S: Final = 30 * 24 * 3600.0  #: a file that was not used for so long is forgotten when another one is made
MOST_PIXELS: Final = 1024  #: of a view's width, and of its height
SIZE: Final = 96  #: of views, by default
PHOTOGRAPH_PIXELS: Final = 4 * TAKEN_PIXELS  #: of a photograph: more than tiers take of strangers


@dataclass(frozen=True)
class Photographs:
    """What is made of a data set's photographs."""

    shape: tuple[int, ...] = (3, SIZE, SIZE)  #: of each view (C, H, W)
    how: Picture = field(default_factory=Picture)  #: how photographs of another size come to it
    classes: Sequence[str] = ()  #: in this order, and no others; by default those that there are
    devices: Sequence[str] = ()  #: the same of devices, by their names


def parse_size(text: str) -> tuple[int, int, int]:
    """Read `96` as (3, 96, 96), `128x96` as (3, 96, 128); raise `BadData` for what is neither."""
    match = re.fullmatch(r"(\d{1,4})(?:x(\d{1,4}))?", text.strip().lower())
    width, height = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not (8 <= width <= MOST_PIXELS and 8 <= height <= MOST_PIXELS):
        raise BadData(f"size is {text!r}; expected 8 to {MOST_PIXELS} pixels, as 96, or width x height as 128x96")
    return 3, height, width


def cache_folder() -> Path:
    """Where decoded photographs are kept: `ddnn` in `XDG_CACHE_HOME`, by default in `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ddnn"


def read_photographs(path: Path, wanted: Photographs, group_by: str | None, progress: Progress | None) -> Events:
    """The events of a folder or table of photographs; what is left out stands in their `odd`."""
    if path.is_dir():
        if group_by:
            expected = "expected a table event,device,path,label and that column"
            raise BadData(f"group-by {group_by} does not apply to {path}, a folder of photographs; {expected}")
        listing = list_folder(path, wanted.classes, wanted.devices)
    else:
        listing = list_table(path, group_by, wanted.classes, wanted.devices)
    views, failed = _decoded(path.resolve().stem, listing, wanted.shape, wanted.how, progress)
    readable = [[photo is not None and photo not in failed for photo in row] for row in listing.paths]
    present, base = np.array(readable), path if path.is_dir() else path.parent
    odd = [*listing.odd, *(f"{_within(photo, base)} ({why})" for photo, why in failed.items())]
    rows = np.flatnonzero(present.any(axis=1))
    if not len(rows):
        raise BadData(f"{path} has no photograph that can be decoded: {odd[0]}")
    test, validation = (None if part is None else part[rows] for part in map(listing.of_split, ("test", "validation")))
    y, present = listing.y[rows], present[rows]
    return Events(
        tuple(rows_of(view, rows) for view in views),
        y,
        np.where(present, y[:, None], -1),
        present,
        listing.classes,
        test,
        validation,
        None if listing.groups is None else listing.groups[rows],
        devices=listing.devices,
        picture=wanted.how,
        odd=tuple(odd),
        names=np.array(listing.names)[rows],
    )


def _within(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _decoded(
    name: str, listing: Listing, shape: tuple[int, ...], how: Picture, progress: Progress | None = None
) -> tuple[tuple[Array, ...], dict[Path, str]]:
    """Views (N, *shape) of each device, in a file, and why photographs could not be decoded, by their paths.

    What is absent, or could not be decoded, is zeros. Raise `BadData` where the cache cannot be written.
    """
    key, where = _key(listing, shape, how), cache_folder()
    file, failed = where / f"{name}-{key}{ENDING}", where / f"{name}-{key}.json"
    rows, devices, each = len(listing.paths), len(listing.devices), int(np.prod(shape))
    try:
        if not (file.is_file() and failed.is_file() and file.stat().st_size == rows * devices * each):
            _decode(file, failed, listing, shape, how, progress)
        left_out = {Path(path): why for path, why in json.loads(failed.read_text("utf-8")).items()}
        os.utime(file)
        os.utime(failed)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise BadData(f"decoded photographs cannot be kept in {where} ({why}); XDG_CACHE_HOME names another") from error
    index = np.arange(rows)
    stored = (Stored(file, device * each, devices * each, shape, index) for device in range(devices))
    return tuple(cast(Array, views) for views in stored), left_out


def _key(listing: Listing, shape: tuple[int, ...], how: Picture) -> str:
    """Of which photographs, as they are now, and of how they are decoded."""
    files = [[path and (str(path.resolve()), *_state(path)) for path in row] for row in listing.paths]
    told = [shape, how.model_dump(mode="json"), files]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:  # named by a table, and not there
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _decode(
    file: Path, failed: Path, listing: Listing, shape: tuple[int, ...], how: Picture, progress: Progress | None
) -> None:
    """Decode all photographs in threads, each straight to its place; the file is there when all of them are."""
    file.parent.mkdir(parents=True, exist_ok=True)
    _forget(file.parent)
    each, devices = int(np.prod(shape)), len(listing.devices)
    jobs = [
        (path, (row * devices + device) * each)
        for row, paths in enumerate(listing.paths)
        for device, path in enumerate(paths)
        if path is not None
    ]
    total, free = each * len(jobs), shutil.disk_usage(file.parent).free
    if total > free:
        raise OSError(f"they need {size(total)}, and {size(free)} are free")
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
        try:
            os.ftruncate(part.fileno(), each * devices * len(listing.paths))  # what is absent takes no room
            why = dict(_decode_all(part.fileno(), jobs, shape, how, progress))
            failed.write_text(json.dumps(why), encoding="utf-8")
            os.replace(part.name, file)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise


def _forget(folder: Path) -> None:
    """Remove what was not used for long, and what a decoding that was killed left."""
    for file in folder.iterdir():
        with suppress(OSError):
            if file.suffix in (ENDING, ".json", ".part") and time.time() - file.stat().st_mtime > KEPT_S:
                file.unlink()


def _decode_all(
    to: int, jobs: list[tuple[Path, int]], shape: tuple[int, ...], how: Picture, progress: Progress | None
) -> Iterable[tuple[str, str]]:
    """What could not be decoded, and why."""

    def one(job: tuple[Path, int]) -> str:
        path, place = job
        try:
            view = decode(path.read_bytes(), shape, how, most_pixels=PHOTOGRAPH_PIXELS)
            os.pwrite(to, view.tobytes(), place)
        except BadInput as error:
            return str(error)
        except OSError as error:
            if error.filename is None:  # not of the photograph, but of the cache
                raise
            return (error.strerror or str(error)).lower()
        return ""

    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(threads, thread_name_prefix="ddnn-decode") as pool:
        for start in range(0, len(jobs), step := AT_ONCE * threads):
            some = jobs[start : start + step]
            for (path, _), why in zip(some, pool.map(one, some), strict=True):
                if why:
                    yield str(path), why
            if progress:
                progress("decoding photographs", min(start + step, len(jobs)), len(jobs))
