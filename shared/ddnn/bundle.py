"""The bundle: the folder that holds a trained network.

`manifest.json` describes it, `*.onnx` are sections, `policy.json` says when exits answer, `golden.npz` holds events
with the answers of torch, `weights.safetensors` is for further training.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, ValidationError

from ddnn.archive import Archive
from ddnn.codec import codec_of
from ddnn.errors import BadBundle, BadData, BadInput
from ddnn.parts import GOLDEN_FILE, files_of, golden_of, views_of
from ddnn.policy import Policy
from ddnn.seal import Frozen, first_problem, read_sealed, write_sealed
from ddnn.signing import Signature, TrustedKeys, sign
from ddnn.task import TASKS, Task
from ddnn.topology import FileName, Topology
from ddnn.types import Array, Tier

__all__ = ["GOLDEN_FILE", "MANIFEST_FILE", "PICTURE_CODEC", "SIGNATURE_FILE", "SLICE_FILE", "WEIGHTS_FILE"]
__all__ += ["Bundle", "Manifest", "Training", "named", "shipped_as", "shipped_bundle", "shipped_names"]

MANIFEST_FILE: Final = "manifest.json"
SIGNATURE_FILE: Final = "signature.json"
WEIGHTS_FILE: Final = "weights.safetensors"
SLICE_FILE: Final = "slice.json"  #: in a folder that has the files of one tier alone
PICTURE_CODEC: Final = "jpeg90"
"""How golden views are kept that are large pictures; they are what such files decode to."""
_CUT: Final = ("features", "ties")
_LONGEST_NAME: Final = 500  #: of a golden event
_MOST_BYTES: Final = 16 << 30  #: of a file
_MOST_CLASSES: Final = 100_000


class FileEntry(Frozen):
    """A file of the bundle, pinned."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0, le=_MOST_BYTES)


class Training(Frozen):
    """How the network was made, enough to make it again."""

    command: str  #: the command line
    config: dict[str, Any]  #: every key of the training config
    seed: int
    data: dict[str, Any]  #: name, SHA-256 fingerprint, size and split of the data
    test: dict[str, Any]  #: accuracy per exit on the test split, 0..1, touched once
    versions: dict[str, str]  #: versions of the libraries that made it

    def accuracy_without(self, devices: Collection[int] = ()) -> float | None:
        """Accuracy on the test split with these devices lost, as it was noted then; None where it was not."""
        overall, missing = self.test.get("overall") or {}, self.test.get("missing") or {}
        each, subsets = (missing.get("one") or {}).get("each") or (), missing.get("subsets") or {}
        if not devices:
            return overall.get("accuracy")
        if len(devices) == 1 and max(devices) < len(each):
            return each[max(devices)]  # type: ignore[no-any-return]
        left = "+".join(str(device) for device in range(len(each)) if device not in devices)
        return subsets.get(left)


class Manifest(Frozen):
    """`manifest.json`."""

    format: Literal[1, 2] = 2
    """1 is what 0.1.0 wrote: cuts of one bit an element in the sections' place. It is read, and no longer written."""
    name: str
    classes: tuple[str, ...] = Field(min_length=2, max_length=_MOST_CLASSES)
    task: Literal["classification"] = "classification"
    topology: Topology
    files: dict[FileName, FileEntry]  #: every file of the bundle but the manifest and the policy, which seal themselves
    training: Training
    fingerprint: str = ""  #: SHA-256 over all of the above; the name under which tiers recognise each other


