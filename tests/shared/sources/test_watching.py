"""Sources and a fleet: events by their stretch, a bounded queue, what is dropped is counted."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

from ddnn.client import AsyncFleet
from ddnn.sources import Frame, Plan, Watched, open_sources, watch
from ddnn_lab.in_process import Fleet
from photographs import jpeg, put, video

DEVICES = (0, 1)


def client(fleet: Fleet, devices: int = 2) -> AsyncFleet:
    return AsyncFleet([f"http://device-{n}" for n in range(devices)], transport=fleet.switch)


def silent(_: str) -> None:
    pass


class Camera:
    """A live source of so many photographs, one a second."""

    name, live = "camera", True

    def __init__(self, count: int, content: bytes = b"") -> None:
        self.count, self.content = count, content or jpeg(1)

    async def frames(self) -> AsyncIterator[Frame]:
        for second in range(self.count):
            yield Frame(1000.0 + second, self.content)


async def test_videos_are_one_event_a_stretch_and_none_is_dropped(fleet: Fleet, tmp_path: Path) -> None:
    fleet.use(wait_ms=0)
    files = [video(tmp_path / f"{name}.mp4", seconds) for name, seconds in (("left", 4), ("right", 2))]
    seen: list[Watched] = []
    async with client(fleet) as asked:
        plan = Plan("door", 2.0, queue=1)
        counts = await watch(asked, open_sources(files, 2.0, silent), plan, seen.append)
    assert (counts.events, counts.failed, counts.dropped) == (8, 0, 0)
    by_time = sorted((watched.document() for watched in seen), key=lambda line: float(line["time"]))
    assert [line["views"] for line in by_time] == [[True, True]] * 4 + [[True, False]] * 4
    assert [line["time"] for line in by_time] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]
    assert len({line["event"] for line in by_time}) == 8
    assert {line["class"] for line in by_time} <= set(fleet.bundle.manifest.classes)
    json.dumps(by_time)


async def test_a_full_queue_of_live_events_loses_the_oldest_which_is_counted(fleet: Fleet) -> None:
    fleet.use(wait_ms=0)
    seen: list[Watched] = []
    async with client(fleet, 1) as asked:
        counts = await watch(asked, [Camera(30)], Plan("door", 1.0, queue=3), seen.append)
    assert counts.dropped > 0
    assert counts.events + counts.dropped == 30
    assert max(watched.event.time for watched in seen) == 1029.0, "the newest is kept"
    assert counts.sentence().endswith("dropped from a full queue")


async def test_folders_that_fill_are_watched_until_there_are_enough_events(fleet: Fleet, tmp_path: Path) -> None:
    fleet.use(wait_ms=0)
    folders = [tmp_path / "left", tmp_path / "right"]
    for folder in folders:
        folder.mkdir()
    sources = open_sources([*map(str, folders)], 1000.0, silent)
    for number, folder in enumerate(folders):
        put(folder, "1.jpg", jpeg(number))
    seen: list[Watched] = []
    async with client(fleet) as asked, asyncio.timeout(30):
        counts = await watch(asked, sources, Plan("door", 1.0, count=1), seen.append)
    assert (counts.events, len(seen)) == (1, 1)
    assert any(view is not None for view in seen[0].event.views)


async def test_an_event_without_an_answer_says_why(fleet: Fleet) -> None:
    fleet.use(wait_ms=0)
    seen: list[Watched] = []
    async with client(fleet, 1) as asked:
        broken = jpeg(1)[:200]
        counts = await watch(asked, [Camera(1, broken)], Plan(), seen.append)
    assert (counts.events, counts.failed) == (0, 1)
    assert "a picture cannot be decoded" in seen[0].document()["error"]
    assert counts.sentence() == "0 events answered, 1 not"
