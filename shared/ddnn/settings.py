"""Settings of a served tier: `DDNN_` names, nested ones joined by `__`; command line over environment over default.

Secrets may be files in place of variables.
"""

import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from ddnn.bundle import named, shipped_bundle
from ddnn.errors import BadConfig
from ddnn.picture import MOST_PIXELS

__all__ = ["CollectorSettings", "DoubtSettings", "Settings", "setting_names"]

_PREFIX = "DDNN_"
_READ_BY_CLIENTS = {"DDNN_TOKEN", "DDNN_SIGNING_KEY"}
_SECRETS: Final = ("token", "admin_token", "metrics_token", "event_key")
_SECRETS_DIR: Path = Path("/run/secrets")  #: where Docker, compose and others put secrets as files
_SHORTEST, _LONGEST = 16, 1024
_FILES: Final = ("tls_certificate", "tls_key", "identity", "audit_dir", "state_dir")
_MAY_BE_EMPTY: Final = (*_SECRETS, *_FILES, "threads", "traces")  #: as compose files hand over what is not set


class CollectorSettings(BaseModel):
    """Bounds of what waits for an event's contributions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    events: int = Field(default=20_000, ge=1)
    """Events held at most, waiting and answered together."""
    bytes: int | None = Field(default=None, ge=1)
    """Bytes of contributions held at most; by default what memory allows, 64 MiB at most."""
    hold_s: float = Field(default=30.0, gt=0)
    """How long an answered event is held for repeats, in seconds."""
    late_s: float = Field(default=2.0, ge=0)
    """How long after it a child that took no part is given an answer, in seconds; later, it begins another event."""
    alive_events: int = Field(default=4, ge=1)
    """A child that was silent through this many events, one after the other, is not waited for."""


class ViewSettings(BaseModel):
    """Bounds of the views that a device keeps while their events are on their way up, should they be asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    events: int = Field(default=1000, ge=1)
    """Views kept at most; the oldest goes, and is counted."""
    bytes: int = Field(default=64 << 20, ge=1)
    """Bytes of them at most."""


class DoubtSettings(BaseModel):
    """This tier's own bounds of the events that are kept to be labelled, whatever its policy says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int = Field(default=256 << 20, ge=0)
    """Bytes of them on its disk at most; 0: it keeps none."""
    memory: int = Field(default=16 << 20, ge=0)
    """Bytes of the latest views that a device holds until it hears which to keep."""


class UplinkSettings(BaseModel):
    """How a tier asks the one above."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    transport: Literal["http", "stream"] = "stream"
    """`stream`: one connection that is kept, with compact frames, and HTTP where there is none to have; or `http`."""
    order: Literal["given", "event"] | None = None
    """Of several addresses, the first that lives is asked (`given`), or each event has a home among them (`event`)."""


