"""Writing a bundle, or a sample of one: a folder that takes its name only when all in it is proved."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, TypedDict, Unpack

import numpy as np
import torch
from safetensors.torch import save_file

from ddnn.bundle import GOLDEN_FILE, WEIGHTS_FILE, Bundle, Manifest, Training
from ddnn.data import SPLIT_NAMES, Dataset
from ddnn.data.dataset import Events
from ddnn.errors import BadInput
from ddnn.export.graphs import write_sections
from ddnn.export.proof import golden, prove, prove_rounding
from ddnn.network import DDNN, NetworkConfig, Plan
from ddnn.network.weights import packed, rounded
from ddnn.parts import golden_parts
from ddnn.policy import Policy
from ddnn.topology import Topology, View
from ddnn.types import Array

__all__ = ["draft_bundle", "refuse_existing", "sample_bundle", "sample_data", "seal", "staged", "write_bundle"]

GOLDEN_EVENTS: Final = 256
GOLDEN_VALUES: Final = 2**22  #: of all their views, as every tier reads them when it starts…
FEWEST_GOLDEN: Final = 36  #: …but so many events there are, as files if they are photographs
MEASURED: Final = 200  #: training events that sizes are measured on
LIBRARIES: Final = ("ddnn", "torch", "onnx", "onnxruntime", "numpy")


@contextmanager
def staged(out: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its name when the block ends well: never half a bundle."""
    refuse_existing(out, force=force)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    old = folder.with_name(f"{folder.name}.old")
    try:
        yield folder
        folder.chmod(0o755)
        if out.is_dir():
            out.replace(old)  # deleted only when the new one stands in its place
        folder.replace(out)
    finally:
        if old.is_dir() and not out.exists():
            old.replace(out)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def refuse_existing(out: Path, *, force: bool) -> None:
    """Raise `BadInput` if `out` may not be written."""
    if out.exists() and not force:
        raise BadInput(f"{out} exists; give another --out, or --force to replace it")
    if out.exists() and not (out / "manifest.json").is_file():
        raise BadInput(f"{out} exists and is no bundle; --force replaces bundles only")


class _Draft(Bundle):
    """A bundle that is being made: every file is written, none is sealed, so none can be checked."""

    def checked(self, name: str) -> Path:
        """Path of a file that was written a moment ago."""
        return self.path / name


class Described(TypedDict, total=False):
    """What a manifest says of how its bundle was made, and how many golden events it keeps."""

    name: str | None
    command: str
    config: Mapping[str, Any] | None
    seed: int
    golden_events: int


def write_bundle(folder: Path, network: DDNN, data: Dataset, **described: Unpack[Described]) -> Bundle:
    """Export `network`, trained or not, into `folder`, prove it, seal it with a default policy, and open it.

    Golden events come from the test split of `data`; raise `BadBundle` if ONNX Runtime disagrees with torch. What
    ties turned is listed in the manifest's `training.test.proof`.
    """
    return seal(folder, draft_bundle(folder, network, data, **described).manifest)


