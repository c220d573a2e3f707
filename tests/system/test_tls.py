"""Tiers that serve https: what goes up is encrypted, and whoever is not trusted is not asked."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.client import Client
from ddnn.errors import Unavailable
from ddnn.fleet import probe
from real_fleet import serve_tier
from warm_start import run

CERTIFICATE, KEY = "DDNN_TLS_CERTIFICATE", "DDNN_TLS_KEY"


class Site:
    """A folder with an authority and what it signed: a certificate of this machine."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        own = authority.issue_cert("localhost", "127.0.0.1")
        self.folder, self.authority = folder, folder / "authority.pem"
        self.certificate, self.key = folder / "tier.pem", folder / "tier.key"
        authority.cert_pem.write_to_path(str(self.authority))
        self.certificate.write_bytes(b"".join(part.bytes() for part in own.cert_chain_pems))
        own.private_key_pem.write_to_path(str(self.key))

    @contextmanager
    def serve(self, *args: str, **env: str) -> Iterator[str]:
        """A tier over https; its address."""
        log = self.folder / f"{args[0]}-{len(list(self.folder.iterdir()))}.log"
        with serve_tier(log, *args, **{CERTIFICATE: str(self.certificate), KEY: str(self.key)}, **env) as port:
            yield f"https://localhost:{port}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


def test_an_event_goes_up_over_https(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(site.authority))
    view = Bundle.open(shipped_bundle()).golden["view_0"][:1]
    with ExitStack() as stack:
        cloud = stack.enter_context(site.serve("cloud"))
        edge = stack.enter_context(site.serve("edge", "--upstream", cloud))
        device = stack.enter_context(Client(stack.enter_context(site.serve("device", "--upstream", edge))))
        assert healthy(cloud)
        until = time.monotonic() + 60
        while (answer := device.infer(view, deadline_ms=10_000, threshold=0.0)[0]).degraded:
            assert time.monotonic() < until, answer
        assert answer.exit == "cloud"


def healthy(address: str) -> bool:
    """What a container's health check says of the tier."""
    env = {"DDNN_PORT": address.rpartition(":")[2], CERTIFICATE: "its path"}
    return subprocess.run([sys.executable, "-I", "-S", probe.__file__], env=env, check=False).returncode == 0


@pytest.mark.long
def test_whoever_is_not_trusted_is_told_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    view = Bundle.open(shipped_bundle()).golden["view_0"][:1]
    with site.serve("edge") as edge, site.serve("device", "--upstream", edge) as address:
        with Client(address) as stranger, pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            stranger.infer(view)
        assert "its certificate is of an authority that is not trusted here" in " ".join(
            said("status", "--url", address, "--json").split()
        )
        monkeypatch.setenv("SSL_CERT_FILE", str(site.authority))
        with Client(address) as device:
            answer = device.infer(view, threshold=0.0)[0]
        assert (answer.exit, answer.degraded_reason) == ("device", "unreachable")


def said(*args: str) -> str:
    """What a command prints."""
    return str(run("ddnn", *args).stdout)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({KEY: ""}, (f"{CERTIFICATE} is set and {KEY} is not",)),
        pytest.param({CERTIFICATE: ""}, (f"{KEY} is set and {CERTIFICATE} is not",), marks=pytest.mark.long),
        pytest.param({CERTIFICATE: "no/such.pem"}, ("no/such.pem", "No such file"), marks=pytest.mark.long),
        ({KEY: __file__}, (__file__, "cannot be used", "expected a PEM certificate")),
        ({KEY: "locked"}, ("tier.pem", "protected by a password")),
    ],
)
def test_a_certificate_that_cannot_be_shown_is_a_sentence_and_exit_code_2(
    site: Site, env: dict[str, str], words: tuple[str, ...], tmp_path: Path
) -> None:
    if env.get(KEY) == "locked":
        env = {KEY: str(locked(site.key, tmp_path / "locked.key"))}
    own = {CERTIFICATE: str(site.certificate), KEY: str(site.key)}
    ended = run("ddnn", "serve", "cloud", "--port", "0", env={**own, **env})
    assert ended.returncode == 2, ended
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1, ended.stderr
    for word in words:
        assert word in ended.stderr


def locked(key: Path, file: Path) -> Path:
    """The same key under a password."""
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    form, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    file.write_bytes(loaded.private_bytes(form, kind, serialization.BestAvailableEncryption(b"secret")))
    return file
