"""The topology: which devices and edges there are, which sections run where, what each of them takes and sends up.

A section is one ONNX file that ends in an exit. It takes a list of inputs, each a view, scores or features of the
tier below, in a codec, sent always or when asked for; its features go up.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from ddnn.codec import Codec, codec_of, filled, trims
from ddnn.levels import Pick
from ddnn.picture import CHANNELS, Picture
from ddnn.seal import Frozen
from ddnn.types import Array, Exit, Tier

__all__ = ["DeviceSpec", "EdgeSpec", "Features", "FileName", "Files", "Fusion"]
__all__ += ["FeatureFusion", "Input", "Level", "SectionSpec", "Topology", "View"]

Shape = tuple[int, ...]
What = Literal["view", "scores", "features"]
When = Literal["always", "asked"]
Level = Literal["local", "edge", "cloud"]
FeatureFusion = Literal["max", "mean", "concat", "attention"]
Fusion = Literal[FeatureFusion, "clipped"]  #: scores may be clipped, too

_TIERS: Final = tuple(Tier)
_TIER_OF: Final = {Exit.DEVICE: Tier.DEVICE, Exit.LOCAL: Tier.EDGE, Exit.EDGE: Tier.EDGE, Exit.CLOUD: Tier.CLOUD}
_MOST_PLACES: Final = 4096  #: devices, and edges
_MOST_VALUES: Final = 2**28  #: of one view, or one section's features


def _few(shape: Shape) -> Shape:
    if math.prod(shape) > _MOST_VALUES:
        raise ValueError(f"{math.prod(shape)} values; expected at most {_MOST_VALUES}")
    return shape


Sizes = Annotated[tuple[Annotated[int, Field(ge=1)], ...], AfterValidator(_few)]
FileName = Annotated[str, Field(pattern=r"^[^/\\\x00-\x1f.][^/\\\x00-\x1f]{0,200}$")]
"""Of a file in the bundle's folder itself."""


class View(Frozen):
    """What one device sees of one event."""

    shape: Sizes = Field(min_length=1, max_length=3)  #: (C, H, W) an image, (C, L) a series, (F,) a vector
    dtype: Literal["UINT8", "FP32"]
    missing: bool = False
    """Whether NaN and infinity are numbers that are missing, which the section fills in; else they are refused."""
    picture: Picture | None = None
    """How a photograph becomes such a view, of bytes (1, H, W) or (3, H, W); none: in the usual way."""

    @model_validator(mode="after")
    def _may_be_a_picture(self) -> Self:
        if self.picture and not self.is_picture:
            raise ValueError(f"a picture would become {self.dtype} {self.shape}; expected UINT8 (1 or 3, H, W)")
        return self

    @classmethod
    def of(cls, views: Array, picture: Picture | None = None) -> "View":
        """What an array of views (N, …) has of each event: bytes 0..255, or numbers, some of them missing."""
        whole = views.dtype == np.uint8
        return cls(shape=views.shape[1:], dtype="UINT8" if whole else "FP32", missing=not whole, picture=picture)

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The same as a numpy type."""
        return np.dtype(np.uint8 if self.dtype == "UINT8" else np.float32)

    @property
    def is_picture(self) -> bool:
        """Whether a photograph can become such a view."""
        return self.dtype == "UINT8" and len(self.shape) == 3 and self.shape[0] in CHANNELS

    @property
    def bytes(self) -> int:
        """Size of one raw view."""
        return math.prod(self.shape) * self.numpy_dtype.itemsize


class Features(Frozen):
    """What a section gives the tier above, where the network is cut."""

    shape: Sizes = Field(min_length=1, max_length=8)
    codec: str = "bits1"

    @property
    def values(self) -> int:
        """Elements of one event's features."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """The same on the wire."""
        return self.coded.bytes(self.shape)

    @property
    def coded(self) -> Codec:
        """The codec itself."""
        return codec_of(self.codec)

    @property
    def row(self) -> Shape:
        """Shape of one row on the wire."""
        return self.coded.wire_shape(self.shape)

    def fewer(self, longest: "Features") -> bool:
        """Whether these are the start of another section's, which has more of the kind."""
        alike = self.codec == longest.codec and trims(self.codec)
        return alike and len(self.shape) == len(longest.shape) == 1 and self.values <= longest.values

    def pack(self, values: Array) -> Array:
        """What the section, or one that gives fewer, gives: (…, n) → rows on the wire."""
        return self.coded.pack(filled(values, self.values))

    def unpack(self, rows: Array) -> Array:
        """Rows on the wire → what the section above takes, (…, n)."""
        return self.coded.unpack(rows, self.shape)


