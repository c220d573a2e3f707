"""What several cameras see in one stretch of time is one event."""

from ddnn.sources.source import Frame
from ddnn.sources.windows import GRACE_S, Joined, Windows


def frame(time: float, content: str = "x") -> Frame:
    return Frame(time, content.encode())


def test_an_event_is_complete_when_every_camera_has_seen_its_stretch() -> None:
    windows = Windows("gate", 2.0, 2)
    assert not windows.add(0, frame(100.1, "left"))
    assert windows.add(1, frame(100.4, "right")) == [Joined("gate-200", 100.0, (b"left", b"right"))]


def test_two_processes_whose_clocks_agree_give_their_parts_of_an_event_one_id() -> None:
    left, right = (Windows("gate", 2.0, 1) for _ in range(2))
    assert left.add(0, frame(100.1))[0].id == right.add(0, frame(100.4))[0].id == "gate-200"


def test_a_camera_that_is_past_a_stretch_has_missed_it() -> None:
    windows = Windows("gate", 1.0, 2)
    windows.add(0, frame(7.5, "a"))
    assert windows.add(1, frame(8.5, "b")) == [Joined("gate-7", 7.0, (b"a", None))]
    assert windows.add(0, frame(8.6, "c")) == [Joined("gate-8", 8.0, (b"c", b"b"))]


def test_a_stretch_is_held_open_a_little_and_then_it_is_over() -> None:
    windows = Windows("gate", 1.0, 2)
    windows.add(0, frame(7.5))
    assert not windows.due(8.0 + GRACE_S)
    assert [event.views for event in windows.due(8.01 + GRACE_S)] == [(b"x", None)]
    assert not windows.add(1, frame(7.9))
    assert windows.late == 1


def test_of_one_camera_the_first_photograph_of_a_stretch_counts() -> None:
    windows = Windows("gate", 1.0, 2)
    windows.add(0, frame(7.1, "first"))
    windows.add(0, frame(7.2, "second"))
    assert windows.add(1, frame(7.3, "other"))[0].views == (b"first", b"other")
    windows.add(1, frame(7.4, "after it is complete"))
    assert (windows.surplus, windows.late) == (2, 0)


def test_events_come_in_their_order() -> None:
    windows = Windows("gate", 1.0, 3)
    for time in (1.0, 2.0):
        for camera in (0, 1):
            windows.add(camera, frame(time))
    assert [event.id for event in windows.add(2, frame(2.5))] == ["gate-1", "gate-2"]


def test_a_source_that_has_ended_is_not_waited_for() -> None:
    windows = Windows("gate", 1.0, 2)
    windows.add(0, frame(3.0))
    assert [event.id for event in windows.ended(1)] == ["gate-3"]
    assert windows.add(0, frame(4.0))[0].views == (b"x", None)
