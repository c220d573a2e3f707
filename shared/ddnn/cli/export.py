"""`ddnn export`: a section in another form, for what does not run ONNX."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from ddnn.cli.options import BundleArgument, Json, open_bundle, print_json, screen

__all__ = ["export"]


def export(
    bundle: BundleArgument = None,
    c: Annotated[bool, Option("--c", help="As C99 without allocation, for a microcontroller.")] = False,
    device: Annotated[int, Option(min=0, help="Which device's section.")] = 0,
    out: Annotated[Path | None, Option(metavar="DIR", help="Where it is written; device-N by default.")] = None,
    events: Annotated[int, Option(min=1, max=10_000, help="Golden events that the check on a board has.")] = 8,
    force: Annotated[bool, Option("--force", help="Write over the files of an earlier export.")] = False,
    as_json: Json = False,
) -> None:
    """Write a device's section as plain C: weights as constants, static memory, and the frames to join a fleet.

    An operator that is not written in C is named, and nothing is written.

    Example: `ddnn export --c mnist5k --device 0 --out device-0 && make -C device-0 check`
    """
    from ddnn.embedded import write_device
    from ddnn.errors import BadInput

    if not c:
        raise BadInput("there is no form to export to; expected --c")
    opened = open_bundle(bundle)
    folder = out or Path(f"device-{device}")
    section = write_device(opened, device, folder, events=events, force=force)
    names = sorted(file.name for file in folder.iterdir())
    if as_json:
        print_json({"bundle": opened.fingerprint, "folder": str(folder), "files": names, **section.document})
        return
    from ddnn.formatting import table

    shown = table(f"device {device} of {opened.manifest.name}", "layer", "gives", "weights", "operations")
    for layer in section.layers:
        shape = " × ".join(map(str, layer["shape"][1:] or layer["shape"]))
        shown.add_row(layer["what"], shape, f"{layer['weights']:,}", f"{layer['macs']:,}")
    screen().print(shown)
    typer.echo(
        f"weights {section.weights:,} bytes, memory {section.memory:,} bytes, {section.macs:,} operations an event"
    )
    typer.echo(f"{folder} has it; `make -C {folder} check` holds it against golden events")
