"""Totals, and how they are shown."""

import io
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ddnn.client import EventAnswer
from ddnn.data import Dataset
from ddnn.fleet.events import Event, shuffled, write_requests
from ddnn.fleet.player import Played, Tally
from ddnn.fleet.table import LiveTable
from ddnn.types import Exit
from ddnn.wire import decode_request

VIEW = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)


def played(label: int, said: int | None, exit: Exit = Exit.LOCAL, *, degraded: bool = False) -> Played:
    """An event of two devices, and its answer if there is one."""
    event = Event("#7", label, (VIEW, VIEW))
    if said is None:
        return Played(event, None, 3.0, "no device answered")
    probabilities = np.array([0.1, 0.9], np.float32)
    answer = EventAnswer(
        event="e",
        label=said,
        probabilities=probabilities,
        exit=exit,
        confidence=0.93,
        devices=np.array([True, False]),
        degraded=degraded,
        degraded_reason="unreachable" if degraded else "",
        policy_version=1,
        bytes_up=40,
        answers=(None, None),
    )
    return Played(event, answer, 12.5)


def test_totals_count_answers_exits_bytes_and_failures() -> None:
    tally = Tally()
    for each in (played(0, 0), played(1, 0, Exit.CLOUD, degraded=True), played(0, None), played(1, 1)):
        tally.add(each)
    totals = tally.document()
    assert (totals["events"], totals["failed"], totals["degraded"]) == (3, 1, 1)
    assert totals["accuracy"] == pytest.approx(2 / 3)
    assert totals["exit_share"]["local"] == pytest.approx(2 / 3)
    assert (totals["bytes_per_event"], totals["raw_bytes_per_event"]) == (40, 12)
    assert totals["p50_ms"] == 12.5


def test_without_a_terminal_every_event_is_a_line_and_the_totals_are_the_last() -> None:
    text = io.StringIO()
    with LiveTable(("cat", "dog"), 2, Console(file=text, width=60)) as table:
        table.show(played(0, 1, degraded=True))
        table.show(played(1, None))
    header, first, second, last = text.getvalue().splitlines()
    assert header.split() == ["event", "true", "answer", "exit", "sure", "devices", "bytes", "up", "ms"]
    assert first.split() == ["#7", "cat", "dog", "local", "93", "%", "●○", "40", "12.5", "degraded:", "unreachable"]
    assert second.endswith("no device answered")
    assert last.startswith("= 1 events   accuracy 0.0 %")


def test_a_terminal_gets_one_table_drawn_in_place() -> None:
    text = io.StringIO()
    console = Console(file=text, width=100, height=20, force_terminal=True, color_system=None)
    with LiveTable(("cat", "dog"), 2, console) as table:
        for _ in range(30):
            table.show(played(0, 0))
    assert "30 events   accuracy 100.0 %   answered at local 100 %" in text.getvalue()


def test_a_terminal_is_drawn_while_events_come(request: pytest.FixtureRequest) -> None:
    request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(1e-5)  # the two threads take turns within a row
    console = Console(file=io.StringIO(), width=100, height=20, force_terminal=True, color_system=None)
    with LiveTable(("cat", "dog"), 2, console) as table, ThreadPoolExecutor(1) as threads:
        done = threads.submit(lambda: deque(map(table.show, repeat(played(0, 0), 20_000)), maxlen=0))
        while not done.done():
            console.render_lines(table._draw())  # raises when the rows change beneath it
        done.result()
    assert table.tally.events == 20_000


def test_events_nobody_answers_have_one_line_of_totals_at_the_end() -> None:
    text = io.StringIO()
    with LiveTable(("cat", "dog"), 2, Console(file=text, width=60)) as table:
        for _ in range(50):
            table.show(played(1, None))
    lines = text.getvalue().splitlines()
    assert [line for line in lines if line.startswith("=")] == ["= 0 events   accuracy —   not answered 50"]
    assert lines[-1].startswith("=")


def test_played_events_are_shuffled_start_again_and_know_who_saw_nothing() -> None:
    y = np.arange(5)
    present = np.ones((5, 1), np.bool_)
    present[3] = False
    views, split = (np.zeros((5, 2), np.float32),), np.full(5, "test")
    data = Dataset("five", views, y, y[:, None], present, tuple("abcde"), split, None, y + 100, "", {})
    assert sorted(event.label or 0 for event in shuffled(data)) == [0, 1, 2, 3, 4]
    assert [event.name for event in shuffled(data, 7)][:2] == [event.name for event in shuffled(data, 7)][5:]
    assert Event.of(data, 3).views == (None,)


def test_saved_requests_are_what_a_device_reads(tmp_path: Path) -> None:
    (file,) = write_requests(tmp_path / "new", Event("#1", None, (None, VIEW)), "mine")
    assert file.name == "device-1.json"
    request = decode_request(file.read_bytes())
    assert request.take("view", "UINT8", (1, *VIEW.shape)).tolist() == [VIEW.tolist()]
    assert request.inputs["event"].tolist() == [b"mine"]
