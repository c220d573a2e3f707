"""BentoML around the same session: JSON in and out as its own API has it, alone and batched, and a mounted ASGI
application, which is how BentoML takes bytes; nothing batches those.

`PEER_MODEL=cloud.onnx PEER_WORKERS=1 bentoml serve bento:Network --port 8000`
"""

import os
from typing import Annotated, Any

import bentoml
import numpy as np
import numpy.typing as npt
import onnxruntime
from fastapi import Depends, FastAPI, Request, Response

Rows = npt.NDArray[np.float32]  #: BentoML makes its tensors of this one type
binary = FastAPI(openapi_url=None)


# What BentoML counts and writes for every request, and need not, is off.
@bentoml.service(
    workers=int(os.environ["PEER_WORKERS"]),
    traffic={"timeout": 30},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(binary, path="/binary")
class Network:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self.shape = tuple(self.session.get_inputs()[0].shape[1:])

    def run(self, views: npt.NDArray[Any]) -> Rows:
        view = views.reshape(-1, *self.shape)
        (scores,) = self.session.run(None, {"view": view, "present": np.ones(view.shape[:2], bool)})
        return np.asarray(scores, np.float32)

    @bentoml.api(route="/json")  # type: ignore[untyped-decorator]
    async def one(self, views: Rows) -> Rows:
        return self.run(views.astype(np.uint8))

    @bentoml.api(route="/batched", batchable=True, max_batch_size=64, max_latency_ms=1000)  # type: ignore[untyped-decorator]
    async def several(self, views: Rows) -> Rows:
        return self.run(views.astype(np.uint8))


@binary.post("/predict")
async def predict(request: Request, network: Annotated[Network, Depends(bentoml.get_current_service)]) -> Response:
    scores = network.run(np.frombuffer(await request.body(), np.uint8))
    return Response(scores.tobytes(), media_type="application/octet-stream")
