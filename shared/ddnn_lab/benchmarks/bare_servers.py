"""What a tier is measured against: the same section behind a bare FastAPI route, and behind no framework at all.

`python -m ddnn_lab.benchmarks.bare_servers fastapi|asgi device|cloud PORT BYTES`: each takes a tier's request body and
answers with BYTES bytes. Nothing is checked, decided or counted.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.runtime import Section
from ddnn.types import Tier

__all__ = ["PATH", "bare_asgi", "bare_fastapi", "make_run"]

PATH = "/v2/models/ddnn/infer"
_HEADER_LENGTH = b"inference-header-content-length"


def make_run(tier: Tier, size: int) -> Callable[[bytes, int], bytes]:
    """The section on a body whose tensors begin at a place, for one event; its scores, filled up to `size` bytes."""
    bundle = Bundle.open(shipped_bundle())
    section = Section(bundle.sections(tier, 0)["section"], threads=1)
    topology, here = bundle.topology, np.ones((1, 1), np.bool_)
    shape, cut = topology.devices[0].view.shape, topology.features(Tier.EDGE)

    def device(body: bytes, at: int) -> bytes:
        view = np.frombuffer(body, np.uint8, int(np.prod(shape)), at).reshape(1, *shape)
        return section.run(view=view)["scores"].tobytes().ljust(size)

    def cloud(body: bytes, at: int) -> bytes:
        assert cut is not None
        packed = np.frombuffer(body, np.uint8, cut.bytes, at).reshape(1, 1, cut.bytes)
        return section.run(features=cut.unpack(packed), present=here)["scores"].tobytes().ljust(size)

    return device if tier is Tier.DEVICE else cloud


def bare_fastapi(run: Callable[[bytes, int], bytes]) -> FastAPI:
    """A route as anybody would write it."""
    app = FastAPI()

    @app.post(PATH)
    async def infer(request: Request) -> Response:
        body = await request.body()
        at = int(request.headers["Inference-Header-Content-Length"])
        return Response(run(body, at), media_type="application/octet-stream")

    return app


def bare_asgi(run: Callable[[bytes, int], bytes]) -> Callable[..., Awaitable[None]]:
    """The same without FastAPI and Starlette: what HTTP and the section cost by themselves."""

    async def app(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[dict[str, Any]], Any]) -> None:
        body = (await receive())["body"]
        answer = run(body, next(int(value) for name, value in scope["headers"] if name == _HEADER_LENGTH))
        headers = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def main(kind: str, tier: str, port: str, size: str) -> None:
    """Serve until stopped, with the loop and parser that a tier has."""
    run = make_run(Tier(tier), int(size))
    app: Any = bare_fastapi(run) if kind == "fastapi" else bare_asgi(run)
    lifespan: Any = "auto" if kind == "fastapi" else "off"
    uvicorn.run(
        app, port=int(port), http="httptools", loop="uvloop", access_log=False, log_level="warning", lifespan=lifespan
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