@dataclass(eq=False)
class Bundle:
    """A bundle on disk whose manifest and policy verified; `verify` checks the files."""

    path: Path
    manifest: Manifest
    policy: Policy

    @classmethod
    def open(cls, path: Path, trusted: TrustedKeys | None = None) -> "Bundle":
        """Open the bundle in the folder `path`; raise `BadBundle` naming the file that does not verify.

        With `trusted` keys, one of them has to have signed it, and one its policy.
        """
        if not path.is_dir():
            names = " or ".join(shipped_names())
            raise BadBundle(
                f"{path} is not a folder; expected a bundle made by `ddnn train`, or one that ships: {names}"
            )
        document = read_sealed(path / MANIFEST_FILE, seal="fingerprint")
        try:
            manifest = Manifest.model_validate(document)
        except ValidationError as error:
            raise BadBundle(f"{MANIFEST_FILE}: {first_problem(error, 'the manifest')}") from error
        policy = Policy.read(path)
        if policy.bundle != manifest.fingerprint:
            raise BadBundle(
                f"policy.json: is for bundle {policy.bundle[:12]}, this one is {manifest.fingerprint[:12]};"
                " run `ddnn tune BUNDLE DATA --write` to make one"
            )
        bundle = cls(path, manifest, policy)
        if trusted:
            bundle.demand(trusted)
        return bundle

    def demand(self, trusted: TrustedKeys) -> None:
        """Raise `BadBundle` unless keys that are trusted have signed the manifest and the policy."""
        try:
            trusted.demand("bundle", self.fingerprint, self.signature)
            trusted.demand("policy", self.policy.digest, self.policy.signature)
        except BadInput as error:
            raise BadBundle(f"{self.path}: {error}") from error

    @cached_property
    def signature(self) -> Signature | None:
        """Whose word the manifest is, and so every file in it; None where there was none when it was first read."""
        file = self.path / SIGNATURE_FILE
        if not file.exists():
            return None
        document = read_sealed(file, seal="checksum")
        try:
            wanted = {key: document.get(key) for key in ("key", "value")}
            return Signature.model_validate({**wanted, "version": document.get("version", 0)})
        except ValidationError as error:
            raise BadBundle(f"{SIGNATURE_FILE}: {first_problem(error, 'the signature')}") from error

    def sign(self, key: Ed25519PrivateKey, version: int = 0) -> None:
        """Write the word of `key` on the manifest, as of a version, and on the policy, beside their seals."""
        self.policy.signed(key).write(self.path)
        document = sign(key, "bundle", self.fingerprint, version).model_dump()
        write_sealed(self.path / SIGNATURE_FILE, document, seal="checksum")
        self.__dict__.pop("signature", None)

    @staticmethod
    def seal(path: Path, manifest: Manifest) -> Manifest:
        """Hash every file in `path` into the manifest and write it; return the manifest with its fingerprint."""
        files = {
            file.name: FileEntry(sha256=_sha256(file), bytes=file.stat().st_size)
            for file in sorted(path.iterdir())
            if file.suffix in {".onnx", ".npz", ".safetensors"}
        }
        sealed = manifest.model_copy(update={"format": 2, "files": files})
        value = write_sealed(path / MANIFEST_FILE, sealed.model_dump(mode="json"), seal="fingerprint")
        return sealed.model_copy(update={"fingerprint": value})

    @property
    def fingerprint(self) -> str:
        """The manifest's fingerprint."""
        return self.manifest.fingerprint

    @property
    def topology(self) -> Topology:
        """The manifest's topology."""
        return self.manifest.topology

    @property
    def task(self) -> Task:
        """What its scores mean."""
        return TASKS[self.manifest.task]

    def sections(self, tier: Tier, index: int = 0) -> dict[str, Path]:
        """Files that `tier` number `index` runs: `section`, and `local` at an edge; checked against the manifest."""
        return {section.role: self.checked(section.file) for section in self.topology.sections_of(tier, index)}

    def checked(self, name: str) -> Path:
        """Path of the file `name` after its size and SHA-256 were checked; raise `BadBundle` naming it."""
        entry, file = self.manifest.files.get(name), self.path / name
        if entry is None:
            raise BadBundle(f"{name}: is not listed in {MANIFEST_FILE}")
        if not file.is_file():
            raise BadBundle(f"{name}: is missing from {self.path}")
        if not file.resolve().is_relative_to(self.path.resolve()):
            raise BadBundle(f"{name}: is a link out of {self.path}; expected the file itself")
        if file.stat().st_size != entry.bytes or _sha256(file) != entry.sha256:
            raise BadBundle(f"{name}: does not match the SHA-256 in {MANIFEST_FILE}; the file was changed or damaged")
        return file

    @cached_property
    def part(self) -> tuple[Tier, int] | None:
        """The tier whose slice this is (`ddnn.slices`); None for a whole bundle."""
        if not (self.path / SLICE_FILE).exists():
            return None
        document, topology = read_sealed(self.path / SLICE_FILE, seal="checksum"), self.topology
        counts = {Tier.DEVICE: len(topology.devices), Tier.EDGE: len(topology.edges), Tier.CLOUD: 1}
        tier, index = document.get("tier"), document.get("index")
        fits = tier in set(Tier) and type(index) is int and 0 <= index < counts[Tier(tier)]
        if not fits or document.get("bundle") != self.fingerprint:
            raise BadBundle(f"{SLICE_FILE}: is of {tier}-{index} of another bundle; expected a tier of this one")
        return Tier(str(tier)), int(str(index))

    def verify(self) -> None:
        """Check every file of the bundle; of a slice, those that its tier needs."""
        files = self.manifest.files
        for name in files_of(self.topology, *self.part, files) if self.part else files:
            self.checked(name)

    @property
    def _golden_file(self) -> str:
        return golden_of(*self.part, self.manifest.files) if self.part else GOLDEN_FILE

    @property
    def _seen(self) -> Sequence[int]:
        """Devices whose views are among the golden events."""
        if self.part and self._golden_file != GOLDEN_FILE:
            return views_of(self.topology, *self.part)
        return range(len(self.topology.devices))

    @cached_property
    def golden(self) -> dict[str, Array]:
        """The golden events, N of them, checked.

        `index` (N,) row in the data set · `y` (N,) · `y_dev` (N, D) · `view_0` … `view_{D-1}` (N, …) · `present` (N, D)
        · `device_scores` (N, D, K) · `local_scores` and `edge_scores` (N, E, K) · `cloud_scores` (N, K), of the exits
        that there are · `device_features` (N, D, …) and `edge_features` (N, E, …), rows as their codec packs them, and
        `device_ties` and `edge_ties`, one bit an element: 1 where its value was within 1e-4 of another level · `name`
        (N,) text, where the source has names. Of large pictures the archive has files, in `photograph_0` … one behind
        the other, and (N,) where each ends; they are given too, N objects.
        """
        try:
            with Archive(self.checked(self._golden_file)) as file:
                arrays = dict(file)
            for index, device in enumerate(self.topology.devices):
                if f"photograph_{index}" in arrays:
                    files = _files(arrays[f"photograph_{index}"], arrays.pop(f"photograph_{index}_ends"))
                    arrays[f"photograph_{index}"] = files
                    arrays[f"view_{index}"] = codec_of(PICTURE_CODEC).unpack(files, device.view.shape)
        except (BadData, BadInput, KeyError, ValueError) as error:
            raise BadBundle(f"{GOLDEN_FILE}: is not a NumPy archive of plain arrays ({error})") from error
        exits = [f"{exit}_scores" for exit in self.topology.exits]
        cuts = [f"{tier}_{part}" for tier in Tier if self.topology.features(tier) for part in _CUT]
        views = [f"view_{index}" for index in self._seen]
        for name in ("index", "y", "y_dev", "present", *views, *exits, *cuts):
            if name not in arrays:
                raise BadBundle(f"{GOLDEN_FILE}: has no array {name!r}")
        self._check_golden(arrays)
        return arrays

    def _check_golden(self, arrays: Mapping[str, Array]) -> None:
        """Raise `BadBundle` for an array of another shape than the manifest's network has."""
        events, topology, classes = arrays["y"].size, self.topology, len(self.manifest.classes)
        devices, edges = len(topology.devices), len(topology.edges)
        one_each = {"device": (devices,), "local": (edges,), "edge": (edges,), "cloud": ()}
        shapes: dict[str, tuple[int, ...]] = {"index": (), "y": (), "y_dev": (devices,), "present": (devices,)}
        shapes |= {f"view_{index}": topology.devices[index].view.shape for index in self._seen}
        shapes |= {f"{exit}_scores": (*one_each[exit], classes) for exit in topology.exits}
        for name, shape in shapes.items():
            if not events or arrays[name].shape != (events, *shape):
                found = f"{GOLDEN_FILE}: {name} has the shape {arrays[name].shape}"
                raise BadBundle(f"{found}; expected at least one event, of shape {shape} each")
            if arrays[name].dtype.kind not in "biuf":
                raise BadBundle(f"{GOLDEN_FILE}: {name} has the type {arrays[name].dtype}; expected numbers")
        names = arrays.get("name", np.array([""] * events))
        if names.shape != (events,) or names.dtype.kind != "U" or names.dtype.itemsize > 4 * _LONGEST_NAME:
            found = f"{GOLDEN_FILE}: name has the type {names.dtype} and the shape {names.shape}"
            raise BadBundle(f"{found}; expected short text, ({events},)")
        for name in (f"{tier}_{part}" for tier in Tier if topology.features(tier) for part in _CUT):
            if arrays[name].shape[:2] != (events, devices if name.startswith(Tier.DEVICE) else edges):
                raise BadBundle(f"{GOLDEN_FILE}: {name} has the shape {arrays[name].shape}; expected {events} events")


