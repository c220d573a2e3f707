"""Settings of a tier: a wrong name or value is a sentence that names it."""

from pathlib import Path

import pytest

from ddnn.bundle import shipped_bundle
from ddnn.errors import BadConfig
from ddnn.settings import Settings, setting_names


def test_nothing_has_to_be_set() -> None:
    settings = Settings.load()
    assert (settings.bundle, settings.host, settings.upstream) == (shipped_bundle(), "127.0.0.1", ())
    assert settings.token is None


def test_the_environment_is_over_the_default_and_what_is_given_over_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDNN_PORT", "8123")
    monkeypatch.setenv("DDNN_INDEX", "3")
    settings = Settings.load(port=9000, index=None)
    assert (settings.port, settings.index) == (9000, 3)


@pytest.mark.parametrize("name", ["DDNN_COLOUR", "DDNN_COLLECTOR__COLOUR", "DDNN_PORT_", "ddnn_colour"])
def test_an_unknown_name_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "red")
    told = f"^{name} is not a setting; known are DDNN_ADMIN_TOKEN, DDNN_AUDIT_DIR, "
    with pytest.raises(BadConfig, match=told) as refused:
        Settings.load()
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DDNN_PORT", "70000"),
        ("DDNN_PORT", ""),
        ("DDNN_INDEX", "-1"),
        ("DDNN_INDEX", "first"),
        ("DDNN_DEADLINE_MS", "0"),
        ("DDNN_DEADLINE_MS", "nan"),
        ("DDNN_LOG_LEVEL", "loud"),
        ("DDNN_THREADS", "0"),
        ("DDNN_UPSTREAM", "edge:8001"),
        ("DDNN_COLLECTOR__EVENTS", "0"),
        ("DDNN_COLLECTOR__HOLD_S", "0"),
        ("DDNN_COLLECTOR", "{"),
        ("DDNN_COLLECTOR", "7"),
    ],
)
def test_a_bad_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadConfig, match=rf"^{name} (is|cannot be read)"):
        Settings.load()


def test_a_bad_value_on_the_command_line_is_named_too() -> None:
    with pytest.raises(BadConfig, match=r"^DDNN_PORT is -1: "):
        Settings.load(port=-1)
    with pytest.raises(BadConfig, match=r"^DDNN_COLOUR is 'red': "):
        Settings.load(colour="red")


def test_nested_settings_are_joined_by_two_underscores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDNN_COLLECTOR__ALIVE_EVENTS", "9")
    collector = Settings.load().collector
    assert (collector.alive_events, collector.events) == (9, 20_000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("http://a:1", ("http://a:1",)),
        ("http://a:1/, https://b ,", ("http://a:1", "https://b")),
    ],
)
def test_addresses_are_comma_separated(monkeypatch: pytest.MonkeyPatch, text: str, expected: tuple[str, ...]) -> None:
    monkeypatch.setenv("DDNN_UPSTREAM", text)
    assert Settings.load().upstream == expected


def test_an_empty_optional_value_is_none_as_compose_hands_it_over(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DDNN_TOKEN", "DDNN_ADMIN_TOKEN", "DDNN_STATE_DIR", "DDNN_THREADS"):
        monkeypatch.setenv(name, "")
    settings = Settings.load()
    assert (settings.token, settings.state_dir, settings.threads) == (None, None, None)


@pytest.mark.parametrize("name", ["DDNN_TOKEN", "DDNN_ADMIN_TOKEN"])
@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("Z", "it has 1 characters; expected 16 to 1024"),
        ("fifteen-of-them", "it has 15 characters"),
        ("y" * 1025, "it has 1025 characters"),
        ("long-enough-but\r\nx-injected: 1", "a space, a control character"),
        ("long enough but in words", "a space, a control character"),
        ("long-enough-but-\x7f", "a space, a control character"),
        ("long-enough-but-grün", "one beyond ASCII"),
    ],
)
def test_a_token_that_can_be_guessed_or_not_be_sent_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, token: str, says: str
) -> None:
    monkeypatch.setenv(name, token)
    with pytest.raises(BadConfig, match=f"^{name} cannot be a token: .*{says}") as refused:
        Settings.load()
    assert token not in str(refused.value)


def test_the_admin_token_is_another_than_all_callers_have() -> None:
    token = "the-same-for-everybody"
    with pytest.raises(BadConfig, match=r"^DDNN_ADMIN_TOKEN cannot be a token: it is DDNN_TOKEN") as refused:
        Settings.load(token=token, admin_token=token)
    assert token not in str(refused.value)
    assert Settings.load(token=token, admin_token=f"{token}-not").admin_token


def test_secrets_are_masked_wherever_settings_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDNN_TOKEN", "hunter2-hunter2-hunter2")
    settings = Settings.load()
    assert settings.token is not None
    assert settings.token.get_secret_value() == "hunter2-hunter2-hunter2"
    assert all("hunter2" not in shown for shown in (repr(settings), str(settings), str(settings.masked())))


def test_every_field_is_a_name_and_no_setting_changes_later() -> None:
    assert {f"DDNN_{name.upper()}" for name in Settings.model_fields} <= setting_names()
    assert "DDNN_COLLECTOR__BYTES" in setting_names()
    with pytest.raises(ValueError, match="frozen"):
        Settings.load().bundle = Path()


def test_a_secret_may_be_a_file_which_the_environment_goes_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddnn.settings._SECRETS_DIR", tmp_path)
    (tmp_path / "ddnn_token").write_text("callers-have-this-one\n")
    (tmp_path / "ddnn_admin_token").write_text("admins-have-this-one")
    (tmp_path / "ddnn_port").write_text("9")
    monkeypatch.setenv("DDNN_TOKEN", "")  # as compose files hand over what is not set
    monkeypatch.setenv("DDNN_ADMIN_TOKEN", "another-admins-token")
    settings = Settings.load()
    assert settings.token is not None
    assert settings.token.get_secret_value() == "callers-have-this-one"
    assert settings.admin_token is not None
    assert settings.admin_token.get_secret_value() == "another-admins-token"
    assert settings.port == 8000
    assert "callers-have-this-one" not in str(settings.masked())


@pytest.mark.parametrize("content", [b"short", b"two words of sixteen", b"\xff" * 20, b"x" * 5000])
def test_a_file_that_holds_no_token_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr("ddnn.settings._SECRETS_DIR", tmp_path)
    (tmp_path / "ddnn_metrics_token").write_bytes(content)
    with pytest.raises(BadConfig, match=r"^DDNN_METRICS_TOKEN cannot be a token: ") as refused:
        Settings.load()
    assert "words" not in str(refused.value)
