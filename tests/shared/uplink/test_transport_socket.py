"""A descriptor that the loop has is the loop's to close."""

import gc
import os
import socket

from ddnn.uplink.transport import _socket


def test_a_socket_that_nobody_holds_leaves_its_descriptor_open_and_one_that_is_closed_does_not() -> None:
    address = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 0))
    left = _socket(address)
    descriptor = left.fileno()
    del left
    gc.collect()
    os.fstat(descriptor)  # raises where it is closed
    os.close(descriptor)
    closed = _socket(address)
    closed.close()
    assert closed.fileno() == -1
