"""The audit trail: who did what to a tier, a line of JSON each, which names the hash of the line before it.

Nothing waits for the disk: lines are written by a thread of their own, from a queue that is bounded.
"""

import fcntl
import hashlib
import json
import logging
import os
import queue
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock, Thread
from time import monotonic
from typing import Any, BinaryIO, Final

from ddnn.errors import BadConfig, BadInput

__all__ = ["Trail", "Verified", "append", "verify"]

_log = logging.getLogger("ddnn")
_FIRST: Final = "0" * 64
_WAITING: Final = 1024  #: entries that wait to be written
_PATIENCE_S: Final = 2.0
_TOGETHER_S: Final = 10.0  #: refusals alike within so long are one entry
_KINDS: Final = 256  #: of refusals told apart meanwhile
_LONGEST: Final = 1 << 20  #: bytes of a line


@dataclass(frozen=True)
class Verified:
    """What a trail holds, as far as it is whole."""

    entries: int
    head: str  #: hash of the last line; whoever knows it can tell when later something before it is changed
    began: str = ""
    ended: str = ""
    problem: str = ""  #: what is wrong with the line after those
    held: bool = True  #: whether a hash that was asked for is one of them


@dataclass(frozen=True, slots=True)
class _Link:
    number: int = 0
    head: str = _FIRST

    def next(self, content: dict[str, Any]) -> tuple["_Link", bytes]:
        """The line of an entry, and what the one after it goes on from."""
        document = {**content, "n": self.number + 1, "before": self.head}
        head = hashlib.sha256(_text(document)).hexdigest()
        return _Link(self.number + 1, head), _text({**document, "hash": head})


def _text(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode() + b"\n"


def _content(by: str, who: str, did: str, what: dict[str, Any]) -> dict[str, Any]:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"at": at, "by": by, "who": who, "did": did, "what": what}


def append(file: Path, by: str, who: str, did: str, **what: Any) -> None:
    """Add one entry, at once, for what is no server; raise `BadInput` where the file is no trail, or `OSError`."""
    with _opened(file) as opened:
        _, line = _end(opened, file).next(_content(by, who, did, what))
        opened.write(line)


def verify(file: Path, holds: str = "") -> Verified:
    """Follow the chain from the first line, looking for the hash `holds`; raise `BadInput` for what cannot be read."""
    link, began, ended, held = _Link(), "", "", not holds
    try:
        with file.open("rb") as lines:
            while line := lines.readline(_LONGEST):
                if problem := _problem(line, link):
                    return Verified(link.number, link.head, began, ended, f"line {link.number + 1}: {problem}", held)
                document = json.loads(line)
                link, ended = _Link(link.number + 1, document["hash"]), document["at"]
                began, held = began or ended, held or link.head == holds
    except OSError as error:
        raise BadInput(f"{file} cannot be read ({(error.strerror or str(error)).lower()})") from error
    empty = "" if link.number else "it has no entry; a tier writes its first when it starts"
    return Verified(link.number, link.head, began, ended, empty, held)


