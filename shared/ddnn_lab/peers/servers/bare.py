"""The least that serves: one FastAPI route around an ONNX Runtime session; bytes in, bytes out.

`PEER_MODEL=cloud.onnx uvicorn bare:app --port 8000 --loop uvloop --http httptools --no-access-log --log-level warning`
"""

import os
from typing import Final

import numpy as np
import onnxruntime
from fastapi import FastAPI, Request, Response

OPTIONS: Final = onnxruntime.SessionOptions()
OPTIONS.intra_op_num_threads = OPTIONS.inter_op_num_threads = 1
SESSION: Final = onnxruntime.InferenceSession(os.environ["PEER_MODEL"], OPTIONS, providers=["CPUExecutionProvider"])
SHAPE: Final = tuple(SESSION.get_inputs()[0].shape[1:])
PRESENT: Final = np.ones((1, SHAPE[0]), bool)

app = FastAPI(openapi_url=None)


@app.get("/health")
async def health() -> Response:
    return Response()


@app.post("/predict")
async def predict(request: Request) -> Response:
    # Within the loop: the network takes a fraction of what handing it to a thread would.
    view = np.frombuffer(await request.body(), np.uint8).reshape(1, *SHAPE)
    (scores,) = SESSION.run(None, {"view": view, "present": PRESENT})
    return Response(scores.tobytes(), media_type="application/octet-stream")
