"""`ddnn identity`, `ddnn sign` and `ddnn verify` as they are typed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ddnn.bundle import Bundle
from ddnn.cli.app import app
from ddnn.errors import BadInput
from ddnn.trail import verify


def run(*args: str | Path) -> Any:
    """What a command prints as JSON, or its text; raise what it refuses."""
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return json.loads(result.stdout) if "--json" in args else (result.exit_code, result.output)


def test_a_site_is_made_renewed_and_told_and_its_own_trail_says_by_whom(tiny_bundle: Bundle, tmp_path: Path) -> None:
    site = tmp_path / "site"
    made = run("identity", "init", site, "--bundle", tiny_bundle.path, "--name", "plant-7", "--days", "7", "--json")
    assert [f"{each['tier']}-{each['index']}" for each in made] == [
        "cloud-0",
        "edge-0",
        *(f"device-{index}" for index in range(6)),
    ]
    assert run("identity", "init", site, "--bundle", tiny_bundle.path, "--json") == []
    assert run("identity", "rotate", site, "--due", "--json") == []
    (renewed,) = run("identity", "rotate", site, "device-3", "--json")
    assert len(run("identity", "revoke", site, "device-3", "--json")) == 2
    assert {each["serial"] for each in run("identity", "show", site, "--json") if each["revoked"]} == {
        renewed["serial"]
    }
    (again,) = run("identity", "issue", site, "device", "3", "--host", "camera-3.local", "--json")
    assert again["hosts"][0] == "camera-3.local"
    found = verify(site / "authority" / "audit.jsonl")
    assert (found.entries, found.problem) == (8 + 1 + 2 + 1, "")
    assert "device-3" in run("identity", "show", site)[1]
    with pytest.raises(BadInput, match="has no tier device-17; expected one of cloud-0, edge-0, device-0"):
        run("identity", "issue", site, "device", "17")


def test_a_server_alone_gets_a_certificate_where_no_other_is_wanted(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (made,) = run("identity", "init", site, "--tier", "cloud-0", "--host", "server", "--json")
    assert (made["tier"], made["hosts"][0]) == ("cloud", "server")
    assert sorted(path.name for path in site.iterdir()) == ["authority", "authority.pem", "cloud-0"]
    assert run("identity", "init", site, "--tier", "cloud-0", "--host", "server", "--json") == []


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("show", "nowhere"), "nowhere has no authority"),
        (("rotate", "nowhere"), "nowhere has no authority"),
        (("revoke", "nowhere", "device-3"), "nowhere has no authority"),
        (("init", "there", "--name", "Plant"), "the site's name is 'Plant'"),
        (("init", "there", "--host", "grün"), "'grün' is no host name"),
        (("init", "there", "--tier", "cloud-0", "--tier", "server"), "no tier server; expected one of cloud-0, edge-0"),
    ],
)
def test_what_cannot_be_is_a_sentence(
    args: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=says):
        run("identity", *args)


def test_a_bundle_and_a_policy_are_signed_and_verified(tiny_bundle: Bundle, tmp_path: Path) -> None:
    bundle, key = shutil.copytree(tiny_bundle.path, tmp_path / "bundle"), tmp_path / "operator.pem"
    assert run("sign", "--make-key", key)[0] == 0
    trust = ("--trust", tmp_path / "operator.pub.pem")
    assert run("verify", bundle, *trust)[0] == 1
    assert run("sign", bundle, "--key", key)[0] == 0
    assert run("verify", bundle, *trust)[0] == 0
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"policy": Bundle.open(bundle).policy.model_dump(mode="json"), "etag": ""}))
    assert run("sign", policy, "--version", "7", "--key", key)[0] == 0
    assert run("verify", policy, *trust, "--json")["version"] == 7
    golden = bundle / "golden.npz"
    golden.write_bytes(golden.read_bytes() + b"\0")
    found = run("verify", bundle, *trust, "--json")
    assert (found["good"], "golden.npz" in found["problem"]) == (False, True)
    with pytest.raises(BadInput, match=r"golden\.npz"):
        run("sign", bundle, "--key", key)
    with pytest.raises(BadInput, match="there is nothing to sign"):
        run("sign")
