"""A network on pictures as it is usually served: FastAPI and ONNX Runtime, all of an event's files in one body.

`PEER_MODEL=cloud.onnx PEER_SHAPE=6,3,192,192 uvicorn pictures:app --port 8000 --loop uvloop --http httptools`; each
file comes behind its length in four bytes, least first. Inputs of the network beside `view` and `present` are zeros.
"""

import os
from io import BytesIO
from typing import Final

import numpy as np
import onnxruntime
from fastapi import FastAPI, Request, Response
from PIL import Image

OPTIONS: Final = onnxruntime.SessionOptions()
OPTIONS.intra_op_num_threads = OPTIONS.inter_op_num_threads = 1
OPTIONS.add_session_config_entry("session.disable_quant_qdq", "1")  # weights are single precision once loaded
SESSION: Final = onnxruntime.InferenceSession(os.environ["PEER_MODEL"], OPTIONS, providers=["CPUExecutionProvider"])
SHAPE: Final = tuple(map(int, os.environ["PEER_SHAPE"].split(",")))
GIVEN: Final = {
    node.name: np.zeros((1, *node.shape[1:]), np.float32)
    for node in SESSION.get_inputs()
    if node.name not in ("view", "present")
} | {"present": np.ones((1, SHAPE[0]), bool)}

app = FastAPI(openapi_url=None)


@app.get("/health")
async def health() -> Response:
    return Response()


@app.post("/predict")
async def predict(request: Request) -> Response:
    body, place, view = memoryview(await request.body()), 0, np.empty((1, *SHAPE), np.uint8)
    for device in range(SHAPE[0]):
        length = int.from_bytes(body[place : place + 4], "little")
        picture = Image.open(BytesIO(body[place + 4 : place + 4 + length]))
        pixels = np.asarray(picture.convert("RGB" if SHAPE[1] == 3 else "L"))
        view[0, device] = np.moveaxis(pixels, 2, 0) if pixels.ndim == 3 else pixels
        place += 4 + length
    outputs = SESSION.run(None, {"view": view, **GIVEN})
    return Response(outputs[0].tobytes(), media_type="application/octet-stream")
