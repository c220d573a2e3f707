"""One quick study of every part that many tests read."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def quick_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `ddnn bench accuracy quick --quick`, every part."""
    from ddnn_lab.studies import Study, run_study, study_file

    out = tmp_path_factory.mktemp("studies") / "quick"
    found = run_study(Study.read(study_file("quick")).quick(), out, command="ddnn bench accuracy quick --quick")
    assert not found["failed"]
    assert not found["missing"]
    return out