def _problem(line: bytes, link: _Link) -> str:
    """Why a line is not the next one; empty where it is."""
    try:
        document = json.loads(line)
        content = {key: document[key] for key in ("at", "by", "who", "did", "what")}
        number, before = document["n"], document["before"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return "it is no entry, or cut short"
    if number != link.number + 1:
        return f"it has the number {number}; expected {link.number + 1}: lines are missing, or were added"
    if before != link.head:
        return "it does not follow the line before it, which was changed"
    return "" if link.next(content)[1] == line else "it was changed after it was written"


class Trail:
    """Writes one tier's; without a file it does nothing."""

    def __init__(self, file: Path | None, by: str) -> None:
        """Go on where the file ends; raise `BadConfig` where that cannot be, also as another process writes there."""
        self._by, self._file, self._link = by, None, _Link()
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(_WAITING)
        self._refused: Counter[tuple[str, str]] = Counter()
        self._lock, self._since = Lock(), monotonic()
        self._thread: Thread | None = None
        self._failing = self._over = False
        self.written = self.dropped = 0
        if file is None:
            return
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._file = _opened(file)
            self._link = _end(self._file, file)
        except (OSError, BadInput) as error:
            if self._file:
                self._file.close()
            raise BadConfig(f"the audit trail {file} cannot be gone on with ({error})") from error

    @property
    def head(self) -> str:
        """Hash of the last line."""
        return self._link.head

    def document(self) -> dict[str, Any] | None:
        """The same for a person; None without a file."""
        counts = {"entries": self._link.number, "head": self.head, "dropped": self.dropped}
        return counts if self._file else None

    def note(self, did: str, who: str, **what: Any) -> None:
        """Add an entry; where the disk has not kept up with the last thousand, count it as dropped."""
        if self._file is None:
            return
        try:
            self._queue.put_nowait(_content(self._by, who, did, what))
        except queue.Full:
            self.dropped += 1

    def refused(self, kind: str, who: str) -> None:
        """Count a refusal; those of one kind and caller become one entry every ten seconds."""
        if self._file is None:
            return
        with self._lock:
            key = (kind, who) if len(self._refused) < _KINDS or (kind, who) in self._refused else (kind, "others")
            self._refused[key] += 1

    def start(self) -> None:
        """Write from now on."""
        if self._file and not self._thread:
            self._thread = Thread(target=self._run, name="audit-trail", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Write what waits, and end; a disk that hangs is not waited for."""
        if self._file is None:
            return
        self._over = True
        if self._thread:
            with suppress(queue.Full):  # else it is at work, and looks by itself
                self._queue.put_nowait(None)
            self._thread.join(_PATIENCE_S)
            if self._thread.is_alive():
                _log.warning("the audit trail lacks its last entries: the disk hangs")
                return
        self._write([*self._waiting(), *self._refusals()])
        self._file.close()
        self._file = None

    def _run(self) -> None:
        while not self._over:
            try:
                first = self._queue.get(timeout=max(0.0, self._since + _TOGETHER_S - monotonic()))
                entries = [first] if first else []
            except queue.Empty:
                entries = [*self._refusals()]
            self._write([*entries, *self._waiting()])

    def _waiting(self) -> Iterator[dict[str, Any]]:
        while not self._queue.empty():
            if entry := self._queue.get_nowait():
                yield entry

    def _refusals(self) -> Iterator[dict[str, Any]]:
        with self._lock:
            refused, self._refused, self._since = self._refused, Counter(), monotonic()
        for (kind, who), times in refused.items():
            yield _content(self._by, who, "refused", {"kind": kind, "times": times})

    def _write(self, entries: list[dict[str, Any]]) -> None:
        assert self._file is not None
        link, lines = self._link, list[bytes]()
        for entry in entries:
            link, line = link.next(entry)
            lines.append(line)
        if not lines:
            return
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(b"".join(lines))
            os.fsync(self._file.fileno())
        except OSError as error:
            self.dropped += len(entries)
            if not self._failing:
                _log.warning("the audit trail cannot be written (%s)", error.strerror or error)
            self._failing = True
            self._undo(end)
        else:
            self._link, self.written = link, self.written + len(entries)
            self._failing = False

    def _undo(self, end: int) -> None:
        """Half a line would be the end of the chain."""
        assert self._file is not None
        try:
            self._file.truncate(end)
        except OSError:
            _log.exception("the audit trail may end in half a line")


def _opened(file: Path) -> BinaryIO:
    """The file, unbuffered, for this process alone."""
    opened = os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640), "r+b", buffering=0)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        opened.close()
        raise BadInput("another process writes there") from error
    return opened


def _end(opened: BinaryIO, file: Path) -> _Link:
    """What the next line goes on from; half a line, as a power cut leaves it, is taken away."""
    size = opened.seek(0, os.SEEK_END)
    start = max(0, size - _LONGEST)
    opened.seek(start)
    tail = opened.read(size - start)
    whole = tail.rfind(b"\n") + 1
    opened.truncate(start + whole)
    if not whole:
        if start:
            raise BadInput(f"{file} does not end in a line of a trail")
        return _Link()
    try:
        last = json.loads(tail[tail.rfind(b"\n", 0, whole - 1) + 1 : whole])
        return _Link(int(last["n"]), str(last["hash"]))
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{file} does not end in a line of a trail") from error
