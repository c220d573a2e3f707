"""The data a person names, cut and split as the bundle's own were unless they say otherwise."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ddnn.archive import Archive
from ddnn.bundle import Bundle
from ddnn.data import Dataset, load
from ddnn.data.photographs import Photographs, Progress
from ddnn.data.split import watched
from ddnn.errors import BadData
from ddnn.evaluation.scores import Scores
from ddnn.picture import Picture
from ddnn.types import Ints

__all__ = ["holds", "load_for", "photographs_for", "seen", "split_note"]


def load_for(
    bundle: Bundle,
    source: str,
    *,
    grid: str | None = None,
    group_by: str | None = None,
    test_groups: Sequence[str] | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Load `source` for `bundle`; what is None is as in training, as far as it applies to this source.

    A network of some of the devices gets those, unless other data come with just as many as it has. Photographs become
    its views, and names of their folders its classes and devices.
    Raises `BadData` naming the array that breaks the data contract.
    """
    trained = _trained_on(bundle)
    same = Path(str(trained.get("name", ""))).name == Path(source).name
    data = load(
        source,
        # a file in Keras form has whole images, which a grid cuts
        grid=grid or (trained.get("grid") if same or holds(Path(source), "x_train") else None),
        group_by=group_by or (trained.get("group_by") if same else None),
        test_groups=test_groups or (trained.get("test_groups") if same and not group_by else None),
        seed=int(trained.get("seed", 0)) if seed is None else seed,
        photographs=photographs_for(bundle),
        progress=progress,
    )
    devices = trained.get("devices") or ()
    return data.of_devices(devices) if same or data.devices != len(devices) else data


def split_note(bundle: Bundle, data: Dataset) -> str | None:
    """A sentence when the events are those of training but divided otherwise; None when all is well."""
    trained = _trained_on(bundle)
    keys = ("group_by", "test_groups", "seed")
    differ = [key for key in keys if key in trained and trained[key] != data.source.get(key)]
    if differ and bundle.manifest.training.data.get("fingerprint") == data.fingerprint:
        return (
            f"the bundle was trained on {data.name} with another {' and '.join(differ)}:"
            " its training events may be among these, and accuracy may look better than it is"
        )
    return None


def seen(bundle: Bundle, validation: Scores) -> Ints:
    """Rows of these validation events on which training chose its best epoch; none of other data."""
    own = bundle.manifest.training.data.get("fingerprint") == validation.source.get("fingerprint")
    return watched(len(validation) if own else 0)


def photographs_for(bundle: Bundle) -> Photographs | None:
    """What photographs become for a bundle; None where its views can be none."""
    view, cameras = bundle.topology.devices[0].view, _trained_on(bundle).get("cameras") or ()
    if not view.is_picture:
        return None
    return Photographs(view.shape, view.picture or Picture(), bundle.manifest.classes, cameras)


def _trained_on(bundle: Bundle) -> Mapping[str, Any]:
    """The arguments of `ddnn.data.load` that the manifest records."""
    recorded = bundle.manifest.training.data
    source = recorded.get("source")
    return source if isinstance(source, Mapping) else recorded


def holds(path: Path, array: str) -> bool:
    """Whether `path` is an `.npz` file with this array."""
    try:
        with Archive(path) as file:
            return array in file
    except BadData:
        return False
