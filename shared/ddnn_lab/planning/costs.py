"""What an event costs a fleet, as it was measured: CPU by tier, bytes by link, and the wait of its callers."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from ddnn.bundle import Bundle
from ddnn.errors import BadInput
from ddnn.seal import Frozen, first_problem, write_atomically
from ddnn.types import Exit

__all__ = ["WAYS", "Costs", "Cpu", "Way"]

Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]
Bytes = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]

WAYS: Final = (Exit.LOCAL, Exit.EDGE, Exit.CLOUD)
"""By which exit answered an event that several devices saw."""


class Cpu(Frozen):
    """CPU seconds of an event."""

    device: Seconds  #: of each device
    edge: Seconds
    cloud: Seconds
    client: Seconds = 0.0  #: of a load generator on the same machine


class Way(Frozen):
    """An event that one exit has answered."""

    cpu: Cpu
    alone_s: tuple[Seconds, ...] = Field(min_length=1, max_length=10_000)
    """From its views to the last caller's answer, of events that were alone in a fleet on one machine; sorted."""
    device_up: Bytes = 0.0  #: between each device and its edge, heads and all
    device_down: Bytes = 0.0
    edge_up: Bytes = 0.0  #: between the edge and the cloud
    edge_down: Bytes = 0.0


class Costs(Frozen):
    """What was measured of a bundle, on one machine."""

    format: Literal[1] = 1
    bundle: str  #: its fingerprint
    name: str
    devices: int = Field(ge=1, le=10_000)
    transport: Literal["http", "stream"] = "http"
    cores: int = Field(ge=1, le=4096)  #: of the machine
    memory: dict[Literal["device", "edge", "cloud"], Bytes]  #: resident bytes of a process
    ways: Mapping[Exit, Way]

    @classmethod
    def load(cls, path: Path, bundle: Bundle | None = None) -> "Costs":
        """Read a file that `ddnn plan --measure` wrote, of `bundle` if one is given; raise `BadInput`."""
        try:
            found = cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise BadInput(
                f"{path} cannot be read ({error.strerror}); expected a file of `ddnn plan --measure`"
            ) from error
        except ValidationError as error:
            raise BadInput(f"{path} is no file of `ddnn plan --measure`: {first_problem(error, 'the file')}") from error
        if bundle and found.bundle != bundle.fingerprint:
            raise BadInput(
                f"{path} was measured of bundle {found.name} ({found.bundle[:12]}); expected"
                f" {bundle.manifest.name} ({bundle.fingerprint[:12]})"
            )
        return found

    @classmethod
    def shipped(cls, bundle: Bundle) -> "Costs":
        """Those that come with the package; raise `BadInput` where this bundle has none."""
        file = files("ddnn_lab.planning") / "measured" / f"{bundle.manifest.name}.json"
        if not file.is_file():
            raise BadInput(f"nothing was measured of bundle {bundle.manifest.name}; measure it with --measure FILE")
        return cls.load(Path(str(file)), bundle)

    def save(self, path: Path) -> None:
        write_atomically(path, self.model_dump_json(indent=1) + "\n")
