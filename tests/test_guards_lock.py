"""What containers are made of: each package by version and hash, as pyproject.toml asks, and told in a bill."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"


def locked() -> list[tuple[Requirement, Version, list[str]]]:
    """Each package: when it is installed, its version, the hashes of its files."""
    entries = re.split(r"\n(?=[a-z])", LOCK.read_text().strip())
    found = []
    for entry in entries:
        named, *hashes = (line.strip(" \\") for line in entry.splitlines())
        requirement = Requirement(named)
        (pinned,) = requirement.specifier
        assert pinned.operator == "=="
        found.append((requirement, Version(pinned.version), hashes))
    return found


def test_every_dependency_is_locked_at_a_version_that_pyproject_allows() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    versions = [(requirement.name, version) for requirement, version, _ in locked()]
    for requirement in map(Requirement, wanted):
        mine = [version for name, version in versions if name == requirement.name]
        assert mine, f"{requirement.name} is not in requirements.lock; `make lock`"
        assert all(requirement.specifier.contains(version) for version in mine), f"{requirement}; `make lock`"


def test_every_file_that_a_container_installs_has_a_hash() -> None:
    packages = locked()
    assert len(packages) > 30
    for requirement, _, hashes in packages:
        assert hashes, requirement
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), requirement
    assert "--require-hashes --requirement /tmp/requirements.lock" in (ROOT / "Dockerfile").read_text()
    assert "://" not in LOCK.read_text()


def test_the_bill_of_materials_names_them_all(tmp_path: Path) -> None:
    bill = tmp_path / "sbom.cdx.json"
    make = ["-m", "cyclonedx_py", "requirements", str(LOCK), "--pyproject", str(ROOT / "pyproject.toml")]
    subprocess.run([sys.executable, *make, "--output-reproducible", "-o", str(bill)], check=True, timeout=60)
    document = json.loads(bill.read_text())
    assert (document["bomFormat"], document["metadata"]["component"]["name"]) == ("CycloneDX", "ddnn")
    assert {(each["name"], each["version"]) for each in document["components"]} == {
        (requirement.name, str(version)) for requirement, version, _ in locked()
    }
    assert all(each["externalReferences"] for each in document["components"])