def draft_bundle(
    folder: Path,
    network: DDNN,
    data: Dataset,
    *,
    name: str | None = None,
    command: str = "",
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
    golden_events: int = GOLDEN_EVENTS,
) -> Bundle:
    """Do all that `write_bundle` does but seal: scores can be recorded on it, `seal` makes a bundle of it."""
    network, short = network.cpu().eval(), network.plan.config.weight_type == "int8"
    unrounded, network = network, rounded(network) if short else network
    folder.mkdir(parents=True, exist_ok=True)
    test = data.subset("test")
    values = sum(int(np.prod(view.shape[1:])) for view in data.views)
    large = data.picture is not None and GOLDEN_VALUES // values < FEWEST_GOLDEN
    count = min(golden_events, max(GOLDEN_VALUES // values, FEWEST_GOLDEN))
    arrays = golden(network, test, count, seed, pictures=large)
    write_sections(network, arrays, folder)
    events = test.take(np.flatnonzero(np.isin(test.index, arrays["index"])))
    proof: dict[str, Any] = {"rounded": prove_rounding(unrounded, network, events)} if short else {}
    proof |= {"events": len(events), "turned": prove(network, folder, events, seed)}
    for file, part in {GOLDEN_FILE: arrays, **golden_parts(network.topology, arrays)}.items():
        np.savez_compressed(folder / file, allow_pickle=False, **_kept(part))
    own = network.built_in  # what comes with the backbone need not come with the bundle
    weights = {name: tensor for name, tensor in network.state_dict().items() if name not in own}
    kept = packed(weights) if short else {key: tensor.contiguous() for key, tensor in weights.items()}
    save_file(kept, folder / WEIGHTS_FILE)
    (folder / WEIGHTS_FILE).chmod(0o644)
    manifest = Manifest(
        name=name or data.name,
        classes=data.classes,
        topology=_sized(network.topology, data),
        files={},
        training=Training(
            command=command,
            config=dict(config or {}),
            seed=seed,
            data={
                "name": data.name,
                "fingerprint": data.fingerprint,
                "events": len(data),
                "split": {part: int((data.split == part).sum()) for part in SPLIT_NAMES},
                "source": dict(data.source),
            },
            test={"proof": proof},
            versions={library: _version(library) for library in LIBRARIES},
        ),
    )
    return _Draft(folder, manifest, Policy(bundle=""))


def _kept(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Golden events as the archive has them: in the place of views that are files, these, one behind the other."""
    kept = dict(arrays)
    for name in [name for name in arrays if name.startswith("photograph_")]:
        files = [np.frombuffer(file, np.uint8) for file in kept.pop(name)]
        del kept[name.replace("photograph", "view")]
        kept |= {name: np.concatenate(files), f"{name}_ends": np.cumsum([len(file) for file in files])}
    return kept


def _sized(topology: Topology, data: Dataset) -> Topology:
    """The topology, with what views that the cloud asks for usually take: the mean over training events."""
    views, rows = topology.views, np.flatnonzero(data.split == "train")
    if views is None or topology.codec(views).datatype != "BYTES" or not len(rows):
        return topology
    codec, some = topology.codec(views), rows[np.linspace(0, len(rows) - 1, min(len(rows), MEASURED)).astype(np.int64)]
    sizes = [
        len(codec.pack(np.asarray(view[row : row + 1]))[0])
        for index, view in enumerate(data.views)
        for row in some[data.present[some, index]]
    ]
    sized = views.model_copy(update={"mean_bytes": round(float(np.mean(sizes))) if sizes else 0})
    return topology.with_inputs(lambda given: sized if given == views else given)


def seal(folder: Path, manifest: Manifest, policy: Policy | None = None) -> Bundle:
    """Seal `manifest`, and `policy` (or the default one) with it, into `folder`; every file is hashed once."""
    sealed = Bundle.seal(folder, manifest)
    fresh = policy.model_copy(update={"bundle": sealed.fingerprint}) if policy else Policy(bundle=sealed.fingerprint)
    fresh.write(folder)
    return Bundle(folder, sealed, fresh)


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "unknown"


def sample_data(
    shapes: Sequence[tuple[int, ...]], *, classes: int = 3, events: int = 60, uint8: bool = False, seed: int = 0
) -> Dataset:
    """Random events of len(shapes) devices, all present, with a third of them in each split."""
    random = np.random.default_rng(seed)
    y = random.permutation(np.arange(events) % classes)
    views = tuple(
        random.integers(0, 256, (events, *shape)).astype(np.uint8)
        if uint8
        else random.normal(y.reshape(-1, *[1] * len(shape)), 1.0, (events, *shape)).astype(np.float32)
        for shape in shapes
    )
    seen = Events.all_seen(views, y, tuple(f"class {label}" for label in range(classes)))
    split = np.array(SPLIT_NAMES)[np.arange(events) * 3 // events]
    return Dataset.of("sample", seen, split, {"name": "sample", "seed": seed}, {})


def sample_bundle(
    folder: Path,
    shapes: Sequence[tuple[int, ...]] = ((4,), (4,), (4,)),
    *,
    classes: int = 3,
    network: NetworkConfig | None = None,
    events: int = 60,
    uint8: bool = False,
    seed: int = 0,
) -> Bundle:
    """Write a bundle of an untrained `network`, a device for each of `shapes`, on `sample_data` into `folder`."""
    data = sample_data(shapes, classes=classes, events=events, uint8=uint8, seed=seed)
    views = [View.of(view) for view in data.views]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = DDNN(Plan.of(network or NetworkConfig(), views, classes))
    with torch.no_grad():
        # Batch norms that have seen something, or the whole numbers of binary layers would all lie at a sign's zero.
        made([torch.from_numpy(view) for view in data.views], torch.from_numpy(data.present))
    return write_bundle(folder, made, data, seed=seed)
