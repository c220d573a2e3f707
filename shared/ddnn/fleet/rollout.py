"""A rollout from outside: give the cloud a bundle's files, begin, look on, end or take back."""

import json
import time
from collections.abc import Callable
from typing import Any, Final

from ddnn.bundle import MANIFEST_FILE, SIGNATURE_FILE, Bundle
from ddnn.client.admin import Admin
from ddnn.parts import files_of, tiers_of
from ddnn.policy import POLICY_FILE

__all__ = ["begin", "wait"]

_EVERY_S: Final = 0.2
_OVER: Final = ("serving", "returned", "none")


def begin(
    admin: Admin,
    bundle: Bundle,
    *,
    share: float = 0.1,
    events: int = 100,
    progress: Callable[[str, int, int], object] = lambda name, done, files: None,
) -> dict[str, Any]:
    """Give the cloud what tiers need of a bundle, and have it rolled out: first to a `share`, for so many `events`."""
    files = bundle.manifest.files
    sealed = [name for name in (MANIFEST_FILE, SIGNATURE_FILE, POLICY_FILE) if (bundle.path / name).exists()]
    needed = [name for tier in tiers_of(bundle.topology) for name in files_of(bundle.topology, *tier, files)]
    names = list(dict.fromkeys((*sealed, *needed)))
    for done, name in enumerate(names):
        progress(name, done, len(names))
        content = (bundle.path / name).read_bytes()
        admin.administer("PUT", f"/v2/rollout/bundles/{bundle.fingerprint}/{name}", content)
    asked = {"bundle": bundle.fingerprint, "share": share, "events": events}
    return admin.administer("POST", "/v2/rollout", json.dumps(asked).encode())


def wait(admin: Admin, seconds: float, seen: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Look on until it is over, or for so long; `seen` hears of every look. Return the last."""
    until = time.monotonic() + seconds
    while True:
        document = admin.rollout()
        seen(document)
        if document["stage"] in _OVER or time.monotonic() > until:
            return document
        time.sleep(_EVERY_S)
