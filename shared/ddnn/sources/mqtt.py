"""An MQTT topic: each message is a photograph."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from ddnn.connections import trusted
from ddnn.errors import BadInput
from ddnn.extensions import needed_for
from ddnn.picture import is_picture
from ddnn.sources.source import Frame, Say, rests

__all__ = ["Mqtt"]

PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
WAITING: Final = 32  #: messages that wait to be looked at, at most: newer ones are lost then
PATIENCE_S: Final = 10.0


class Mqtt:
    """`mqtt://host/site/camera`, or `mqtts://user:password@host:port/topic`; the topic may have wildcards."""

    live = True

    def __init__(self, name: str, say: Say) -> None:
        """Raise `BadInput` for an address without a host or topic."""
        with needed_for("an MQTT topic", extra="mqtt"):
            import aiomqtt
        self._library, self._say = aiomqtt, say
        try:
            parts = urlsplit(name.replace("#", "%23").replace("?", "%3F"))
            port = parts.port or PORTS[parts.scheme]
        except ValueError as error:
            raise BadInput(f"{name} is no address ({error}); expected mqtt://host/topic") from error
        self._topic = unquote(parts.path.removeprefix("/"))
        if not parts.hostname or not self._topic:
            raise BadInput(f"{name} has no {'topic' if parts.hostname else 'host'}; expected mqtt://host/topic")
        self.name = f"{parts.scheme}://{parts.hostname}:{port}/{self._topic}"  # a password is not shown
        secure = trusted("https://") if parts.scheme == "mqtts" else None
        self._where: dict[str, Any] = {
            "hostname": parts.hostname,
            "port": port,
            "username": unquote(parts.username) if parts.username else None,
            "password": unquote(parts.password) if parts.password else None,
            "tls_context": secure,
            "timeout": PATIENCE_S,
            "max_queued_incoming_messages": WAITING,
        }

    async def frames(self) -> AsyncIterator[Frame]:
        """Each message that is a photograph, as it comes; a broker that is lost is tried again, later and later."""
        rest = 0.0
        while True:
            try:
                async with aclosing(self._messages()) as messages:
                    async for content in messages:
                        rest = 0.0
                        if is_picture(content):
                            yield Frame(time.time(), content)
                        else:
                            self._say(f"{self.name}: a message of {len(content)} bytes is no photograph, and left out")
            except self._library.MqttError as error:
                rest = rests(rest)
                self._say(f"{self.name} is lost ({str(error).lower()}); it is tried again in {rest:.0f} s")
                await asyncio.sleep(rest)

    async def _messages(self) -> AsyncGenerator[bytes, None]:
        async with self._library.Client(**self._where) as client:
            await client.subscribe(self._topic)
            async for message in client.messages:
                payload = message.payload
                yield bytes(payload) if isinstance(payload, bytes | bytearray) else b""
