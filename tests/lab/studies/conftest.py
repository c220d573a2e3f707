"""One thread, and one quick study of every part that many tests read."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """These networks are so small that several threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def quick_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `ddnn bench accuracy quick --quick`, every part."""
    from ddnn_lab.studies import Study, run_study, study_file

    out = tmp_path_factory.mktemp("studies") / "quick"
    found = run_study(Study.read(study_file("quick")).quick(), out, command="ddnn bench accuracy quick --quick")
    assert not found["failed"]
    assert not found["missing"]
    return out
