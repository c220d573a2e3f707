"""Each kind of source gives photographs: a folder that fills, a video, an MQTT topic on a real broker."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from ddnn.errors import BadInput
from ddnn.picture import decode
from ddnn.sources import Frame, open_sources
from photographs import jpeg, put, video


def silent(_: str) -> None:
    pass


async def taken(frames: AsyncIterator[Frame], count: int) -> list[bytes]:
    async with asyncio.timeout(30):
        return [(await anext(frames)).content for _ in range(count)]


async def test_a_folder_gives_what_is_new_in_it_and_whole(tmp_path: Path) -> None:
    put(tmp_path, "old.jpg", jpeg(0))
    said: list[str] = []
    (source,) = open_sources([str(tmp_path)], 1.0, said.append)
    (tmp_path / "notes.txt").write_text("no photograph")
    put(tmp_path, "new.jpg", jpeg(1))
    frames = source.frames()
    assert await taken(frames, 1) == [jpeg(1)]
    put(tmp_path, "new.jpg", jpeg(2))
    assert await taken(frames, 1) == [jpeg(2)], "a name may come again"
    assert said == [f"{tmp_path / 'notes.txt'} is no JPEG, PNG or WebP file, and left out"]
    assert source.live


async def test_a_video_gives_a_frame_a_stretch(tmp_path: Path) -> None:
    file = video(tmp_path / "left.mp4", seconds=3, rate=8)
    for rate, count in ((1.0, 3), (2.0, 6), (0.5, 2)):
        (source,) = open_sources([file], rate, silent)
        frames = [frame async for frame in source.frames()]
        assert [int(frame.time * rate) for frame in frames] == [*range(count)]
        assert not source.live
    first, second = (decode(frame.content, (1, 8, 8)).mean() for frame in frames)
    assert second > first + 20


class Camera(BaseHTTPRequestHandler):
    """An IP camera: six JPEGs a connection, as a stream of parts."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(6):
            content = jpeg(number, side=64)
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
            self.wfile.write(head.encode() + content + b"\r\n")

    def log_message(self, format: str, *given: object) -> None:
        pass


async def test_a_camera_that_is_lost_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddnn.sources.source._FIRST_REST_S", 0.01)
    said: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        Thread(target=server.serve_forever).start()
        name = f"http://127.0.0.1:{server.server_port}/stream"
        (source,) = open_sources([name], 1e6, said.append)
        frames = source.frames()
        seen = await taken(frames, 9)
        await frames.aclose()  # type: ignore[attr-defined]  # a generator
        server.shutdown()
    assert source.live
    assert len({*seen[:6]}) > 1
    assert said[0].startswith(f"{name} is lost (")


BROKER = """
import asyncio, sys
from amqtt.broker import Broker

async def main():
    anybody = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    listener = {"default": {"type": "tcp", "bind": "127.0.0.1:" + sys.argv[1], "max_connections": 10}}
    await Broker({"listeners": listener, "plugins": anybody}).start()
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def broker() -> Iterator[int]:
    """A real one, a process of its own, as it leaves connections unclosed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [sys.executable, "-c", BROKER, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield port
        finally:
            process.kill()


async def test_a_topic_gives_its_messages() -> None:
    import aiomqtt

    said: list[str] = []
    with broker() as port:
        (source,) = open_sources([f"mqtt://127.0.0.1:{port}/site/+/left"], 1.0, said.append)
        waiting = asyncio.create_task(taken(source.frames(), 2))
        async with asyncio.timeout(30), aiomqtt.Client("127.0.0.1", port) as camera:
            while not waiting.done():  # what is published before the topic is subscribed to is nobody's
                for content in (b"no photograph", jpeg(5)):
                    await camera.publish("site/gate/left", content, qos=1)
    assert await waiting == [jpeg(5)] * 2
    assert f"mqtt://127.0.0.1:{port}/site/+/left: a message of 13 bytes is no photograph, and left out" in said


async def test_a_broker_that_is_lost_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddnn.sources.source._FIRST_REST_S", 0.01)
    said = asyncio.Queue[str]()
    (source,) = open_sources(["mqtt://127.0.0.1:1/site"], 1.0, said.put_nowait)
    waiting = asyncio.create_task(taken(source.frames(), 1))
    async with asyncio.timeout(30):
        for _ in range(2):
            assert "mqtt://127.0.0.1:1/site is lost" in await said.get()
    waiting.cancel()
    await asyncio.wait([waiting])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gone", "gone does not exist; expected a folder, a video file, rtsp"),
        ("ftp://host/folder", "ftp://host/folder is no source; expected"),
        ("mqtt://host", "mqtt://host has no topic"),
        ("mqtt:///topic", "has no host"),
        ("mqtt://host:port/topic", "is no address"),
        ("text.mp4", "text.mp4 cannot be read as video"),
        ("rtsp://127.0.0.1:1/left", "rtsp://127.0.0.1:1/left cannot be read as video .connection refused"),
    ],
)
def test_what_is_no_source_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.mp4").write_text("no video")
    with pytest.raises(BadInput, match=sentence):
        open_sources([name], 1.0, silent)


def test_files_and_live_sources_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is a file, and other sources are live"):
        open_sources([video(tmp_path / "left.mp4", 1), str(tmp_path)], 1.0, silent)


def test_a_password_is_not_shown() -> None:
    (source,) = open_sources(["mqtts://user:secret@host/site/%23"], 1.0, silent)
    assert source.name == "mqtts://host:8883/site/#"
