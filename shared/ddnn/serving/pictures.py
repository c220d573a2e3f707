"""Photographs at a device: a request whose body is one, and their way to views, bounded and off the event loop."""

import asyncio
import math
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

import numpy as np
import orjson

from ddnn.errors import BadInput, DeadlineExceeded, TooLarge
from ddnn.picture import decode, is_picture, unwrapped
from ddnn.serving.request import RequestOptions, Stage, TensorSpec
from ddnn.topology import View
from ddnn.types import Array, Bits, Bools
from ddnn.wire import InferRequest, decode_request, shown

__all__ = ["EVENT_HEADER", "OPTIONS", "Decoder", "Pictures", "in_text", "is_photograph", "picture_request"]

T = TypeVar("T")
EVENT_HEADER: Final = "x-ddnn-event"  #: the event's id, where the query has none
_EVENT_HEADER: Final = EVENT_HEADER.encode()
_NUMBERS: Final = ("threshold", "timeout", "wait_ms")
OPTIONS: Final = ("event", "id", "max_exit", *_NUMBERS)  #: what the query of a photograph may hold
_WEIGHT: Final = 0.1  #: of the latest picture in what one usually takes


def is_photograph(body: bytes, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a body without binary tensors is a picture: it says so, or it begins like one, as no JSON does."""
    return is_picture(body) or headers.get(b"content-type", b"").lower().startswith(b"image/")


def picture_request(body: bytes, query: bytes, headers: Mapping[bytes, bytes]) -> InferRequest:
    """The request of one row that a photograph stands for; raise `BadInput` for a query that is none of `OPTIONS`."""
    given: dict[str, str] = {}
    try:
        pairs = parse_qsl(query.decode(), keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except ValueError as error:  # bytes that are no text among them
        raise BadInput(f"the query is {shown(query)}; expected some of {', '.join(OPTIONS)}") from error
    for name, value in pairs:
        if name not in OPTIONS or name in given:
            raise BadInput(f"the query has {shown(name)}, unknown or twice; expected some of {', '.join(OPTIONS)}")
        given[name] = value
    event = given.pop("event").encode() if "event" in given else headers.get(_EVENT_HEADER)
    head = {"id": given.pop("id", None), "parameters": {name: _value(name, text) for name, text in given.items()}}
    # The protocol's own reader knows what may be in it.
    request = decode_request(orjson.dumps({**head, "inputs": []}))
    inputs = {"picture": _bytes(body)} | ({} if event is None else {"event": _bytes(event)})
    return replace(request, inputs=inputs)


def _value(name: str, text: str) -> Any:
    """A number where one is meant; what is none is refused by its name later."""
    try:
        number = float(text) if name in _NUMBERS else math.nan
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _bytes(content: bytes) -> Array:
    rows = np.empty(1, np.object_)
    rows[0] = content
    return rows


class Decoder:
    """Decodes pictures on a thread of its own, one at a time: what decoding takes is the memory of one."""

    def __init__(self, *, most_bytes: int) -> None:
        """The views of one request have at most `most_bytes`."""
        self._most_bytes = most_bytes
        self._thread: ThreadPoolExecutor | None = None
        self._waiting = 0
        self._usual_s = 0.0

    @property
    def wait_s(self) -> float:
        """Seconds until a picture that came now would be decoded, what is before it first."""
        return self._waiting * self._usual_s

    async def decoded(self, work: Callable[[], T], files: int, size: int, options: RequestOptions) -> T:
        """What `work` makes of so many files, views of `size` bytes; raise what it raises, or `DeadlineExceeded`."""
        if size > self._most_bytes:
            raise TooLarge(f"{files} pictures make {size} bytes of views; expected at most {self._most_bytes}")
        self._thread = self._thread or ThreadPoolExecutor(1, "pictures")
        began = perf_counter()
        self._waiting += files
        task = asyncio.get_running_loop().run_in_executor(self._thread, _timed, work)
        try:
            async with asyncio.timeout_at(options.deadline):
                made, seconds = await task
        except TimeoutError as error:
            raise DeadlineExceeded("the deadline had passed before the picture was decoded") from error
        finally:
            self._waiting -= files
        self._usual_s += (_WEIGHT if self._usual_s else 1.0) * (seconds / max(files, 1) - self._usual_s)
        options.stages.append(Stage("picture", perf_counter() - began, began))
        return made

    async def unpacked(
        self, spec: TensorSpec, rows: Array, shape: tuple[int, ...], options: RequestOptions, present: Bools
    ) -> Bits:
        """Views (…, *shape) out of the files that came as tensor `spec`, zero where not `present`; or `BadInput`.

        On arrival, as in the section a file that cannot be read fails the events of others too.
        """
        assert spec.unpack is not None
        files, unpack = rows[present], spec.unpack
        views = np.zeros((*rows.shape, *shape), np.uint8)
        views[present] = await self.decoded(partial(unpack, files), len(files), views.nbytes, options)
        return views

    def close(self) -> None:
        if self._thread:
            self._thread.shutdown(wait=False, cancel_futures=True)


class Pictures(Decoder):
    """Makes a device's views of photographs."""

    def __init__(self, view: View, *, most_pixels: int, most_bytes: int) -> None:
        """Of at most `most_pixels` each; the views of one request have at most `most_bytes`."""
        super().__init__(most_bytes=most_bytes)
        self._view, self._most_pixels = view, most_pixels

    async def views(self, files: Sequence[bytes], options: RequestOptions) -> Bits:
        """Views (B, C, H, W) of so many files, in base64 or as they are.

        Raise `BadInput`, `TooLarge` or `DeadlineExceeded`.
        """
        size = len(files) * self._view.bytes
        return await self.decoded(partial(self._seen, files), len(files), size, options)

    def _seen(self, files: Sequence[bytes]) -> Bits:
        view = self._view
        views = np.empty((len(files), *view.shape), np.uint8)
        for row, file in enumerate(files):
            views[row] = decode(unwrapped(file), view.shape, view.picture, most_pixels=self._most_pixels)
        return views


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start = perf_counter()
    return work(), perf_counter() - start


def in_text(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """An example's tensors, those that are files in base64, as in JSON."""
    files = {name: array for name, array in inputs.items() if name == "view" and array.dtype == np.object_}
    return {**inputs, **{name: np.vectorize(b64encode, otypes=[np.object_])(rows) for name, rows in files.items()}}
