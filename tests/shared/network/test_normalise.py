"""What a section sees of a view."""

import math

import numpy as np
import pytest
import torch

from ddnn.errors import BadConfig
from ddnn.network import NetworkConfig, Plan, SectionConfig
from ddnn.network.normalise import magnitudes
from ddnn.network.plan import SectionPlan
from ddnn.topology import View


@pytest.mark.parametrize("length", [8, 11])
def test_the_spectrum_is_that_of_a_fourier_transform(length: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 3, length)
    known = np.log1p(np.abs(np.fft.rfft(x.numpy(), axis=2))[:, :, 1 : length // 2 + 1] / math.sqrt(length))
    np.testing.assert_allclose(magnitudes(x).numpy(), known, atol=2e-3)


def test_a_shift_in_time_and_a_level_leave_the_spectrum_alone() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 16)
    torch.testing.assert_close(magnitudes(x.roll(5, dims=2) + 7), magnitudes(x), atol=1e-4, rtol=1e-4)


def test_a_still_series_has_a_slope() -> None:
    x = torch.zeros(1, 1, 8, requires_grad=True)
    magnitudes(x).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_a_spectrum_needs_flat_devices() -> None:
    with pytest.raises(BadConfig, match=r"network.device.flat is false with network.spectrum"):
        Plan.of(NetworkConfig(spectrum=True), [View(shape=(2, 9), dtype="FP32")], 3)
    flat = NetworkConfig(spectrum=True, device=SectionConfig(flat=True))
    device = Plan.of(flat, [View(shape=(2, 9), dtype="FP32")], 3).device(0)
    assert SectionPlan.of(device).input == (2 * (9 + 4),)
