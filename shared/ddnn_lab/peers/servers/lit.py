"""LitServe around the same session; bytes in, bytes out; with `PEER_BATCH` above 1, LitServe's own batching.

`PEER_MODEL=cloud.onnx PEER_BATCH=1 PEER_WORKERS=1 PEER_PORT=8000 python lit.py`
"""

import os
from typing import Annotated

import litserve
import numpy as np
import numpy.typing as npt
import onnxruntime
from fastapi import Body, Response

Rows = npt.NDArray[np.generic]


class Network(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self.shape = tuple(self.session.get_inputs()[0].shape[1:])

    def decode_request(self, request: Annotated[bytes, Body(media_type="application/octet-stream")]) -> Rows:
        return np.frombuffer(request, np.uint8).reshape(self.shape)

    def batch(self, inputs: list[Rows]) -> Rows:
        return np.stack(inputs)

    def predict(self, view: Rows) -> Rows:
        view = view.reshape(-1, *self.shape)
        (scores,) = self.session.run(None, {"view": view, "present": np.ones(view.shape[:2], bool)})
        return np.asarray(scores)

    def unbatch(self, output: Rows) -> list[Rows]:
        return list(output)

    def encode_response(self, output: Rows) -> Response:
        return Response(output.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    workers = int(os.environ["PEER_WORKERS"])
    api = Network(max_batch_size=int(os.environ["PEER_BATCH"]), batch_timeout=0.01)
    server = litserve.LitServer(
        api, accelerator="cpu", devices=1, workers_per_device=workers, fast_queue=True, disable_openapi_url=True
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PEER_PORT"]),
        num_api_servers=workers,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
