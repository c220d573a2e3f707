"""The Open Inference Protocol v2 with its binary tensor extension, strict as a server, without HTTP.

A body is a JSON header, then the raw tensors in its order, little-endian and row-major. Every way in which bytes can be
wrong is a `BadInput` with a sentence; sizes are checked before anything is allocated.
"""

from ddnn.wire.message import (
    HEADER_LENGTH,
    InferRequest,
    InferResponse,
    Parameters,
    decode_error,
    decode_request,
    decode_response,
    encode_error,
    encode_request,
    encode_response,
    is_error,
    padded,
)
from ddnn.wire.tensors import DATATYPES, Limits, check_finite, datatype_of, shown, whole

__all__ = ["DATATYPES", "HEADER_LENGTH", "InferRequest", "InferResponse", "Limits"]
__all__ += ["Parameters", "check_finite", "datatype_of", "decode_error", "decode_request", "decode_response"]
__all__ += ["encode_error", "encode_request", "encode_response", "is_error", "padded", "shown", "whole"]
