"""What one tier keeps of doubted events, on its disk: bounded in events, bytes and age, whole after a crash."""

import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from ddnn.policy import Doubts
from ddnn.serving.doubts.noted import Noted, npy, plain

__all__ = ["Kept", "Store"]

_log = logging.getLogger("ddnn")
_PATIENCE_S: Final = 2.0
_TABLE: Final = """CREATE TABLE IF NOT EXISTS doubts (
    n INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, at REAL NOT NULL, kind TEXT NOT NULL,
    record BLOB, view BLOB, bytes INTEGER NOT NULL)"""


@dataclass(frozen=True, slots=True)
class Kept:
    """How much there is, by kind, and the number of the last one that there ever was."""

    kinds: dict[str, int]
    bytes: int
    last: int

    @property
    def events(self) -> int:
        return sum(self.kinds.values())


class Store:
    """One SQLite file; every method may wait for the disk, raises `sqlite3.Error` or `OSError`, and is one thread's.

    What is deleted is overwritten, and a change is whole or not there at all.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def open(self) -> Kept:
        """What is there from before; a damaged file is put aside."""
        try:
            return self.kept()
        except sqlite3.DatabaseError as error:
            aside = self._file.with_suffix(".damaged")
            _log.warning("the events that were kept are damaged (%s); the file is now %s", error, aside)
            self._file.replace(aside)
            return self.kept()

    def kept(self) -> Kept:
        with self._connected() as connection:
            return _count(connection)

    def put(self, noted: Iterable[Noted], doubts: Doubts, most_bytes: int) -> Kept:
        """Keep events within the bounds of `doubts` and `most_bytes`.

        What is known of one already stays, but for what was not; an audit that disagrees counts for more.
        """
        with self._connected() as connection:
            for each in noted:
                _put(connection, each)
            return _trim(connection, doubts, min(doubts.bytes, most_bytes))

    def trim(self, doubts: Doubts, most_bytes: int) -> Kept:
        """Let go what is too old or too much; where no more are kept, what is too old alone."""
        with self._connected() as connection:
            return _trim(connection, doubts, min(doubts.bytes, most_bytes))

    def rows(self, after: int, most: int) -> list[dict[str, Any]]:
        """At most so many events with numbers above `after`, in order."""
        with self._connected() as connection:
            found = connection.execute(
                "SELECT n, id, at, kind, record, bytes, view IS NOT NULL FROM doubts WHERE n > ? ORDER BY n LIMIT ?",
                (after, most),
            )
            return [_document(*row) for row in found]

    def ids(self, after: int, most: int) -> list[bytes]:
        """Ids of the latest events with numbers above `after`, in order."""
        with self._connected() as connection:
            found = connection.execute("SELECT id FROM doubts WHERE n > ? ORDER BY n DESC LIMIT ?", (after, most))
            return [id for (id,) in found][::-1]

    def row(self, id: bytes) -> dict[str, Any] | None:
        with self._connected() as connection:
            found = connection.execute(
                "SELECT n, id, at, kind, record, bytes, view IS NOT NULL FROM doubts WHERE id = ?", (id,)
            ).fetchone()
            return _document(*found) if found else None

    def view(self, id: bytes) -> bytes | None:
        """A view as a `.npy` file."""
        with self._connected() as connection:
            found = connection.execute("SELECT view FROM doubts WHERE id = ?", (id,)).fetchone()
            return found[0] if found else None

    def delete(self, ids: Sequence[bytes] | None) -> tuple[int, Kept]:
        """Delete these, or all; how many there were, and what is left."""
        with self._connected() as connection:
            if ids is None:
                gone = connection.execute("DELETE FROM doubts").rowcount
            else:
                gone = connection.executemany("DELETE FROM doubts WHERE id = ?", [(id,) for id in ids]).rowcount
            return gone, _count(connection)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.touch(mode=0o600)  # its journal has the same rights
        with closing(sqlite3.connect(self._file, timeout=_PATIENCE_S)) as connection:
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA auto_vacuum = FULL")  # what was let go is the disk's again
            connection.execute("PRAGMA journal_mode = TRUNCATE")
            with connection:
                connection.execute(_TABLE)
                yield connection


def _put(connection: sqlite3.Connection, noted: Noted) -> None:
    record = None if noted.record is None else orjson.dumps(plain(noted.record))
    view = None if noted.view is None else npy(noted.view)
    size = len(record or b"") + len(view or b"") + len(noted.id)
    had = connection.execute("SELECT kind, record, view FROM doubts WHERE id = ?", (noted.id,)).fetchone()
    if had is None:
        connection.execute(
            "INSERT INTO doubts (id, at, kind, record, view, bytes) VALUES (?, ?, ?, ?, ?, ?)",
            (noted.id, noted.at, noted.kind, record, view, size),
        )
        return
    kind, old_record, old_view = had
    better = noted.kind == "disagreeing" or (kind == "random" and noted.kind != "random")
    kind, record = (noted.kind, record or old_record) if better else (kind, old_record or record)
    view = old_view or view
    size = len(record or b"") + len(view or b"") + len(noted.id)
    connection.execute(
        "UPDATE doubts SET kind = ?, record = ?, view = ?, bytes = ? WHERE id = ?", (kind, record, view, size, noted.id)
    )


def _trim(connection: sqlite3.Connection, doubts: Doubts, most_bytes: int) -> Kept:
    connection.execute("DELETE FROM doubts WHERE at < ?", (time.time() - doubts.age_s,))
    kept = _count(connection)
    while doubts.events and kept.events and (kept.events > doubts.events or kept.bytes > most_bytes):
        kind, *others = sorted(kept.kinds, key=kept.kinds.__getitem__, reverse=True)
        heavy = -(-(kept.bytes - most_bytes) * kept.events // kept.bytes) if kept.bytes else 0
        over = max(kept.events - doubts.events, heavy, 1)
        step = min(over, max(kept.kinds[kind] - (kept.kinds[others[0]] if others else 0), 1))
        connection.execute(
            "DELETE FROM doubts WHERE n IN (SELECT n FROM doubts WHERE kind = ? ORDER BY n LIMIT ?)", (kind, step)
        )
        kept = _count(connection)
    return kept


def _count(connection: sqlite3.Connection) -> Kept:
    kinds, size = dict[str, int](), 0
    for kind, events, each in connection.execute("SELECT kind, COUNT(*), SUM(bytes) FROM doubts GROUP BY kind"):
        kinds[kind], size = events, size + each
    last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'doubts'").fetchone()
    return Kept(kinds, size, last[0] if last else 0)


def _document(n: int, id: bytes, at: float, kind: str, record: bytes | None, size: int, viewed: int) -> dict[str, Any]:
    known = orjson.loads(record) if record else {}
    name = id.decode("utf-8", "replace")
    return {"n": n, "id": id.hex(), "name": name, "at": at, "kind": kind, "bytes": size, "view": bool(viewed), **known}
