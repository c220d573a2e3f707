"""A study: one TOML file that says which networks to train on which data, and what to measure of them."""

import json
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ddnn.configs import config_file, merged, read_toml
from ddnn.errors import BadConfig
from ddnn.training import Config

__all__ = ["PARTS", "UNUSUAL", "Ablation", "Changes", "PartName", "PartSettings", "Study", "study_file"]

PartName = Literal[
    "joint",
    "separate_devices",
    "uncut",
    "separate_exits",
    "baselines",
    "without",
    "added",
    "filters",
    "pairs",
    "ablations",
    "whole",
    "site",
    "pictures",
]
PARTS: Final[tuple[PartName, ...]] = PartName.__args__  # type: ignore[attr-defined]
"""Every part, in the order in which they run: what matters most comes first."""
UNUSUAL: Final[tuple[PartName, ...]] = ("pairs", "whole", "site", "pictures")
"""Parts that a study must name."""

Seed = Annotated[int, Field(ge=0)]
Group = str | int


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Changes(_Table):
    """Changes of the training config, by its own keys."""

    network: dict[str, Any] = {}
    """Keys of `[network]`."""
    training: dict[str, Any] = {}
    """Keys of `[training]`."""


class PartSettings(Changes):
    """What one part does otherwise than the study."""

    seeds: tuple[Seed, ...] = ()
    """Seeds of this part's runs; empty: the study's."""


class Uncut(PartSettings):
    """The float network over all raw views."""

    qualities: tuple[Annotated[int, Field(ge=1, le=95)], ...] = (5, 10, 20, 40, 60, 80, 95)
    """JPEG qualities at which the network is tried, where the views are images."""


class Filters(PartSettings):
    """Networks that send more or fewer features up."""

    values: tuple[Annotated[int, Field(ge=1)], ...] = (1, 2, 4, 8)
    """`cut_filters` (images, series) or bytes of `cut_width` (vectors) of the devices."""


class Pictures(PartSettings):
    """Pictures instead of features."""

    sizes: tuple[Annotated[int, Field(ge=8)], ...] = (48, 64, 96, 128, 192)
    """Pixels of each side."""
    jpeg: tuple[Annotated[int, Field(ge=1, le=95)], ...] = (5, 15, 40, 75)
    """Qualities."""
    webp: tuple[Annotated[int, Field(ge=1, le=95)], ...] = (1, 10, 40, 75)
    """Qualities."""

    @property
    def kinds(self) -> tuple[tuple[str, int, int], ...]:
        """Format, size and quality of each."""
        formats = (("jpeg", self.jpeg), ("webp", self.webp))
        return tuple((name, size, each) for name, qualities in formats for size in self.sizes for each in qualities)


class Parts(_Table):
    """Settings of each part, one table a part."""

    joint: PartSettings = PartSettings()
    """The study's own network."""
    separate_devices: PartSettings = PartSettings()
    """Every device trained for itself."""
    uncut: Uncut = Uncut()
    """What a cloud would run that gets every raw view."""
    separate_exits: PartSettings = PartSettings()
    """One network for each exit, trained for that exit alone."""
    baselines: PartSettings = PartSettings()
    """Classifiers that are no networks."""
    without: PartSettings = PartSettings()
    """Trained again without each device."""
    added: PartSettings = PartSettings()
    """Devices added one by one, worst first."""
    filters: Filters = Filters()
    """Fewer and more features."""
    pairs: PartSettings = PartSettings()
    """The nine pairs of local and cloud aggregation, without an edge section."""
    ablations: PartSettings = PartSettings()
    """The entries of `[[ablations]]`."""
    whole: PartSettings = PartSettings()
    """Nothing lost at the devices' cut."""
    site: PartSettings = PartSettings()
    """Thresholds chosen on half of the test events."""
    pictures: Pictures = Pictures()
    """Pictures instead of features."""


class Ablation(Changes):
    """The study's recipe with something changed."""

    name: str
    """What is changed, in a few words."""


class Tune(_Table):
    """How thresholds are chosen on validation."""

    max_accuracy_drop: Annotated[float, Field(ge=0, le=1)] = 0.005
    """How far below the best exit's the overall accuracy may be."""


