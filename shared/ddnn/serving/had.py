"""Which signed bundle a tier has served last: it takes none that is older, as its operator's word has an order."""

import logging
from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError

from ddnn.bundle import Bundle
from ddnn.errors import BadBundle
from ddnn.seal import Frozen, read_sealed, write_sealed
from ddnn.settings import Settings
from ddnn.types import Tier

__all__ = ["Had"]

_log = logging.getLogger("ddnn")
_SEAL: Final = "checksum"


class _Kept(Frozen):
    bundle: str = Field(pattern="^[0-9a-f]{64}$")
    version: int = Field(ge=0)


class Had:
    """What a tier that trusts keys has served, in `bundle-TIER-INDEX.json` of its `DDNN_STATE_DIR`.

    Without keys there is no order, and without a folder none that outlives a restart.
    """

    def __init__(self, settings: Settings, tier: Tier) -> None:
        kept = settings.state_dir if settings.trusted_keys else None
        self._file: Path | None = kept and kept / f"bundle-{tier}-{settings.index}.json"

    def check(self, bundle: Bundle) -> None:
        """Raise `BadBundle` for one that is older than what was served here, or as old and another."""
        if problem := self.problem(bundle):
            raise BadBundle(problem)

    def problem(self, bundle: Bundle) -> str:
        """Why it is none to be served here; empty where it may be."""
        kept = self._read()
        if kept is None or kept.version == 0:
            return ""
        version = bundle.signature.version if bundle.signature else 0
        if version > kept.version or (version == kept.version and bundle.fingerprint == kept.bundle):
            return ""
        found = f"the bundle {bundle.fingerprint[:12]} is signed as of version {version}"
        had = f"{kept.bundle[:12]}, of version {kept.version}, was served here"
        return f"{found}, and {had}; to come back, sign it again: `ddnn sign BUNDLE --key …`"

    def note(self, bundle: Bundle) -> None:
        """It is served now."""
        version = bundle.signature.version if bundle.signature else 0
        kept = self._read()
        if self._file is None or kept == _Kept(bundle=bundle.fingerprint, version=version):
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_sealed(self._file, {"bundle": bundle.fingerprint, "version": version}, seal=_SEAL)
        except OSError as error:
            _log.warning("that this bundle was served will not outlive a restart: %s", error)

    def _read(self) -> _Kept | None:
        if self._file is None or not self._file.exists():
            return None
        try:
            document = read_sealed(self._file, seal=_SEAL)
            return _Kept.model_validate({name: value for name, value in document.items() if name != _SEAL})
        except (BadBundle, ValidationError) as error:
            _log.warning("which bundle was served here is not known: %s", error)
            return None
