"""The bundle: the folder that holds a trained network.

`manifest.json` describes and fingerprints it, `*.onnx` are the sections, `policy.json` says when exits answer,
`golden.npz` holds real events with the answers torch gave, `weights.safetensors` is for further training.
"""

import hashlib
import math
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal
from zipfile import BadZipFile

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ddnn.errors import BadBundle
from ddnn.policy import Policy
from ddnn.seal import read_sealed, write_sealed
from ddnn.types import Array, Exit, Tier

__all__ = [
    "GOLDEN_FILE",
    "MANIFEST_FILE",
    "WEIGHTS_FILE",
    "Bundle",
    "Cut",
    "DeviceSpec",
    "EdgeSpec",
    "FileEntry",
    "Manifest",
    "Topology",
    "Training",
    "View",
    "shipped_bundle",
]

MANIFEST_FILE: Final = "manifest.json"
GOLDEN_FILE: Final = "golden.npz"
WEIGHTS_FILE: Final = "weights.safetensors"
_CUT: Final = ("features", "ties")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class View(_Frozen):
    """What one device sees of one event."""

    shape: tuple[int, ...]
    """(C, H, W) an image, (C, L) a series, (F,) a vector."""
    dtype: Literal["UINT8", "FP32"]

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The same as a numpy type."""
        return np.dtype(np.uint8 if self.dtype == "UINT8" else np.float32)

    @property
    def bytes(self) -> int:
        """Size of one raw view."""
        return math.prod(self.shape) * self.numpy_dtype.itemsize


class Cut(_Frozen):
    """Features where the network is cut: one bit an element."""

    shape: tuple[int, ...]

    @property
    def bits(self) -> int:
        """Elements of one event's features."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """The same, packed 8 to a byte."""
        return -(-self.bits // 8)


class DeviceSpec(_Frozen):
    """One device: its view and its section's file."""

    view: View
    section: str | None
    """File of the device section; devices that share their weights share it; none where raw views go up."""


class EdgeSpec(_Frozen):
    """One edge: which devices it fuses, and its files."""

    devices: tuple[int, ...] = Field(min_length=1)
    """Global device indices, ascending; position in this tuple is the device's place in the edge's fusion."""
    local: str | None
    """File of the local exit: `scores` [B, d, K], `present` [B, d] → `scores` [B, K]; none where raw views go up."""
    section: str | None
    """File of the edge section: `features` [B, d, bits] of 0/1, `present` [B, d] → `scores`, `features`; or none."""


class Topology(_Frozen):
    """Which devices, edges and cuts the network has.

    A section takes and gives features as UINT8 of 0 and 1. In the files an output that shares an input's name ends in
    `_out`, since ONNX names are unique; `ddnn.runtime.Section` takes that off.
    """

    devices: tuple[DeviceSpec, ...] = Field(min_length=1)
    """File of a device section: `view` [B, …] → `scores` [B, K], `features` [B, bits]."""
    device_cut: Cut | None
    """Features of every device, all alike; none where raw views go up (configuration (a))."""
    edges: tuple[EdgeSpec, ...] = Field(min_length=1)
    edge_cut: Cut | None
    """Features of every edge; none when there is no edge section and the cloud fuses the devices' features."""
    cloud: str
    """File of the cloud section: `features` [B, n, bits], `present` [B, n] → `scores` [B, K]; n edges, or n devices.

    Where raw views go up: `view` [B, D, …], `present` [B, D] → `scores` [B, K].
    """
    fusion: dict[Literal["local", "edge", "cloud"], Literal["max", "mean", "concat", "attention"]]

    @property
    def raw(self) -> bool:
        """Whether raw views go up to the cloud, the only section and exit (configuration (a))."""
        return self.device_cut is None

    @property
    def cloud_cut(self) -> Cut | None:
        """What goes up to the cloud, a child each; none where raw views do."""
        return self.edge_cut or self.device_cut

    @property
    def exits(self) -> tuple[Exit, ...]:
        """The exits this network has, lowest first."""
        if self.raw:
            return (Exit.CLOUD,)
        return tuple(exit for exit in Exit if exit is not Exit.EDGE or self.edge_cut)

    def edge_of(self, device: int) -> int:
        """Index of the edge that fuses `device`."""
        return next(index for index, edge in enumerate(self.edges) if device in edge.devices)


class FileEntry(_Frozen):
    """A file of the bundle, pinned."""

    sha256: str
    bytes: int


class Training(_Frozen):
    """How the network was made, enough to make it again."""

    command: str
    """The command line."""
    config: dict[str, Any]
    """Every key of the training config."""
    seed: int
    data: dict[str, Any]
    """Name, SHA-256 fingerprint, size and split of the data."""
    test: dict[str, Any]
    """Accuracy per exit on the test split, 0..1, touched once."""
    versions: dict[str, str]
    """Versions of the libraries that made it."""


class Manifest(_Frozen):
    """`manifest.json`."""

    format: Literal[1] = 1
    name: str
    classes: tuple[str, ...] = Field(min_length=2)
    topology: Topology
    files: dict[str, FileEntry]
    """Every file of the bundle but the manifest and the policy, which seal themselves."""
    training: Training
    fingerprint: str = ""
    """SHA-256 over all of the above; the name under which tiers recognise each other."""


class Bundle:
    """A bundle on disk whose manifest and policy verified; `verify` checks the files."""

    def __init__(self, path: Path, manifest: Manifest, policy: Policy) -> None:
        self.path = path
        self.manifest = manifest
        self.policy = policy

    @classmethod
    def open(cls, path: Path) -> "Bundle":
        """Open the bundle in the folder `path`; raise `BadBundle` naming the file that does not verify."""
        if not path.is_dir():
            raise BadBundle(f"{path} is not a folder; expected a bundle made by `ddnn train`")
        document = read_sealed(path / MANIFEST_FILE, seal="fingerprint")
        try:
            manifest = Manifest.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise BadBundle(f"{MANIFEST_FILE}: {where} is {first['input']!r}: {first['msg']}") from error
        policy = Policy.read(path)
        if policy.bundle != manifest.fingerprint:
            raise BadBundle(
                f"policy.json: is for bundle {policy.bundle[:12]}, this one is {manifest.fingerprint[:12]};"
                " run `ddnn tune BUNDLE DATA --write` to make one"
            )
        return cls(path, manifest, policy)

    @staticmethod
    def seal(path: Path, manifest: Manifest) -> Manifest:
        """Hash every file in `path` into the manifest and write it; return the manifest with its fingerprint."""
        files = {
            file.name: FileEntry(sha256=_sha256(file), bytes=file.stat().st_size)
            for file in sorted(path.iterdir())
            if file.suffix in {".onnx", ".npz", ".safetensors"}
        }
        sealed = manifest.model_copy(update={"files": files})
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

    def sections(self, tier: Tier, index: int = 0) -> dict[str, Path]:
        """Files that `tier` number `index` runs: `section`, and `local` at an edge; checked against the manifest."""
        topology = self.topology
        names: dict[str, str | None]
        if tier is Tier.DEVICE:
            names = {"section": topology.devices[index].section}
        elif tier is Tier.EDGE:
            names = {"local": topology.edges[index].local, "section": topology.edges[index].section}
        else:
            names = {"section": topology.cloud}
        return {role: self.checked(name) for role, name in names.items() if name}

    def checked(self, name: str) -> Path:
        """Path of the file `name` after its size and SHA-256 were checked; raise `BadBundle` naming it."""
        entry, file = self.manifest.files.get(name), self.path / name
        if entry is None:
            raise BadBundle(f"{name}: is not listed in {MANIFEST_FILE}")
        if not file.is_file():
            raise BadBundle(f"{name}: is missing from {self.path}")
        if file.stat().st_size != entry.bytes or _sha256(file) != entry.sha256:
            raise BadBundle(f"{name}: does not match the SHA-256 in {MANIFEST_FILE}; the file was changed or damaged")
        return file

    def verify(self) -> None:
        """Check every file of the bundle."""
        for name in self.manifest.files:
            self.checked(name)

    @cached_property
    def golden(self) -> dict[str, Array]:
        """The golden events, N of them, checked.

        `index` (N,) row in the data set · `y` (N,) · `y_dev` (N, D) · `view_0` … `view_{D-1}` (N, …) · `present` (N, D)
        · `device_scores` (N, D, K) · `device_features` and `device_ties` (N, D, bytes), packed · `local_scores`
        (N, E, K) · `edge_scores` (N, E, K), `edge_features` and `edge_ties` (N, E, bytes) if there is an edge section
        · `cloud_scores` (N, K). A tie is a bit whose value before the sign was within 1e-4 of zero. Where raw views go
        up there are no scores but the cloud's, and no features.
        """
        try:
            with np.load(BytesIO(self.checked(GOLDEN_FILE).read_bytes()), allow_pickle=False) as file:
                arrays = dict(file)
        except (ValueError, EOFError, BadZipFile, TypeError) as error:  # TypeError: a single array, not an archive
            raise BadBundle(f"{GOLDEN_FILE}: is not a NumPy archive of plain arrays ({error})") from error
        exits = [f"{exit}_scores" for exit in self.topology.exits]
        tiers = {"device": self.topology.device_cut, "edge": self.topology.edge_cut}
        cuts = [f"{tier}_{part}" for tier, cut in tiers.items() if cut for part in _CUT]
        views = [f"view_{index}" for index in range(len(self.topology.devices))]
        for name in ("index", "y", "y_dev", "present", *views, *exits, *cuts):
            if name not in arrays:
                raise BadBundle(f"{GOLDEN_FILE}: has no array {name!r}")
        return arrays


def shipped_bundle() -> Path:
    """Folder of the bundle that comes with the package: `mnist5k`, six devices."""
    return Path(__file__).parent / "shipped" / "mnist5k"


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
