"""The page over HTTP: what it may load and run, who may read what it shows, and that a setting turns it off."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ddnn.bundle import Bundle
from ddnn.pages import render
from ddnn.serving.room.room import Room
from ddnn.serving.room.streams import MOST_STREAMS
from ddnn_lab.in_process import Fleet
from real_port import PATIENCE_S, serving, until

METRICS = "metrics-for-scraper"
TEMPLATES = Path(__file__).parents[4] / "shared" / "ddnn" / "templates" / "room"


async def cloud(bundle: Bundle, **settings: object) -> AsyncIterator[Fleet]:
    fleet = Fleet(Bundle.open(bundle.path), settings=settings)
    fleet.start(cloud_alone=True)
    yield fleet
    await fleet.close()


@pytest.fixture
async def open_cloud(tiny_bundle: Bundle) -> AsyncIterator[Fleet]:
    async for fleet in cloud(tiny_bundle):
        yield fleet


@pytest.fixture
async def guarded_cloud(tiny_bundle: Bundle) -> AsyncIterator[Fleet]:
    async for fleet in cloud(tiny_bundle, metrics_token=METRICS):
        yield fleet


async def test_the_page_loads_and_runs_only_what_this_server_has(open_cloud: Fleet) -> None:
    async with open_cloud.client("cloud") as client:
        page = await client.get("/")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        loaded = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
        assert len(loaded) > 4
        for link in loaded:
            assert "//" not in link
            assert (await client.get(f"/{link}")).status_code == 200, link
        assert not re.search(r"<script(?![^>]* src=)|\son\w+=|style=|<style", page.text)


async def test_no_file_of_the_page_names_another_server() -> None:
    named = {
        path.name: found
        for path in TEMPLATES.iterdir()
        if (found := set(re.findall(r"https?://[\w.]+", path.read_text())) - {"http://www.w3.org"})
    }
    assert named.keys() <= {"uplot.js"}
    assert "innerHTML" not in "".join(path.read_text() for path in TEMPLATES.glob("*.js") if path.name != "uplot.js")


def test_what_a_bundle_is_called_is_text() -> None:
    page = render("room/room.html", {"name": "<script>alert(1)</script>", "fingerprint": '"><b>', "api": True})
    assert "<script>alert" not in page
    assert "<b>" not in page


async def test_files_are_sent_once_and_there_are_no_others(open_cloud: Fleet) -> None:
    async with open_cloud.client("cloud") as client:
        first = await client.get("/room/files/room.js")
        again = await client.get("/room/files/room.js", headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        for name in ("room.html", "..%2Fstyle.css", "uplot-LICENSE.txt", "x"):
            assert (await client.get(f"/room/files/{name}")).status_code == 404


async def test_what_the_page_shows_is_read_with_a_token_where_the_status_is(guarded_cloud: Fleet) -> None:
    async with guarded_cloud.client("cloud") as client:
        for path in ("/room/state", "/room/stream", "/v2/reports"):
            assert (await client.get(path)).status_code == 401
            assert (await client.get(f"{path}?token={METRICS}")).status_code == 401
        read = await client.get("/room/state", headers={"authorization": f"Bearer {METRICS}"})
        assert read.status_code == 200
        assert read.json()["state"]["tiers"][0]["state"] == "alive"
        assert (await client.get("/")).status_code == 200


async def test_a_setting_turns_the_page_off(tiny_bundle: Bundle) -> None:
    async for fleet in cloud(tiny_bundle, room=False):
        async with fleet.client("cloud") as client:
            for path in ("/", "/room/state", "/room/stream", "/room/files/room.js"):
                assert (await client.get(path)).status_code == 404


async def look(port: int) -> tuple[bytes, asyncio.StreamWriter]:
    """What a reader of the stream gets first, its status or the first message, and its connection, still open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /room/stream HTTP/1.1\r\nhost: x\r\n\r\n")
    status = await reader.readline()
    if b"200" in status:
        await reader.readuntil(b"event: whole")
    return status, writer


async def test_there_is_room_for_so_many_pages_and_for_more_when_one_is_closed(open_cloud: Fleet) -> None:
    app = open_cloud.switch.apps["cloud"]
    room: Room = app.state.room
    async with serving(app) as port, asyncio.timeout(PATIENCE_S):
        room.start()
        readers = [await look(port) for _ in range(MOST_STREAMS)]
        assert all(b"200" in status for status, _ in readers)
        readers.append(await look(port))
        assert b"503" in readers[-1][0]
        readers[0][1].close()
        await until(lambda: len(room.streams) < MOST_STREAMS)
        readers.append(await look(port))
        assert b"200" in readers[-1][0]
        await room.stop()
        for _, writer in readers:
            writer.close()
            await writer.wait_closed()
