"""A section in C on emulated microcontrollers: the same bits as here. Long: it needs compilers of half a gigabyte."""

from pathlib import Path

import pytest

from c_device import NEEDS_GCC
from ddnn.bundle import Bundle, shipped_bundle
from ddnn.embedded import write_device
from ddnn.export import sample_bundle
from ddnn.network import NetworkConfig, SectionConfig
from ddnn_lab.benchmarks.c_device import CORES, Core, emulated, missing, on_this_machine

pytestmark = [
    NEEDS_GCC,
    pytest.mark.long,
    pytest.mark.skipif(bool(missing()), reason=f"not installed: Debian's {', '.join(missing())}"),
]
EVENTS = 6


def bundles(folder: Path) -> list[Bundle]:
    """The digits; a binary device as the paper's; one of sensors."""
    binary = NetworkConfig(blocks="binary", bias=True, device=SectionConfig(filters=(4,), halve="all", tail=False))
    sensors = NetworkConfig(spectrum=True, device=SectionConfig(flat=True, widths=(16,), cut_width=32))
    return [
        Bundle.open(shipped_bundle()),
        sample_bundle(folder / "binary", [(3, 32, 32)] * 2, network=binary, uint8=True),
        sample_bundle(folder / "sensors", [(6, 30)] * 2, network=sensors),
    ]


@pytest.mark.parametrize("core", CORES, ids=[core.name for core in CORES])
def test_it_says_there_what_it_says_here(core: Core, tmp_path: Path) -> None:
    for number, bundle in enumerate(bundles(tmp_path)):
        folder = tmp_path / f"c{number}"
        write_device(bundle, 1, folder, events=EVENTS)
        here, there = on_this_machine(folder, runs=1), emulated(folder, core)
        assert len(there.bits) == EVENTS
        if bundle.manifest.name == "sample" and number == 2:  # logarithms are each library's own
            assert [bits.split()[1] for bits in there.bits] == [bits.split()[1] for bits in here.bits]
        else:
            assert there.bits == here.bits
        assert min(there.counts) > 0
