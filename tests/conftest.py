"""What many tests need: a tiny untrained bundle of six cameras, made once a session."""

import gc
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ddnn.bundle import Bundle
from ddnn.fleet.processes import LinkProcess, LocalFleet
from ddnn_lab.in_process import NEVER, Fleet
from warm_start import POPEN

pytest_plugins = ["matrix_bundles"]

# Read when torch is imported: several threads of networks this small, beside other workers, only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests share the processor with other tests: nothing is shed for that, but where a test is about it and says so.
os.environ.setdefault("DDNN_MAX_LAG_MS", "0")

# All that is imported to collect the tests stays: looking for garbage in it takes a third of the collection's time.
gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fleets of processes and guards come first: a long file that came last would leave the other cores idle."""
    items.sort(key=lambda item: item.path.parent.name not in ("system", Path(__file__).parent.name))


def pytest_collection_finish() -> None:
    """From here on garbage is looked for, but not in what was imported."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def warm_fleets() -> Iterator[None]:
    """Fleets and links start in a moment, but those of `ddnn up`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalFleet, "popen", POPEN)
        patch.setattr(LinkProcess, "popen", POPEN)
        yield


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Six devices, one edge with a section, untrained but exported and proved like any other."""
    import torch

    from ddnn.data import load
    from ddnn.export import write_bundle
    from ddnn.network import DDNN, NetworkConfig, Plan, SectionConfig
    from ddnn.topology import View

    data = load("synthetic", seed=3)
    small = SectionConfig(filters=(4,), cut_filters=2)
    config = NetworkConfig(device=small, edge=small, cloud=small)
    torch.manual_seed(3)
    views = [View.of(view) for view in data.views]
    network = DDNN(Plan.of(config, views, len(data.classes)))
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny", network, data, golden_events=24)


@pytest.fixture
def copied_bundle(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A copy of the tiny bundle that a test may damage."""
    import shutil

    return Path(shutil.copytree(tiny_bundle.path, tmp_path / "bundle"))


@pytest.fixture
async def fleet(tiny_bundle: Bundle, request: pytest.FixtureRequest) -> AsyncIterator[Fleet]:
    """Cloud, edge and six devices, or the module's `DEVICES`, under a policy that sends everything up."""
    fleet = Fleet(Bundle.open(tiny_bundle.path), devices=getattr(request.module, "DEVICES", None))
    fleet.start()
    fleet.use(thresholds=NEVER)
    yield fleet
    await fleet.close()
