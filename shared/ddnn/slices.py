"""A slice of a bundle: the files that one tier runs, under the manifest, the policy and the signature of the whole."""

import shutil
from pathlib import Path

from ddnn.bundle import MANIFEST_FILE, SIGNATURE_FILE, SLICE_FILE, Bundle
from ddnn.errors import BadInput
from ddnn.parts import files_of
from ddnn.policy import POLICY_FILE
from ddnn.seal import write_sealed
from ddnn.types import Tier

__all__ = ["mark", "slice_bundle"]


def slice_bundle(bundle: Bundle, tier: Tier, index: int, out: Path) -> int:
    """Write a tier's slice of a whole bundle into the folder `out`, checked on the way; return its bytes."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} exists; expected a new folder, or an empty one")
    if bundle.part:
        raise BadInput(
            f"{bundle.path} is itself the slice of {bundle.part[0]}-{bundle.part[1]}; expected a whole bundle"
        )
    files = [bundle.checked(name) for name in files_of(bundle.topology, tier, index, bundle.manifest.files)]
    files += [bundle.path / name for name in (MANIFEST_FILE, POLICY_FILE, SIGNATURE_FILE)]
    out.mkdir(parents=True, exist_ok=True)
    for file in files:
        if file.exists():
            shutil.copyfile(file, out / file.name)
    mark(out, bundle.fingerprint, tier, index)
    return sum(file.stat().st_size for file in out.iterdir())


def mark(folder: Path, fingerprint: str, tier: Tier, index: int) -> None:
    """Say whose slice a folder is."""
    write_sealed(folder / SLICE_FILE, {"bundle": fingerprint, "tier": tier.value, "index": index}, seal="checksum")
