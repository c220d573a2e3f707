"""The streams of a tier to those above it, and a request over one, with the failures that an uplink knows."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from ssl import SSLContext
from typing import Final

from ddnn.errors import BadInput
from ddnn.stream import Broken, Refusal, Stream
from ddnn.uplink.exchange import Call, Exchange, refused
from ddnn.uplink.transport import NoReply

__all__ = ["Streams", "over_stream"]

_GENERATED: Final = re.compile("[0-9a-f]{32}")  #: a request id as a tier makes one, which is not worth its bytes


class Streams:
    """One to each address; none are there where a tier asks by HTTP alone."""

    def __init__(self, urls: Sequence[str], tls: SSLContext | bool | None, classes: int, devices: int) -> None:
        """Answers are over `classes` and `devices`; `tls` is what https connections are made by."""
        self._urls = tuple(url.rstrip("/") for url in urls)
        self._tls, self._sizes = tls if isinstance(tls, SSLContext) else None, (classes, devices)
        self.news = asyncio.Event()  #: something was told, or a stream has ended or begun
        self._to: dict[str, Stream] = {}

    def say(self, headers: Mapping[str, str]) -> None:
        """Make them, with what is said when they are opened."""
        classes, devices = self._sizes
        for url in self._urls:
            tls = self._tls if url.startswith("https://") else None
            given = {"headers": headers, "tls": tls, "changed": self.news.set}
            self._to[url] = Stream(url, classes=classes, devices=devices, **given)  # type: ignore[arg-type]

    def to(self, url: str) -> Stream | None:
        return self._to.get(url)

    @property
    def spoken(self) -> bool:
        """Whether a tier above may speak streams: they tell what is new, and nothing need be asked."""
        return any(stream.spoken for stream in self._to.values())

    @property
    def told(self) -> tuple[str, Mapping[str, str]] | None:
        """The address of the first tier above with a stream, and what it has told last."""
        found = ((url, stream.facts) for url, stream in self._to.items())
        return next(((url, facts) for url, facts in found if facts is not None), None)

    @property
    def pressed(self) -> float | None:
        """What the first tier above with a stream sheds; None without any."""
        found = (stream.pressed for stream in self._to.values())
        return next((share for share in found if share is not None), None)

    def hold(self) -> None:
        """Keep them open from now on."""
        for stream in self._to.values():
            stream.hold()

    def renew(self) -> None:
        """Connect anew."""
        for stream in self._to.values():
            stream.renew()

    async def ping(self, url: str) -> None:
        """Say that this tier lives."""
        with suppress(Broken):
            await self._to[url].ping()

    async def tell(self, url: str, report: bytes, seconds: float) -> bool:
        """Send a report, gzipped; whether it was taken over a stream, where there is one."""
        stream = self._to.get(url)
        if stream is None or not stream.open:
            return False
        try:
            async with asyncio.timeout(seconds):
                await stream.tell(report)
        except (TimeoutError, Broken):
            return False
        return True

    async def alive(self, url: str, seconds: float) -> bool:
        """Whether the tier at `url` says so over its stream, False where there is none; raise `NoReply`."""
        stream = self._to.get(url)
        if stream is None or not stream.open:
            return False
        try:
            async with asyncio.timeout(seconds):
                await stream.ping()
        except TimeoutError:
            stream.drop()  # what is sent on it goes nowhere
            raise NoReply("timeout", f"{url} gave no sign of life within {seconds:g} s") from None
        except Broken:
            return False
        return True

    async def aclose(self) -> None:
        for stream in self._to.values():
            await stream.aclose()


async def over_stream(
    stream: Stream, call: Call, budget_s: float, *, connect_s: float, heard: Callable[[], object]
) -> Exchange:
    """Its answer; raise `NoReply`, or `Unspoken` where it is to go by HTTP. `heard`: the tier above lives."""
    traced, id = call.headers.get("traceparent", ""), call.headers.get("x-request-id", "")
    try:
        answered, asked = await stream.ask(
            call.inputs,
            call.parameters,
            within_s=budget_s,
            connect_s=connect_s,
            traceparent=traced.encode(),
            request_id=b"" if _GENERATED.fullmatch(id) else id.encode(),
        )
    except Broken as error:
        message = f"{stream.url} cannot be reached ({error})"
        raise NoReply("unreachable", message, again=True, sent=error.sent) from error
    except Refusal as refusal:
        heard()
        after = None if refusal.after_s is None else str(refusal.after_s)
        raise refused(stream.url, refusal.status, str(refusal), after) from refusal
    except BadInput as error:
        raise NoReply("bad_answer", f"{stream.url} answered nonsense: {error}") from error
    heard()
    worked = answered.worked_s
    headers = {} if worked is None else {"server-timing": f"cloud-cloud;dur={1000 * worked:.3f}"}
    return Exchange(answered.answers, headers, asked.sent, asked.received)
