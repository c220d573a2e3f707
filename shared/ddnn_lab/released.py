"""A fleet of this tree's code, or of another checkout's: so that one run measures both."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ddnn.bundle import shipped_bundle
from ddnn.errors import BadInput
from ddnn.fleet.processes import LocalFleet

__all__ = ["UNSHED", "Code"]

UNSHED: Final = {"DDNN_MAX_LAG_MS": "0"}  #: settings of a tier that sheds nothing for the lateness of its loop

_PACKAGES: Final = ("shared", "device", "edge", "cloud")


class _Released(LocalFleet):
    """Version 0.1.0, whose watchdog has another name."""

    watchdog = "ddnn.fleet.tether"


@dataclass(frozen=True)
class Code:
    """The code under `root`, version 0.1.0, with the bundle that came with it; None: this tree's."""

    root: Path | None = None

    @classmethod
    def of(cls, root: Path) -> "Code":
        """Raise `BadInput` for a folder that is no checkout of version 0.1.0."""
        if not (root / "shared/ddnn/fleet/tether.py").is_file():
            raise BadInput(f"--beside is {root}; expected a checkout of version 0.1.0")
        return cls(root.absolute())

    @property
    def bundle(self) -> Path:
        """The digits' bundle."""
        return self.root / "shared/ddnn/shipped/mnist5k" if self.root else shipped_bundle()

    @property
    def path(self) -> dict[str, str]:
        """What Python finds it by, of the environment; nothing for this tree's."""
        return {"PYTHONPATH": ":".join(str(self.root / name) for name in _PACKAGES)} if self.root else {}

    def fleet(self, env: Mapping[str, str] | None = None, bundle: Path | None = None, **given: Any) -> LocalFleet:
        """A fleet on free ports; version 0.1.0 knows none of the settings `env`.

        It sheds nothing where `env` does not say so: 0.1.0 cannot, and a machine that others use is always late.
        """
        kind, settings = (_Released, self.path) if self.root else (LocalFleet, {**UNSHED, **(env or {})})
        return kind(bundle or self.bundle, base_port=0, env=settings, **given)
