"""What a tier keeps over a restart: its policy and the one before, in one sealed file of `DDNN_STATE_DIR`."""

import asyncio
import logging
from pathlib import Path
from typing import Any

from ddnn.errors import BadBundle, BadInput
from ddnn.policy import Policy
from ddnn.seal import read_sealed, write_sealed

__all__ = ["State"]

_log = logging.getLogger("ddnn")
_SEAL = "checksum"


class State:
    """The file `policy-TIER-INDEX.json`; tiers that share a folder do not share a file."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self._file = folder / f"policy-{name}.json" if folder else None
        self._one_at_a_time = asyncio.Lock()
        self.problem = "" if folder else "DDNN_STATE_DIR is not set"
        """Why what is in force would not outlive a restart; empty when it would."""

    def read(self, bundled: Policy) -> tuple[Policy, Policy | None] | None:
        """The policy kept and the one before it, if that is to be taken instead of the bundle's; the log says why."""
        if self._file is None:
            return None
        try:
            if not self._file.exists():
                return None
            current, previous = _policies(read_sealed(self._file, seal=_SEAL))
        except (BadInput, OSError) as error:
            _log.warning("policy version %d of the bundle: the one kept is damaged: %s", bundled.version, error)
            return None
        if current.bundle != bundled.bundle:
            _log.info("policy version %d of the bundle: the one kept belongs to another bundle", bundled.version)
            return None
        if current.version < bundled.version:
            _log.info("policy version %d of the bundle: the one kept is version %d", bundled.version, current.version)
            return None
        _log.info("policy version %d as kept: the bundle's is version %d", current.version, bundled.version)
        return current, previous if previous and previous.bundle == bundled.bundle else None

    async def keep(self, current: Policy, previous: Policy | None) -> bool:
        """Write both, in the order of the calls; whether that succeeded. A disk that hangs stops nobody else."""
        if self._file is None:
            return False
        async with self._one_at_a_time:
            try:
                await asyncio.to_thread(self._write, self._file, current, previous)
            except OSError as error:
                self.problem = f"{self._file.parent} cannot be written ({(error.strerror or str(error)).lower()})"
                _log.warning("policy version %d will not outlive a restart: %s", current.version, self.problem)
            else:
                self.problem = ""
        return not self.problem

    @staticmethod
    def _write(file: Path, current: Policy, previous: Policy | None) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        document: dict[str, Any] = {
            "format": 1,
            "current": current.model_dump(mode="json"),
            "previous": previous.model_dump(mode="json") if previous else None,
        }
        write_sealed(file, document, seal=_SEAL)


def _policies(document: dict[str, Any]) -> tuple[Policy, Policy | None]:
    if document.get("format") != 1 or not isinstance(document.get("current"), dict):
        raise BadBundle(f"its format is {document.get('format')!r}; expected 1, with a policy in it")
    previous = document.get("previous")
    return Policy.of(document["current"]), Policy.of(previous) if isinstance(previous, dict) else None