class Input(Frozen):
    """One thing that a section takes of each of its children; `what` is also the name of its tensor."""

    child: Tier  #: whose view, scores or features; a device section's `device` is its own sensor
    what: What
    codec: str
    when: When  #: always: with the child's first message of an event. asked: only where the exit below is not sure.
    most: int = Field(default=0, ge=0, le=_MOST_PLACES)  #: of so many children, those that tell most; 0: of all
    pick: Pick = "sure"  #: which these are
    mean_bytes: int = Field(default=0, ge=0, le=_MOST_VALUES)  #: of training events' rows; 0: as a sample has it

    def of_scores(self, codec: str) -> "Input":
        """The same in another codec, if it is a device's scores."""
        scores = (self.child, self.what) == (Tier.DEVICE, "scores")
        return self.model_copy(update={"codec": codec}) if scores else self


class SectionSpec(Frozen):
    """One section."""

    tier: Tier
    index: int = Field(ge=0)  #: which device or edge runs it; 0 at the cloud
    file: FileName
    exit: Exit
    inputs: tuple[Input, ...] = Field(min_length=1)
    features: Features | None = None  #: what it gives upward

    @property
    def role(self) -> str:
        """What its tier calls it: `section`, or `local`."""
        return "local" if self.exit is Exit.LOCAL else "section"


class DeviceSpec(Frozen):
    """One device."""

    view: View


class EdgeSpec(Frozen):
    """One edge."""

    devices: tuple[Annotated[int, Field(ge=0, lt=_MOST_PLACES)], ...] = Field(min_length=1, max_length=_MOST_PLACES)
    """Global device indices, ascending; position in this tuple is the device's place in the edge's fusion."""


class Files(NamedTuple):
    """Names of the sections' files; a tier without sections has none."""

    devices: Sequence[str] = ()
    locals: Sequence[str] = ()
    edges: Sequence[str] = ()
    cloud: str = "cloud.onnx"

    @classmethod
    def usual(cls, devices: int, edges: int, *, section: bool, shared: bool = False) -> "Files":
        """As bundles name them: devices that share their weights share a file; `section`: edges have one."""
        suffixes = [f"-{index}" if edges > 1 else "" for index in range(edges if devices else 0)]
        return cls(
            ["device.onnx" if shared else f"device-{index}.onnx" for index in range(devices)],
            [f"local{suffix}.onnx" for suffix in suffixes],
            [f"edge{suffix}.onnx" for suffix in suffixes if section],
        )


