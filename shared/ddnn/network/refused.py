"""What a network's configuration may not say: keys that do not go together, or not with the views."""

from collections.abc import Mapping, Sequence
from typing import Final

from ddnn.codec import codec_of
from ddnn.errors import BadConfig
from ddnn.network.config import NetworkConfig, SectionConfig
from ddnn.topology import View

__all__ = ["refuse"]

ROUNDING: Final = 1e-6


def refuse(config: NetworkConfig, views: Sequence[View], edges: tuple[tuple[int, ...], ...]) -> None:
    """Raise `BadConfig` where two keys, or a key and the views, do not go together."""
    if config.devices and len(config.devices) != len(views):
        raise BadConfig(f"network.devices names {len(config.devices)} devices; the data have {len(views)}")
    if not config.device_section and config.edge_section:
        raise BadConfig("network.edge_section is true without device sections; expected false: raw views go up")
    if not config.device_section and len(edges) > 1:
        raise BadConfig(f"network.edges makes {len(edges)} edges without device sections; expected one")
    first = "device" if config.device_section else "cloud"
    if config.spectrum and not getattr(config, first).flat:
        raise BadConfig(f"network.{first}.flat is false with network.spectrum; expected true: frequencies are no times")
    tables = {"device": config.device, "edge": config.edge, "cloud": config.cloud}
    _refuse_backbone(config, tables)
    _refuse_views(config, views, edges)
    for name, section in tables.items():
        judges = ("linear", "trees", "forest")
        shares = sum(getattr(section, f"{judge}_share") for judge in judges if getattr(section, judge))
        if shares > 1 + ROUNDING:
            raise BadConfig(f"network.{name}: shares of {' and '.join(judges)} sum to {shares:g}; expected at most 1")
        if section.apart and (name == "device" or config.blocks != "float" or section.flat):
            found = f"network.{name}.apart is {section.apart}"
            raise BadConfig(f"{found}; expected 0 but of float convolutions over what is joined")
        if name != "cloud" and section.section == "blocks" and not section.tail and section.cut_codec != "bits1":
            found = f"network.{name}.tail is false with cut_codec {section.cut_codec!r}"
            raise BadConfig(f"{found}; expected true: without a tail the exit sees bits")
    kinds = sorted({f"{view.dtype} {view.shape}" for view in views})
    if len({view.shape for view in views}) > 1 and not config.device.tail and config.device_section:
        raise BadConfig(f"network.device.tail is false, but views are {', '.join(kinds)}; expected true")
    if len(kinds) > 1:
        for key, unfit in (("shared_weights", True), ("device_section", False)):
            if getattr(config, key) is unfit:
                found = f"network.{key} is {str(unfit).lower()}, but views are {', '.join(kinds)}"
                raise BadConfig(f"{found}; expected views of one kind")
        if config.backbone:
            raise BadConfig(
                f"network.backbone is {config.backbone!r}, but views are {', '.join(kinds)}; expected one kind"
            )


def _refuse_views(config: NetworkConfig, views: Sequence[View], edges: Sequence[Sequence[int]]) -> None:
    """Raise `BadConfig` where the cloud cannot take views, or an image cannot be shrunk."""
    table, kinds = config.cloud, sorted({f"{view.dtype} {view.shape}" for view in views})
    images = all(len(view.shape) == 3 for view in views)
    if table.takes == "views":
        if not (config.device_section and config.edge_section and len(edges) == 1):
            found = "network.cloud.takes is 'views'"
            raise BadConfig(f"{found}; expected device sections, an edge section, and one edge, which asks for them")
        codec = codec_of(table.picture, views[0].dtype)
        file = codec.datatype == "BYTES"
        if not (file or table.picture == "view"):
            raise BadConfig(
                f"network.cloud.picture is {table.picture!r}; expected jpeg or webp with a quality, or view"
            )
        if len(kinds) > 1 or (file and not views[0].is_picture):
            of = "bytes of one channel or three, as pictures are" if file else "one kind"
            raise BadConfig(f"network.cloud.takes is 'views', of {', '.join(kinds)}; expected views of {of}")
        if table.views > len(views):
            raise BadConfig(f"network.cloud.views is {table.views}; expected at most {len(views)}, the devices")
    elif table.backbone or table.views:
        key = "backbone" if table.backbone else "views"
        raise BadConfig(f"network.cloud.{key} is {getattr(table, key)!r} with takes 'features'; expected 'views'")
    for name, given in (("device", config.device), ("edge", config.edge), ("cloud", table)):
        seen = name == "device" or (name == "cloud" and table.takes == "views")
        if given.input_size and not (images and seen):
            expected = "0" if images else "images to shrink"
            raise BadConfig(f"network.{name}.input_size is {given.input_size}; expected {expected}")
        if given.takes == "views" and name != "cloud":
            raise BadConfig(f"network.{name}.takes is 'views'; expected features: the cloud alone asks for views")


def _refuse_backbone(config: NetworkConfig, tables: Mapping[str, SectionConfig]) -> None:
    """Raise `BadConfig` for keys that say nothing without a backbone, and for half a normalisation."""
    given = {key: getattr(config, key) for key in ("backbone_weights", "backbone_end", "cuts")}
    given |= {f"{name}.bottleneck": table.bottleneck for name, table in tables.items()}
    for key, value in given.items():
        if value and not config.backbone:
            raise BadConfig(f"network.{key} is {value!r} without network.backbone; expected one")
    mean, spread = len(config.input_mean), len(config.input_spread)
    if mean != spread:
        raise BadConfig(f"network.input_mean has {mean} numbers, input_spread {spread}; expected as many")
