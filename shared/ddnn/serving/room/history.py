"""What a control room remembers over a restart: a day of figures, the last events. Bounded, in SQLite."""

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import orjson

__all__ = ["EVERY_S", "FIGURES", "MOST_SAMPLES", "History"]

_log = logging.getLogger("ddnn")
EVERY_S: Final = 10.0
MOST_SAMPLES: Final = 8640  #: a day
_MOST_EVENTS: Final = 200
_PATIENCE_S: Final = 2.0
FIGURES: Final = (
    *("rate", "degraded", "p50_ms", "p95_ms", "bytes_devices", "bytes_edges", "cpu_ms"),
    "agreement",
    *("device", "local", "edge", "cloud"),
)
"""What a sample has after its time, in seconds since 1970; the last are shares of exits."""
_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS samples (n INTEGER PRIMARY KEY, sample BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS events (n INTEGER PRIMARY KEY, event BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS fleet (bundle TEXT NOT NULL)",
)

Sample = list[float | None]


class History:
    """Of one fleet; in memory alone without a file. Its methods but `add_events` and `due` may wait for the disk."""

    def __init__(self, file: Path | None, bundle: str) -> None:
        """`bundle` is a fingerprint: what was of another bundle is forgotten."""
        self._file, self._bundle = file, bundle
        self.samples: deque[Sample] = deque(maxlen=MOST_SAMPLES)
        self._new: deque[Mapping[str, Any]] = deque(maxlen=_MOST_EVENTS)
        self._last = float("-inf")
        self.problem = "" if file else "DDNN_STATE_DIR is not set"  #: why it would not outlive a restart

    @property
    def due(self) -> bool:
        """Whether it is time for a sample."""
        return time.monotonic() - self._last >= EVERY_S

    def add_events(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Remember events, on disk with the next sample."""
        self._new.extend(rows)

    def open(self) -> list[dict[str, Any]]:
        """Read what there is; the events, oldest first. A damaged file is put aside."""
        if self._file is None:
            return []
        try:
            return self._read()
        except sqlite3.DatabaseError as error:
            aside = self._file.with_suffix(".damaged")
            _log.warning("the control room's history is damaged (%s) and begins anew; the file is now %s", error, aside)
            try:
                self._file.replace(aside)
                return self._read()
            except (OSError, sqlite3.Error) as again:
                self._failed(again)
        except OSError as error:
            self._failed(error)
        return []

    def sample(self, at: float, figures: Mapping[str, Any], agreement: float | None) -> None:
        """Keep the figures of now, and the events that are new; the oldest go."""
        self._last = time.monotonic()
        values = {**figures, "agreement": agreement, **figures["exits"]}
        row: Sample = [round(at, 1), *(values.get(name) for name in FIGURES)]
        self.samples.append(row)
        events = [self._new.popleft() for _ in range(len(self._new))]
        if self._file is None:
            return
        try:
            with closing(self._connect()) as connection, connection:
                connection.execute("INSERT INTO samples (sample) VALUES (?)", (orjson.dumps(row),))
                rows = [(orjson.dumps(event),) for event in events]
                connection.executemany("INSERT INTO events (event) VALUES (?)", rows)
                connection.execute("DELETE FROM samples WHERE n <= (SELECT MAX(n) FROM samples) - ?", (MOST_SAMPLES,))
                connection.execute("DELETE FROM events WHERE n <= (SELECT MAX(n) FROM events) - ?", (_MOST_EVENTS,))
            self.problem = ""
        except (OSError, sqlite3.Error) as error:
            self._failed(error)

    def _connect(self) -> sqlite3.Connection:
        assert self._file is not None
        self._file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._file, timeout=_PATIENCE_S)
        connection.execute("PRAGMA journal_mode = WAL")
        for table in _TABLES:
            connection.execute(table)
        return connection

    def _read(self) -> list[dict[str, Any]]:
        with closing(self._connect()) as connection, connection:
            known = [name for (name,) in connection.execute("SELECT bundle FROM fleet")]
            if known != [self._bundle]:
                connection.executescript("DELETE FROM samples; DELETE FROM events; DELETE FROM fleet")
                connection.execute("INSERT INTO fleet (bundle) VALUES (?)", (self._bundle,))
            try:
                samples, events = (
                    [orjson.loads(kept) for (kept,) in connection.execute(query)]
                    for query in ("SELECT sample FROM samples ORDER BY n", "SELECT event FROM events ORDER BY n")
                )
            except orjson.JSONDecodeError as error:
                raise sqlite3.DatabaseError(str(error)) from error
        self.samples.extend(samples)
        return events

    def _failed(self, error: Exception) -> None:
        if not self.problem:
            _log.warning("the control room's history will not outlive a restart: %s", error)
        self.problem = str(error)

    def latest(self, hours: float, most: int = 720) -> list[Sample]:
        """Samples of the last hours, at most so many, evenly chosen."""
        since = time.time() - 3600 * hours
        chosen = [sample for sample in self.samples if (sample[0] or 0.0) >= since]
        step = -(-len(chosen) // most) or 1
        return chosen[::-1][::step][::-1]
