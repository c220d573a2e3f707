"""The policy of a running fleet, from outside: read where it has its source, written there, seen to come everywhere."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from ddnn.client.calls import translated
from ddnn.errors import BadInput, DDNNError, Forbidden, Unavailable
from ddnn.fleet.glance import NOBODY, Glance, look
from ddnn.policy import POLICY_FILE, Policy
from ddnn.seal import read_sealed
from ddnn.tls import trusted
from ddnn.wire import decode_error

__all__ = ["Proposal", "Source", "differences", "flat", "followers", "propose", "source_of"]

_PATH: Final = "/v2/policy"
_SECONDS: Final = 10.0
_SEAL: Final = "checksum"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A policy that somebody wants, as written and as understood."""

    document: Mapping[str, Any]
    policy: Policy


def propose(path: Path) -> Proposal:
    """Read the policy of a bundle, or a JSON file of one, sealed or not, or what `show --json` printed.

    Raises `BadInput` naming the file or the key.
    """
    file = path / POLICY_FILE if path.is_dir() else path
    try:
        document = json.loads(file.read_bytes())
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({(error.strerror or str(error)).lower()})") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{file}: is not valid JSON ({error})") from error
    if not isinstance(document, dict):
        raise BadInput(f"{file}: is not a JSON object; expected a policy")
    if "etag" in document and isinstance(document.get("policy"), dict):
        document = document["policy"]
    if _SEAL in document:
        document = read_sealed(file, seal=_SEAL)
        del document[_SEAL]
    return Proposal(document, Policy.of(document))


def differences(running: Policy, proposed: Policy) -> list[tuple[str, Any, Any]]:
    """(key, running, proposed) of every key that differs, nested ones joined by dots; a version is no difference."""
    was, wanted = (flat(policy.model_dump(mode="json", exclude={"version"})) for policy in (running, proposed))
    keys = [*was, *(key for key in wanted if key not in was)]
    return [(key, was.get(key), wanted.get(key)) for key in keys if was.get(key) != wanted.get(key)]


def flat(document: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """A document's values by their keys, nested ones joined by dots."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{before}{key}.")
        else:
            found[before + key] = None if value == {} else value
    return found


def source_of(glances: Sequence[Glance]) -> Glance:
    """The tier that follows no other, so that takes writes; raise `Unavailable` or `BadInput`."""
    here = [glance for glance in glances if glance.status is not None]
    if not here:
        raise Unavailable(next((glance.problem for glance in glances if glance.listens), NOBODY))
    sources = [glance for glance in here if not (glance.status or {}).get("uplink")]
    if not sources:
        names = ", ".join(glance.name for glance in here)
        raise Unavailable(f"the cloud does not answer, and {names} only follow it; expected the cloud among them")
    fingerprints = {glance.fingerprint for glance in sources}
    if len(sources) > 1 and len(fingerprints) > 1:
        raise BadInput(f"{', '.join(glance.url for glance in sources)} are clouds of several bundles; name one fleet")
    return sources[0]


class Source:
    """The tier where the policy is written."""

    def __init__(self, url: str, *, token: str | None = None, admin_token: str | None = None) -> None:
        self.url = url
        self._token, self._admin_token = token, admin_token

    def read(self) -> Policy:
        """The policy in force there."""
        return Policy.of(self._ask("GET", _PATH, self._token))

    def write(self, document: Mapping[str, Any], *, over: Policy) -> dict[str, Any]:
        """Put a policy in force, unless another than `over` has come into force meanwhile."""
        return self._ask("PUT", _PATH, self._admin(), over=over, document=document)

    def roll_back(self, *, over: Policy) -> dict[str, Any]:
        """Put the one before `over` in force again."""
        return self._ask("POST", f"{_PATH}/rollback", self._admin(), over=over)

    def try_out(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """What a policy would have made of the decisions recorded there."""
        return self._ask("PUT", f"{_PATH}?dry_run=true", self._admin(), document=document)

    def _admin(self) -> str:
        if not self._admin_token:
            raise Forbidden("writing a policy needs the admin token; give --admin-token or set DDNN_ADMIN_TOKEN")
        return self._admin_token

    def _ask(
        self,
        method: str,
        path: str,
        token: str | None,
        *,
        over: Policy | None = None,
        document: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        if over:
            headers["if-match"] = over.etag
        content = b"" if document is None else json.dumps(document).encode()
        with translated(self.url), httpx.Client(verify=trusted(self.url), trust_env=False, timeout=_SECONDS) as client:
            response = client.request(method, self.url + path, content=content, headers=headers)
        if response.status_code != 200:
            raise decode_error(response.status_code, response.content)
        try:
            answer = response.json()
        except ValueError as error:
            raise DDNNError(f"{self.url} answered nonsense: {error}") from error
        if not isinstance(answer, dict):
            raise DDNNError(f"{self.url} answered JSON that is not an object")
        return answer


def followers(
    urls: Mapping[str, str],
    etag: str,
    *,
    token: str | None,
    seconds: float,
    progress: Callable[[int, int], object] = lambda done, all: None,
) -> dict[str, bool]:
    """By name, whether each tier that answers has the policy `etag`, asked until all do or `seconds` are over."""
    until = time.monotonic() + seconds
    while True:
        glances = [glance for glance in look(urls, token) if glance.status is not None]
        there = {glance.name: (glance.status or {})["policy"].get("etag") == etag for glance in glances}
        progress(sum(there.values()), len(there))
        if all(there.values()) or time.monotonic() > until:
            return there
        time.sleep(0.1)
