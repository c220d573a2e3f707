"""A client for administration: the figures of a tier, and its policy, which the admin token may write."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any, Final

import httpx
import numpy as np

from ddnn.client.client import Call, Client, json_object
from ddnn.errors import BadInput, Forbidden
from ddnn.policy import Policy
from ddnn.types import Array

__all__ = ["Admin"]

_DOUBTS: Final = "/v2/doubts"


class Admin(Client):
    """Administer one tier; a policy is written to the one that follows no other, usually the cloud."""

    def __init__(self, url: str, token: str | None = None, *, admin_token: str | None = None, **kept: Any) -> None:
        """`timeout_s`, by default 10, and `transport` are `Client`'s."""
        super().__init__(url, token, **{"timeout_s": 10.0, **kept})
        self._admin_token = admin_token

    def stats(self) -> dict[str, Any]:
        """Return the protocol's statistics: requests and their times."""
        return self.send(Call("GET", "/v2/models/ddnn/stats", json_object))

    def metrics(self) -> str:
        """Return the metrics in the text format of Prometheus."""
        return self.send(Call("GET", "/metrics", lambda response: response.text))

    def read_policy(self) -> Policy:
        """Return the policy in force."""
        return Policy.of(self.policy())

    def write_policy(self, policy: Policy, *, over: Policy) -> dict[str, Any]:
        """Put a policy in force; raise `StalePolicy` if another than `over` has come into force meanwhile.

        Return its version, its etag and whether it is kept.
        """
        return self._write("PUT", "", policy, over)

    def roll_back_policy(self, *, over: Policy) -> dict[str, Any]:
        """Put the one before `over` in force again, as a new version."""
        return self._write("POST", "/rollback", None, over)

    def try_policy(self, policy: Policy) -> dict[str, Any]:
        """Return what a policy would have made of the decisions recorded at this tier; changes nothing."""
        return self._write("PUT", "?dry_run=true", policy, None)

    def rollout(self) -> dict[str, Any]:
        """Return what is rolled out, how far it is, and what this tier has of it."""
        return self.send(Call("GET", "/v2/rollout", json_object))

    def administer(self, method: str, path: str, body: bytes = b"") -> dict[str, Any]:
        """Send what the admin token is demanded for; return its answer."""
        if not self._admin_token:
            raise Forbidden("this needs the admin token; give --admin-token or set DDNN_ADMIN_TOKEN")
        return self.send(Call(method, path, json_object, body, {"authorization": f"Bearer {self._admin_token}"}))

    def doubts(self) -> Iterator[dict[str, Any]]:
        """Return the events that this tier keeps to be labelled, oldest first, with what each exit said."""
        after, more = 0, True
        while more:
            page = self.administer("GET", f"{_DOUBTS}?after={after}")
            rows, more = page["doubts"], page["more"]
            yield from rows
            after = rows[-1]["n"] if rows else after

    def doubt_view(self, id: str) -> Array:
        """Return what this device saw of an event that it keeps; `id` is in hexadecimal digits."""
        if not self._admin_token:
            raise Forbidden("views need the admin token; give --admin-token or set DDNN_ADMIN_TOKEN")
        headers = {"authorization": f"Bearer {self._admin_token}"}
        return self.send(Call("GET", f"{_DOUBTS}/{id}/view", _npy, headers=headers))

    def delete_doubts(self, ids: Sequence[str] | None = None) -> int:
        """Delete these events, or all; return how many there were."""
        paths = [_DOUBTS] if ids is None else [f"{_DOUBTS}/{id}" for id in ids]
        return sum(int(self.administer("DELETE", path)["deleted"]) for path in paths)

    def _write(self, method: str, path: str, policy: Policy | None, over: Policy | None) -> dict[str, Any]:
        if not self._admin_token:
            raise Forbidden("writing a policy needs the admin token; give --admin-token or set DDNN_ADMIN_TOKEN")
        headers = {"authorization": f"Bearer {self._admin_token}", **({"if-match": over.etag} if over else {})}
        # Only what was set: a tier has defaults of its own for the rest.
        body = b"" if policy is None else policy.model_dump_json(exclude_unset=True).encode()
        return self.send(Call(method, f"/v2/policy{path}", json_object, body, headers))


def _npy(response: httpx.Response) -> Array:
    try:
        array: Array = np.load(BytesIO(response.content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise BadInput(f"no .npy file ({error})") from error
    return array
