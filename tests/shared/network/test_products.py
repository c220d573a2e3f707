"""Products of halved numbers: where they are wanted, in the thread that wants them, and nowhere after."""

import threading
from contextlib import ExitStack

import torch

from ddnn.network.products import LEAST, Dense, halved


def test_threads_that_learn_beside_each_other_leave_precision_as_it_was() -> None:
    layer, x = Dense(LEAST, LEAST), torch.randn(3, LEAST)
    plain, before = layer(x), torch.get_float32_matmul_precision()
    begun, ended, within = threading.Event(), threading.Event(), list[torch.Tensor]()

    def learn() -> None:
        with halved():
            begun.set()
            assert ended.wait(30)
            within.append(layer(x))

    with ExitStack() as stack:  # this one begins first and ends first: what the other restores must not stay
        stack.enter_context(halved())
        thread = threading.Thread(target=learn)
        thread.start()
        assert begun.wait(30)
        stack.close()
        assert torch.get_float32_matmul_precision() == "medium"  # the other one is still within
        beside = layer(x)
        ended.set()
        thread.join(30)
    assert torch.get_float32_matmul_precision() == before
    assert torch.equal(layer(x), plain)
    if torch.cpu._is_avx512_bf16_supported():
        assert not torch.equal(within[0], plain)
    assert torch.allclose(beside, plain, atol=0.05)
