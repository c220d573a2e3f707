"""A page to label events by keys, of one file, on this machine alone, until Ctrl-C."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import Response

from ddnn.data.labelled import Labelled
from ddnn.errors import BadInput, DDNNError, NotFound
from ddnn.formatting import count
from ddnn.pages import render
from ddnn.picture import drawn
from ddnn.serving.http import read_body
from ddnn.serving.local import HOST, make_local
from ddnn.serving.room.page import HEADERS
from ddnn.types import Array

__all__ = ["Labelling", "make_labelling", "serve_page"]

_FILES: Final = {"label.js": "text/javascript", "label.css": "text/css"}
_MOST_BODY: Final = 1024
_RESTS: Final = 10  #: between writes, so many times what one takes
_LEAST_S: Final = 0.2


class Labelling:
    """The labels of one file, as they are given; written soon after, and in the end."""

    def __init__(self, path: Path) -> None:
        self._path, self.found = path, Labelled.read(path)
        self._given: dict[str, str] = {}
        self._changed = asyncio.Event()
        self.problem = ""  #: why the file could not be written

    def give(self, row: int, label: int) -> None:
        """Label an event; -1 takes the label away. Raise `NotFound` or `BadInput`."""
        self.demand(row)
        if not -1 <= label < len(self.found.classes):
            raise BadInput(f"the label is {label}; expected -1 to {len(self.found.classes) - 1}")
        self._given[self.found.events[row]] = self.found.classes[label] if label >= 0 else ""
        self.found.y[row] = label
        self._changed.set()

    def demand(self, row: int, device: int = 0) -> None:
        """Raise `NotFound` unless there is such an event and device."""
        if not (0 <= row < len(self.found) and 0 <= device < len(self.found.views)):
            raise NotFound(f"there is no event {row} of device {device} in {self._path.name}")

    def write(self) -> None:
        """Put the labels into the file, with what else has come into it meanwhile."""
        given, self._given = self._given, {}
        if given:
            try:
                Labelled.read(self._path).set(given.items())[0].write(self._path)
                self.problem = ""
            except (OSError, DDNNError) as error:
                self._given = {**given, **self._given}
                self.problem = str(error)

    async def run(self) -> None:
        """Write what changes; a file that takes long to write is written less often."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            began = time.monotonic()
            await asyncio.to_thread(self.write)
            if self.problem:
                self._changed.set()
            await asyncio.sleep(max(_LEAST_S, _RESTS * (time.monotonic() - began)))

    def document(self) -> dict[str, Any]:
        """What the page begins with."""
        found = self.found
        about = {name: found.about[name].tolist() for name in ("event", "kind", "answer", "exit", "confidence")}
        return {
            "file": self._path.name,
            "classes": found.classes,
            "labels": found.y.tolist(),
            "visible": found.visible.tolist(),
            "problem": self.problem,
            **about,
        }


def make_labelling(labelling: Labelling, secret: str) -> FastAPI:
    """The page under a path that nobody can guess, for names of this machine alone."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        writing = asyncio.create_task(labelling.run())
        yield
        writing.cancel()
        await asyncio.wait([writing])
        await asyncio.to_thread(labelling.write)

    app = make_local("labelling", lifespan)

    @app.get(f"/{secret}/")
    async def page() -> Response:
        html = render("label/label.html", {"file": labelling.document()["file"]})
        return Response(html, headers={**HEADERS, "Content-Type": "text/html; charset=utf-8"})

    @app.get(f"/{secret}/files/{{name}}")
    async def file(name: str) -> Response:
        if name not in _FILES:
            raise NotFound(f"the page has no file {name[:40]!r}")
        content = files("ddnn").joinpath("templates", "label", name).read_bytes()
        return Response(content, headers={**HEADERS, "Content-Type": f"{_FILES[name]}; charset=utf-8"})

    @app.get(f"/{secret}/state")
    async def state() -> Response:
        content = orjson.dumps(labelling.document(), option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(content, headers={**HEADERS, "Content-Type": "application/json", "Cache-Control": "no-store"})

    @app.get(f"/{secret}/views/{{row}}/{{device}}")
    async def view(row: int, device: int) -> Response:
        labelling.demand(row, device)
        content, kind = await asyncio.to_thread(_shown, labelling.found.views[device][row])
        return Response(content, headers={**HEADERS, "Content-Type": kind, "Cache-Control": "no-store"})

    @app.put(f"/{secret}/labels/{{row}}")
    async def give(request: Request, row: int) -> Response:
        body = await read_body(request.receive, dict(request.headers.raw), _MOST_BODY)
        try:
            label = orjson.loads(body)["label"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise BadInput("the body is no object with a 'label'") from error
        if type(label) is not int:
            raise BadInput(f"the label is {str(label)[:40]!r}; expected a whole number")
        labelling.give(row, label)
        return Response(orjson.dumps({"problem": labelling.problem}), media_type="application/json")

    return app


def serve_page(path: Path, port: int, say: Callable[[str], object]) -> None:
    """Serve the page of a file until Ctrl-C; its address is said, and opened by nobody but its reader."""
    labelling, secret = Labelling(path), secrets.token_urlsafe(16)
    config = uvicorn.Config(
        make_labelling(labelling, secret), host=HOST, port=port, log_config=None, timeout_graceful_shutdown=2
    )
    sock = config.bind_socket()
    say(f"label {count(labelling.found.left, 'event')} at http://{HOST}:{sock.getsockname()[1]}/{secret}/")
    say("Ctrl-C ends it; labels are in the file soon after they are given")
    try:
        asyncio.run(uvicorn.Server(config).serve(sockets=[sock]))
    except KeyboardInterrupt:
        pass
    finally:
        sock.close()
    if labelling.problem:
        raise BadInput(f"the last labels could not be written: {labelling.problem}")


def _shown(view: Array) -> tuple[bytes, str]:
    """A view as a picture: PNG, or of numbers their course as SVG."""
    if view.ndim >= 2 and (view.ndim == 3 or view.dtype == np.uint8):
        file = BytesIO()
        drawn(view).save(file, "PNG")
        return file.getvalue(), "image/png"
    return _course(view.reshape(-1, view.shape[-1])).encode(), "image/svg+xml"


def _course(series: Array) -> str:
    """Series (C, L) as lines, from the least to the most of each."""
    lines = "".join(map(partial(_line, len(series)), range(len(series)), series))
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 240 160" width="240" height="160">{lines}</svg>'


def _line(channels: int, channel: int, values: Array) -> str:
    finite = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, spread = float(finite.min()), float(np.ptp(finite)) or 1.0
    x = np.linspace(4, 236, len(finite))
    y = 156 - 152 * (finite - low) / spread
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    colour = f"hsl({round(360 * channel / channels)} 70% 45%)"
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
