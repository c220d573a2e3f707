"""The page to label by keys: what it gives, what it takes, whom it answers."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn

from ddnn.data.labelled import ABOUT, Labelled
from ddnn.errors import BadData
from ddnn.serving.labelling import Labelling, make_labelling
from real_port import PATIENCE_S, until

SECRET = "nobody-guesses-this"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    about = {name: np.zeros(3, np.int64) for name in ABOUT} | {"event": np.array(["a", "b", "c"])}
    views = np.arange(3 * 64, dtype=np.uint8).reshape(3, 1, 8, 8), np.ones((3, 2, 50), np.float32)
    visible = np.array([[True, True], [True, False], [True, True]])
    Labelled.fresh(views, visible, ("cup", "jug"), **about).write(tmp_path / "doubts.npz")
    return tmp_path / "doubts.npz"


@pytest.fixture
async def page(file: Path) -> AsyncIterator[httpx.AsyncClient]:
    app, listening = make_labelling(Labelling(file), SECRET), socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=2))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    base = f"http://127.0.0.1:{listening.getsockname()[1]}/{SECRET}/"
    async with httpx.AsyncClient(base_url=base, timeout=PATIENCE_S) as client:
        yield client
    server.should_exit = True
    await task


async def test_a_label_is_in_the_file_soon_after_it_is_given(page: httpx.AsyncClient, file: Path) -> None:
    assert (await page.get("state")).json()["labels"] == [-1, -1, -1]
    for row, label in ((2, 1), (0, 0), (2, -1), (1, 1)):
        reply = await page.put(f"labels/{row}", json={"label": label})
        assert reply.json() == {"problem": ""}
    await until(lambda: Labelled.read(file).y.tolist() == [0, 1, -1])
    assert (await page.get("state")).json()["labels"] == [0, 1, -1]


async def test_what_comes_into_the_file_meanwhile_stays(page: httpx.AsyncClient, file: Path) -> None:
    found = Labelled.read(file)
    more = replace(found, about={**found.about, "event": np.array(["d", "e", "f"])})
    found.set([("b", "jug")])[0].joined(more).write(file)
    await page.put("labels/0", json={"label": 0})
    await until(lambda: Labelled.read(file).y.tolist() == [0, 1, -1, -1, -1, -1])


async def test_views_are_pictures_and_series_are_lines(page: httpx.AsyncClient) -> None:
    picture, series = await page.get("views/1/0"), await page.get("views/0/1")
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")
    assert series.headers["content-type"] == "image/svg+xml"
    assert series.text.count("<polyline") == 2
    assert "default-src 'none'" in series.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "labels/3", {"label": 0}, 404),
        ("PUT", "labels/0", {"label": 2}, 400),
        ("PUT", "labels/0", {"label": "cup"}, 400),
        ("PUT", "labels/0", [], 400),
        ("GET", "views/0/2", None, 404),
        ("GET", "views/-1/0", None, 404),
        ("GET", "files/..%2Froom%2Froom.css", None, 404),
    ],
)
async def test_what_is_not_there_is_refused_with_a_sentence(
    page: httpx.AsyncClient, method: str, path: str, body: object, status: int
) -> None:
    reply = await page.request(method, path, json=body)
    assert reply.status_code == status
    assert reply.json()["error"]


async def test_only_names_of_this_machine_and_the_secret_path_are_answered(page: httpx.AsyncClient) -> None:
    assert (await page.get("")).status_code == 200
    assert (await page.get("state", headers={"host": "elsewhere.example"})).status_code == 400
    assert (await page.get(str(page.base_url).replace(SECRET, "a-guess") + "state")).status_code == 404


async def make(file: Path) -> Labelling:
    return Labelling(file)


def test_a_file_that_cannot_be_written_is_told_and_tried_again(file: Path) -> None:
    labelling, kept = asyncio.run(make(file)), file.read_bytes()
    file.write_bytes(b"damaged")
    labelling.give(0, 1)
    labelling.write()
    assert "doubts.npz" in labelling.problem
    file.write_bytes(kept)
    labelling.write()
    assert labelling.problem == ""
    assert Labelled.read(file).y.tolist() == [1, -1, -1]


def test_a_file_of_something_else_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="does not exist"):
        Labelling(tmp_path / "none.npz")