class Topology(Frozen):
    """Devices with views, edges with devices, and the sections.

    In the files an output that shares an input's name ends in `_out`, since ONNX names are unique;
    `ddnn.runtime.Section` takes that off. A section that takes something of several children also takes `present`,
    which of them took part.
    """

    devices: tuple[DeviceSpec, ...] = Field(min_length=1, max_length=_MOST_PLACES)
    edges: tuple[EdgeSpec, ...] = Field(min_length=1, max_length=_MOST_PLACES)
    sections: tuple[SectionSpec, ...] = Field(min_length=1, max_length=4 * _MOST_PLACES)
    fusion: dict[Level, Fusion] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _of_format_1(cls, document: Any) -> Any:
        """Take the topology of a bundle of format 1, which had cuts of one bit an element in the sections' place."""
        if not isinstance(document, Mapping) or "device_cut" not in document:
            return document
        try:
            devices, edges = document["devices"], document["edges"]
            files = Files(
                [device["section"] for device in devices if device["section"]],
                [edge["local"] for edge in edges if edge["local"]],
                [edge["section"] for edge in edges if edge["section"]],
                document["cloud"],
            )
            cuts = [Features(**document[cut]) if document[cut] else None for cut in ("device_cut", "edge_cut")]
            views, groups = [View(**device["view"]) for device in devices], [edge["devices"] for edge in edges]
            return dict(cls.tiered(views, groups, *cuts, files=files, fusion=document["fusion"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"a topology of format 1 does not have this form ({error!r})") from error

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Every device is joined by one edge, every exit has all its sections, and these take what there is."""
        joined = sorted(device for edge in self.edges for device in edge.devices)
        devices, edges = len(self.devices), len(self.edges)
        if joined != list(range(devices)) or any(sorted(edge.devices) != [*edge.devices] for edge in self.edges):
            raise ValueError(f"the edges join {len(joined)} devices; expected each of {devices} once, in order")
        places = {Exit.DEVICE: devices, Exit.LOCAL: edges, Exit.EDGE: edges, Exit.CLOUD: 1}
        for exit in dict.fromkeys((*self.exits, Exit.CLOUD)):
            ending = [section for section in self.sections if section.exit is exit]
            if sorted(section.index for section in ending) != list(range(places[exit])):
                raise ValueError(f"the {exit} exit has {len(ending)} sections; expected one for each of {places[exit]}")
            made = [section.features for section in ending]
            most = _longest(made)
            if len(set(made)) > 1 and not all(each and most and each.fewer(most) for each in made):
                raise ValueError(f"the sections of the {exit} exit give different features; expected all alike")
        for section in self.sections:
            if section.tier is not _TIER_OF[section.exit]:
                raise ValueError(f"{section.file} is of the {section.tier}; its exit is {section.exit}")
            for given in section.inputs:
                below = _TIERS.index(given.child) < _TIERS.index(section.tier)
                own = section.tier is given.child is Tier.DEVICE and given.what == "view"
                there = given.what != "features" or self.features(given.child) is not None
                if not (there and (below or own)):
                    raise ValueError(f"{section.file} takes {given.what} of the {given.child}, which gives it none")
        return self

    @classmethod
    def tiered(
        cls,
        views: Sequence[View],
        edges: Sequence[Sequence[int]],
        device: Features | Sequence[Features] | None,
        edge: Features | Sequence[Features] | None = None,
        *,
        views_up: Sequence[Input] = (),
        files: Files | None = None,
        fusion: Mapping[Level, Fusion] | None = None,
    ) -> "Topology":
        """The paper's configurations: sections and exits follow from which features go up.

        `device`: what devices send, all alike or each its own; none: raw views go up, and the cloud's is the only
        section. `edge`: what edges send; none: they have no section, they pass on. `views_up`: what the cloud takes.
        """
        device, edge = _each(device, len(views)), _each(edge, len(edges))
        files = files or Files.usual(len(views) if device else 0, len(edges), section=bool(edge or views_up))
        view = Input(child=Tier.DEVICE, what="view", codec="view", when="always")
        scores = Input(child=Tier.DEVICE, what="scores", codec="float32", when="always")
        own = Input(child=Tier.DEVICE, what="features", codec=device[0].codec, when="asked") if device else None
        up = Input(child=Tier.EDGE, what="features", codec=edge[0].codec, when="always") if edge else None
        rows: list[tuple[Tier, Exit, Sequence[str], Sequence[Input], Sequence[Features]]] = [
            (Tier.DEVICE, Exit.DEVICE, files.devices, [view], device),
            (Tier.EDGE, Exit.LOCAL, files.locals, [scores], ()),
            (Tier.EDGE, Exit.EDGE, files.edges, [own or view], edge),
            (Tier.CLOUD, Exit.CLOUD, [files.cloud], views_up or [up or own or view], ()),
        ]
        return cls(
            devices=tuple(DeviceSpec(view=view) for view in views),
            edges=tuple(EdgeSpec(devices=tuple(devices)) for devices in edges),
            sections=tuple(
                SectionSpec(
                    tier=tier,
                    index=index,
                    file=file,
                    exit=exit,
                    inputs=tuple(given),
                    features=features[index] if features else None,
                )
                for tier, exit, names, given, features in rows
                for index, file in enumerate(names)
            ),
            fusion=dict(fusion or {}),
        )

    @property
    def exits(self) -> tuple[Exit, ...]:
        """The exits this network has, lowest first."""
        return tuple(exit for exit in Exit if any(section.exit is exit for section in self.sections))

    @property
    def codecs(self) -> set[str]:
        """Names of all codecs, at every cut."""
        inputs = [given for section in self.sections for given in section.inputs]
        return {given.codec for given in inputs} | {each.features.codec for each in self.sections if each.features}

    def sections_of(self, tier: Tier, index: int = 0) -> tuple[SectionSpec, ...]:
        """What `tier` number `index` runs, lowest exit first."""
        found = [section for section in self.sections if (section.tier, section.index) == (tier, index)]
        return tuple(sorted(found, key=lambda section: section.exit.rank))

    def section(self, exit: Exit, index: int = 0) -> SectionSpec | None:
        """The section that ends in `exit`, of device or edge number `index`."""
        return next((each for each in self.sections if each.exit is exit and each.index == index), None)

    def edge_of(self, device: int) -> int:
        """Index of the edge that joins `device`."""
        return next(index for index, edge in enumerate(self.edges) if device in edge.devices)

    def children(self, section: SectionSpec, given: Input) -> tuple[int, ...]:
        """Indices of the devices or edges that give a section one of its inputs, in the order of their places."""
        if section.tier is Tier.DEVICE:
            return (section.index,)
        if given.child is Tier.EDGE:
            return tuple(range(len(self.edges)))
        return self.edges[section.index].devices if section.tier is Tier.EDGE else tuple(range(len(self.devices)))

    def features(self, tier: Tier) -> Features | None:
        """What the sections of a tier give upward, as those above take it: where some give fewer, as many as the most.

        None where it has no section or nothing is above.
        """
        return _longest(each.features for each in self.sections if each.tier is tier)

    def own_features(self, tier: Tier, index: int) -> Features | None:
        """What device or edge number `index` gives upward."""
        made = (each.features for each in self.sections if each.tier is tier and each.index == index and each.features)
        return next(made, None)

    @property
    def views(self) -> Input | None:
        """The views that the cloud asks for, beyond what the tiers below make of them; none where it takes no views."""
        taken = (given for each in self.sections for given in each.inputs)
        return next((given for given in taken if (given.what, given.when) == ("view", "asked")), None)

    def sent(self, tier: Tier, when: When = "always") -> tuple[Input, ...]:
        """What a device or edge sends; an edge's first message has all that the cloud takes of its devices, too."""
        above = (section for section in self.sections if _TIERS.index(section.tier) > _TIERS.index(tier))
        nearest = sorted(above, key=lambda section: section.exit.rank)  # what it takes is the lower level
        inputs = dict.fromkeys(given for section in nearest for given in section.inputs)
        if tier is Tier.EDGE:
            return tuple(inputs) if when == "always" else ()
        return tuple(given for given in inputs if (given.child, given.when) == (tier, when))

    def codec(self, given: Input, child: int = 0) -> Codec:
        """The codec of what a section takes of child number `child`."""
        return codec_of(given.codec, self.devices[child].view.dtype if given.what == "view" else "FP32")

    def score_codec(self, exit: Exit) -> Codec:
        """The codec in which an exit's scores go up; every tier judges them as they arrive, so that all agree."""
        inputs = (given for each in self.sections for given in each.inputs)
        named = (given.codec for given in inputs if (given.child, given.what) == (Tier.DEVICE, "scores"))
        go_up = exit is Exit.DEVICE or (exit is not Exit.CLOUD and len(self.edges) > 1)
        return codec_of(next(named, "float32") if go_up else "float32")

    def with_scores(self, codec: str) -> "Topology":
        """The same network, the scores of which go up in another codec."""
        return self.with_inputs(lambda given: given.of_scores(codec))

    def with_inputs(self, change: Callable[[Input], Input]) -> "Topology":
        """The same network, each input of a section changed."""
        sections = [each.model_copy(update={"inputs": tuple(map(change, each.inputs))}) for each in self.sections]
        return self.model_copy(update={"sections": tuple(sections)})

    def shape(self, given: Input, child: int, classes: int = 0) -> Shape:
        """Shape of what a section takes of child number `child`; scores have K `classes`."""
        features = self.own_features(given.child, child)
        if given.what == "features" and features:
            return features.shape
        return self.devices[child].view.shape if given.what == "view" else (classes,)

    def bytes(self, given: Input, child: int, classes: int) -> int:
        """Size on the wire of what a section takes of child number `child`."""
        return self.codec(given, child).bytes(self.shape(given, child, classes))

    def rows(self, given: Input, children: Sequence[int]) -> tuple[int, ...]:
        """Elements of each child's row on the wire, where features of their tier are of unequal lengths; else none."""
        made = {each.index: each.features for each in self.sections if each.tier is given.child and each.features}
        if given.what != "features" or len(set(made.values())) == 1:
            return ()
        return tuple(made[child].row[0] for child in children)


def _longest(features: Iterable[Features | None]) -> Features | None:
    return max((each for each in features if each), key=lambda each: each.values, default=None)


def _each(features: Features | Sequence[Features] | None, count: int) -> Sequence[Features]:
    return [features] * count if isinstance(features, Features) else features or ()