def shipped_bundle() -> Path:
    """Folder of the bundle that comes with the package: `mnist5k`, six devices."""
    return Path(__file__).parent / "shipped" / "mnist5k"


def shipped_names() -> list[str]:
    """Names of the bundles that come with the package."""
    return sorted(folder.name for folder in shipped_bundle().parent.iterdir() if (folder / MANIFEST_FILE).is_file())


def named(path: Path) -> Path:
    """`path` or, where nothing is there, the bundle of that name that comes with the package."""
    shipped = shipped_bundle().parent / path
    return shipped if len(path.parts) == 1 and not path.exists() and shipped.is_dir() else path


def shipped_as(path: Path) -> str | None:
    """The name by which commands take the bundle in `path`, where it comes with the package."""
    resolved = path.resolve()
    return resolved.name if resolved.parent == shipped_bundle().parent.resolve() else None


def _files(content: Array, ends: Array) -> Array:
    """(N,) objects, files that lie one behind the other in `content`, bytes; raise `ValueError` where they do not."""
    if content.ndim != 1 or content.dtype != np.uint8 or ends.ndim != 1 or ends.dtype.kind not in "iu":
        raise ValueError("it has files that are no bytes, or do not end")
    files = np.empty(len(ends), np.object_)
    files[:] = [part.tobytes() for part in np.split(content, ends)[:-1]]
    return files


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