class Study(Changes):
    """The whole file."""

    name: str
    """Title of the report."""
    data: str
    """A built-in name, or the path of a `.npz` file; `--data` goes before it."""
    grid: str | None = None
    """Cut whole images into columns × rows."""
    size: str | None = None
    """Pixels of the views that photographs become, `"192"` or `"128x96"`; by default 96."""
    group_by: str | None = None
    """Array of the file whose groups the split keeps whole."""
    folds: tuple[Annotated[tuple[Group, ...], Field(min_length=1)], ...] = ()
    """Lists of groups that are test, one list a fold; empty: one split, the data's own."""
    every_fold: bool = True
    """Each seed runs every fold; false: seed number i runs fold i modulo their number alone."""
    seeds: tuple[Seed, ...] = Field(default=(0, 1, 2, 3, 4), min_length=1)
    """One training each, of every variant."""
    events: Annotated[int, Field(ge=60)] | None = None
    """Use at most so many events, the same share of each split; none: all."""
    config: tuple[str, ...] = ()
    """Training configs, merged in order: names of packaged ones, or paths beside this file."""
    tune: Tune = Tune()
    """How thresholds are chosen."""
    run: tuple[PartName, ...] = tuple(part for part in PARTS if part not in UNUSUAL)
    """Which parts to run."""
    most: Annotated[int, Field(ge=1)] | None = None
    """Variants that a part has at most; none: all of them. For a quick look."""
    parts: Parts = Parts()
    """Settings of single parts."""
    ablations: tuple[Ablation, ...] = ()
    """Changes of the recipe, each with its own runs."""

    @classmethod
    def of(cls, document: Mapping[str, Any], *, where: str = "study") -> "Study":
        """Check a document; raise `BadConfig` naming the first key that is unknown or impossible."""
        try:
            study = cls.model_validate_json(json.dumps(document, default=str), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            if first["type"] == "missing":
                raise BadConfig(f"{where}: {key} is missing") from error
            if first["type"] == "extra_forbidden":
                raise BadConfig(f"{where}: {key} is not a key of a study; shared/docs/bench.md lists them") from error
            raise BadConfig(f"{where}: {key} is {first['input']!r}: {first['msg']}") from error
        if study.folds and not study.group_by:
            raise BadConfig(f"{where}: folds are given without group_by; expected the name of an array too")
        for key, entries in (("seeds", study.seeds), ("ablations", [ablation.name for ablation in study.ablations])):
            if twice := [entry for entry in entries if list(entries).count(entry) > 1]:
                raise BadConfig(f"{where}: {key} has {twice[0]!r} twice; expected each once")
        return study

    @classmethod
    def read(cls, path: Path) -> "Study":
        """Read the TOML file `path`, with the training configs that it names merged into `network` and `training`."""
        study = cls.of(read_toml(path), where=str(path))
        layers = [read_toml(path.parent / config_file(name)) for name in study.config]  # an absolute path stays
        own = {"network": study.network, "training": study.training}
        document: dict[str, Any] = reduce(merged, (*layers, own), {})
        checked = study.model_copy(update={"config": (), **{key: document.get(key, {}) for key in own}})
        checked.recipe()
        return checked

    def recipe(self, *changes: Changes) -> Config:
        """The training config of this study, changed in order by `changes`."""
        layers = ({"network": layer.network, "training": layer.training} for layer in (self, *changes))
        document: dict[str, Any] = reduce(merged, layers, {})
        return Config.of(document)

    def settings(self, part: PartName) -> PartSettings:
        """The table of one part."""
        return cast(PartSettings, getattr(self.parts, part))

    def asked(self, *, data: str | None = None, seeds: Sequence[int] = (), only: Sequence[str] = ()) -> "Study":
        """The same with what a command line asks for."""
        given = {key: value for key, value in (("data", data), ("seeds", [*seeds]), ("run", [*only])) if value}
        return Study.of({**self.model_dump(mode="json"), **given}, where="command line")

    def quick(self) -> "Study":
        """The same in a few seconds a run: one seed and fold, one epoch, few events, small sections, two of each."""
        small = {"filters": [4], "widths": [16], "cut_filters": 2, "cut_width": 32}
        document = self.model_dump(mode="json")
        parts = {name: {**part, "seeds": [], "training": {}} for name, part in document["parts"].items()}
        parts["uncut"] |= {"qualities": [10, 80], "network": {}}
        parts["pictures"] |= {"sizes": [16], "jpeg": [10], "webp": [10]}
        parts["filters"] |= {"values": [1, 2]}
        changes = {
            "seeds": document["seeds"][:1],
            "folds": document["folds"][:1],
            "events": min(self.events or 480, 480),
            "network": merged(self.network, {"device": small, "edge": small, "cloud": small}),
            "training": merged(self.training, {"epochs": 1, "batch": 32}),
            "most": 2,
            "parts": parts,
            "ablations": document["ablations"][:1],
        }
        return Study.of({**document, **changes})


def study_file(name: str) -> Path:
    """The packaged study of that name; a path, with a folder or an ending in it, is itself."""
    return config_file(name, folder=Path(__file__).parent / "configs", what="study")