class RaySettings(BaseModel):
    """Replicas on Ray Serve that run the cloud's section."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    replicas: int = Field(default=0, ge=0, le=10_000)
    """How many; 0: the cloud runs its section itself."""
    address: str = ""
    """The Ray cluster, `HOST:PORT`; empty: one of its own on this machine, which ends with it."""


class Settings(BaseSettings):
    """Everything a served tier can be told."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

    bundle: Path = Field(default_factory=shipped_bundle)
    """Folder of the bundle, or the name of one that ships with the package; by default the digits of those."""
    index: int = Field(default=0, ge=0)
    """Which device, or which edge, this process is."""
    upstream: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses of the tier above, comma-separated; none at the cloud."""
    extensions: Annotated[tuple[str, ...], NoDecode] = ()
    """Modules, or packages of them, comma-separated, from which codecs and criteria of your own may be imported."""
    host: str = "127.0.0.1"
    """Address to bind."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to bind."""
    token: SecretStr | None = None
    """Bearer token demanded of callers and sent to the tier above; none by default. 16 printable characters or more."""
    admin_token: SecretStr | None = None
    """Bearer token demanded for writing the policy, another than `token`; without one it cannot be written."""
    metrics_token: SecretStr | None = None
    """Bearer token for reading figures and the policy, which the two others also read; without one, all may."""
    event_key: SecretStr | None = None
    """Key of a site's devices: event ids go up as an HMAC under it, which who has not the key cannot guess."""
    tls_certificate: Path | None = None
    """PEM certificate, with its chain, to serve https with; plain HTTP by default."""
    tls_key: Path | None = None
    """PEM key of that certificate, not protected by a password."""
    identity: Path | None = None
    """Folder of this tier that `ddnn identity` made: serve https with it, and take tiers by their certificates."""
    trusted_keys: Annotated[tuple[Path, ...], NoDecode] = ()
    """Files of public keys, comma-separated: bundles and policies must be signed by one of them; any are by default."""
    audit_dir: Path | None = None
    """Folder for the audit trail, `audit-TIER-INDEX.jsonl`: who did what to this tier; none by default."""
    deadline_ms: float = Field(default=2000.0, gt=0, le=600_000)
    """Time budget of a request that states none, in milliseconds."""
    max_deadline_ms: float = Field(default=30_000.0, gt=0, le=600_000)
    """Longest time budget of a request, in milliseconds; one that states more has this."""
    state_dir: Path | None = None
    """Folder for what must outlive a restart; the one place this process may write to."""
    policy_poll_s: float = Field(default=0.5, ge=0.05, le=60)
    """How often the tier above is asked for its policy, in seconds."""
    room: bool = True
    """Whether the cloud serves the control room, a page at `/`."""
    show_views: bool = False
    """Whether small pictures of a device's latest views go up to the control room while somebody looks at it."""
    ledger_events: int = Field(default=2000, ge=0, le=1_000_000)
    """How many of its latest decisions a tier keeps, for dry runs of another policy; fewer where they are large."""
    threads: int | None = Field(default=None, ge=1)
    """Threads a section may use; by default one, or the CPU quota where it is slow and quicker with so many."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """How much is logged."""
    max_body_bytes: int = Field(default=32 << 20, ge=1024)
    """Largest request body, after decompression."""
    max_pixels: int = Field(default=MOST_PIXELS, ge=1)
    """Most pixels of a photograph, of a PNG or WebP a third; a larger one is refused before it is decoded."""
    max_batch: int = Field(default=4096, ge=1)
    """Most events in one request."""
    max_in_flight: int = Field(default=256, ge=1)
    """Most requests being worked on, for each device of an edge, for each edge of the cloud; one more is 429."""
    max_in_flight_bytes: int | None = Field(default=None, ge=1024)
    """Most bytes of requests being worked on, as a sum; more is 429. By default what memory allows, 256 MiB at most."""
    max_lag_ms: float = Field(default=20.0, ge=0, le=1000)
    """How late the event loop may stand, in milliseconds, until a share of the events is shed; 0: none is for that."""
    max_connections: int | None = Field(default=None, ge=1)
    """Most connections; one more may only probe. By default what memory allows, 4096 at most."""
    max_memory_bytes: int | None = Field(default=None, ge=1 << 20)
    """Memory that this process may use; by default the container's limit, if there is one."""
    max_section_batch: int = Field(default=64, ge=1)
    """Most events in one run of a section."""
    max_delay_ms: float = Field(default=0.0, ge=0, le=1000)
    """How long a section that is free waits for more events, in milliseconds."""
    max_background: int = Field(default=256, ge=1)
    """Most contributions of already answered events on their way up."""
    drain_s: float = Field(default=10.0, gt=0)
    """How long requests in flight may take to finish after SIGTERM, in seconds."""
    pad_bytes: int = Field(default=0, ge=0, le=32 << 10)
    """Answers, and requests to the tier above, are made a multiple of so many bytes; 0: as long as they are."""
    traces: str | None = None
    """Where spans go, by OTLP over HTTP, such as `http://collector:4318/v1/traces`; nothing is traced by default."""
    traces_share: float = Field(default=0.01, ge=0, le=1)
    """Share of the events that are traced, where callers do not say."""
    collector: CollectorSettings = CollectorSettings()
    """Bounds of the collector."""
    views: ViewSettings = ViewSettings()
    """Bounds of the views that a device keeps for a cloud that asks for them."""
    doubts: DoubtSettings = DoubtSettings()
    """Bounds of the events that are kept to be labelled."""
    uplink: UplinkSettings = UplinkSettings()
    """How the tier above is asked."""
    ray: RaySettings = RaySettings()
    """Where the cloud's section runs, if not in the cloud itself."""

    @field_validator("upstream", "extensions", "trusted_keys", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("bundle")
    @classmethod
    def _of_a_name(cls, value: Path) -> Path:
        return named(value)

    @field_validator("upstream")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{url!r} is not an http:// or https:// address")
        return tuple(url.rstrip("/") for url in value)

    @field_validator(*_MAY_BE_EMPTY, mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator(*_SECRETS)
    @classmethod
    def _are_tokens(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None:
            return None
        text = value.get_secret_value()
        if not re.fullmatch(r"[\x21-\x7e]*", text):
            raise ValueError("it has a space, a control character or one beyond ASCII, which no header can carry")
        if not _SHORTEST <= len(text) <= _LONGEST:
            raise ValueError(f"it has {len(text)} characters; expected {_SHORTEST} to {_LONGEST}, at random")
        for name in _SECRETS[: _SECRETS.index(info.field_name or "")]:
            if value == info.data.get(name):
                raise ValueError(f"it is {_PREFIX}{name.upper()}; expected another, as each is for something else")
        return value

    @field_validator("identity")
    @classmethod
    def _is_all_there_is(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is None:
            return None
        if info.data.get("tls_certificate") or info.data.get("tls_key"):
            raise ValueError("DDNN_TLS_CERTIFICATE or DDNN_TLS_KEY is set too; expected one of the two")
        if plain := [url for url in info.data.get("upstream", ()) if not url.startswith("https://")]:
            raise ValueError(f"the tier above is at {plain[0]!r}; expected an https:// address")
        return value

    @classmethod
    def load(cls, **given: Any) -> "Settings":
        """Read files of secrets, over them the environment, over all `given` but a None; raise `BadConfig`."""
        for name in os.environ:
            if name.upper().startswith(_PREFIX) and name.upper() not in setting_names() | _READ_BY_CLIENTS:
                raise BadConfig(f"{name} is not a setting; known are {', '.join(sorted(setting_names()))}")
        try:
            return cls(**{**_in_files(), **{k: v for k, v in given.items() if v is not None}})
        except SettingsError as error:
            field = str(error).partition('"')[2].partition('"')[0]  # the message is all that the library tells
            raise BadConfig(f"{_PREFIX}{field.upper()} cannot be read ({error.__cause__})") from error
        except ValidationError as error:
            first = error.errors()[0]
            name = _PREFIX + "__".join(str(part).upper() for part in first["loc"])
            if first["loc"][0] in _SECRETS:
                raise BadConfig(f"{name} cannot be a token: {first['msg'].removeprefix('Value error, ')}") from None
            raise BadConfig(f"{name} is {first['input']!r}: {first['msg']}") from error

    def masked(self) -> Mapping[str, Any]:
        """The settings as data, secrets masked."""
        return self.model_dump(mode="json")


def _in_files() -> dict[str, str]:
    """Secrets that are files, `/run/secrets/ddnn_token` for example, and not in the environment; raise `BadConfig`."""
    found = {}
    for name in _SECRETS:
        variable = _PREFIX + name.upper()
        file = _SECRETS_DIR / variable.lower()
        if os.environ.get(variable) or not file.is_file():
            continue
        try:
            with file.open(encoding="ascii", errors="replace") as text:
                found[name] = text.read(2 * _LONGEST).strip()
        except OSError as error:
            raise BadConfig(f"{file} cannot be read ({error.strerror}); expected {variable}") from error
    return found


@cache
def setting_names() -> frozenset[str]:
    """Every environment variable that is a setting."""
    nested: dict[str, type[BaseModel]] = {
        "collector": CollectorSettings,
        "views": ViewSettings,
        "doubts": DoubtSettings,
        "uplink": UplinkSettings,
        "ray": RaySettings,
    }
    own = {
        *Settings.model_fields,
        *(f"{table}__{name}" for table, kind in nested.items() for name in kind.model_fields),
    }
    return frozenset(_PREFIX + name.upper() for name in own)
