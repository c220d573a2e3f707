"""Bundles that came while the tier ran: files checked one by one, in folders of `DDNN_STATE_DIR`; bounded."""

import hashlib
import re
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from ddnn.bundle import MANIFEST_FILE, SIGNATURE_FILE, Bundle, Manifest
from ddnn.errors import BadBundle, BadInput, NotFound, TooLarge
from ddnn.parts import files_of
from ddnn.policy import POLICY_FILE
from ddnn.seal import first_problem, read_sealed, write_atomically
from ddnn.signing import TrustedKeys
from ddnn.types import Tier

__all__ = ["MOST_OF_A_FILE", "Store"]

MOST_OF_A_FILE: Final = 256 << 20  #: bytes
_MOST_SEALED: Final = 16 << 20  #: bytes of a manifest, a policy or a signature
_MOST_BYTES: Final = 1 << 30  #: of what a tier keeps of a bundle
_SEALED: Final = (MANIFEST_FILE, POLICY_FILE, SIGNATURE_FILE)
_FINGERPRINT: Final = re.compile("[0-9a-f]{64}")

Tiers = Sequence[tuple[Tier, int]]


class Store:
    """The bundles in one folder, each by its fingerprint."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._manifests: dict[str, Manifest] = {}  # of what is here: reading one takes tens of milliseconds

    def path(self, bundle: str) -> Path:
        """Folder of a bundle; raise `BadInput` for what is no fingerprint."""
        if not _FINGERPRINT.fullmatch(bundle):
            raise BadInput(f"the bundle is {bundle[:70]!r}; expected its fingerprint, 64 hexadecimal digits")
        return self._folder / bundle

    def most(self, bundle: str, name: str) -> int:
        """Bytes that a file may have; raise `BadInput` for one that is not of the bundle."""
        if name in _SEALED:
            return _MOST_SEALED
        entry = self.manifest(bundle).files.get(name)
        if entry is None:
            raise BadInput(f"{name[:60]!r} is no file of the bundle {bundle[:12]}")
        if entry.bytes > MOST_OF_A_FILE:
            raise TooLarge(f"{name} has {entry.bytes} bytes; expected at most {MOST_OF_A_FILE}")
        return entry.bytes

    def put(self, bundle: str, name: str, content: bytes) -> None:
        """Keep one file, the manifest first; raise `BadInput` unless it is what the manifest says."""
        folder, most = self.path(bundle), self.most(bundle, name)
        if len(content) > most:
            raise BadInput(f"{name} has {len(content)} bytes; expected at most {most}")
        if name not in _SEALED and hashlib.sha256(content).hexdigest() != self.manifest(bundle).files[name].sha256:
            raise BadInput(f"{name} does not match the SHA-256 in {MANIFEST_FILE} of {bundle[:12]}")
        new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, content)
        if name == MANIFEST_FILE:
            self._manifests.pop(bundle, None)
            try:
                self.manifest(bundle)
            except BadBundle:
                if new:
                    shutil.rmtree(folder)
                raise

    def get(self, bundle: str, name: str) -> bytes:
        """One file that is here; raise `NotFound`."""
        self.path(bundle)
        if (self._folder / bundle / MANIFEST_FILE).exists():
            self.most(bundle, name)
            file = self._folder / bundle / name
            if file.is_file():
                return file.read_bytes()
        raise NotFound(f"{name[:60]} of the bundle {bundle[:12]} is not here")

    def missing(self, bundle: str, tiers: Tiers) -> list[str]:
        """Names of the files that these tiers need and that are not here; the manifest's alone before that is there."""
        folder = self.path(bundle)
        if not (folder / MANIFEST_FILE).exists():
            return [MANIFEST_FILE]
        manifest = self.manifest(bundle)
        needed = {name: None for tier in tiers for name in files_of(manifest.topology, *tier, manifest.files)}
        if (size := sum(manifest.files[name].bytes for name in needed)) > _MOST_BYTES:
            raise TooLarge(f"the bundle {bundle[:12]} has {size} bytes for this tier; expected at most {_MOST_BYTES}")
        return [name for name in (POLICY_FILE, *needed) if not (folder / name).exists()]

    def open(self, bundle: str, trusted: TrustedKeys | None) -> Bundle:
        """Open a bundle whose files are here; raise `BadBundle`."""
        opened = Bundle.open(self.path(bundle), trusted)
        if opened.fingerprint != bundle:
            raise BadBundle(f"{opened.path}: is the bundle {opened.fingerprint[:12]}; expected {bundle[:12]}")
        return opened

    def forget(self, bundle: str) -> None:
        self._manifests.pop(bundle, None)
        shutil.rmtree(self.path(bundle), ignore_errors=True)

    def keep(self, bundles: Collection[str | None]) -> None:
        """Forget all others."""
        if self._folder.is_dir():
            for folder in self._folder.iterdir():
                if _FINGERPRINT.fullmatch(folder.name) and folder.name not in bundles:
                    self.forget(folder.name)

    def manifest(self, bundle: str) -> Manifest:
        """That of a bundle which is here; raise `BadInput` or `BadBundle`."""
        if bundle in self._manifests:
            return self._manifests[bundle]
        folder = self.path(bundle)
        if not (folder / MANIFEST_FILE).exists():
            raise BadInput(f"the bundle {bundle[:12]} has no {MANIFEST_FILE} here yet; expected that first")
        try:
            manifest = Manifest.model_validate(read_sealed(folder / MANIFEST_FILE, seal="fingerprint"))
        except ValidationError as error:
            raise BadBundle(f"{MANIFEST_FILE}: {first_problem(error, 'the manifest')}") from error
        if manifest.fingerprint != bundle:
            raise BadBundle(f"{MANIFEST_FILE}: is of {manifest.fingerprint[:12]}; expected {bundle[:12]}")
        self._manifests[bundle] = manifest
        return manifest
