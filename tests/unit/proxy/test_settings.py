"""A bad setting stops the start and names variable and value; secrets come from files and stay unseen."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatproxy.errors import ConfigurationError
from chatproxy.settings import OPTIONS, Settings


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_environment({})
    assert settings.engine_urls == ("http://engine:5001",)
    assert settings.bots_dir == Path("/etc/chatbot/bots")


def test_an_empty_variable_counts_as_not_set() -> None:
    assert Settings.from_environment({"ENGINE_SLOTS": "", "MONGO_USER": " "}) == Settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ENGINE_API", "ollama"),
        ("ENGINE_URL", "engine:5001"),
        ("ENGINE_URL", "http://a:1,http://a:1"),
        ("ENGINE_URL", "http://a:1,"),
        ("ENGINE_SLOTS", "0"),
        ("ENGINE_SLOTS", "two"),
        ("CONTEXT_SIZE", "4096.5"),
        ("MONGO_URL", "http://mongo"),
        ("PROMPT_FORMAT", "../etc/passwd"),
        ("TRUSTED_HOPS", "-1"),
        ("LOG_LEVEL", "loud"),
        ("MAX_BODY_BYTES", "10MB"),
        ("SMTP_HOST", "smtp.example.com:587"),
        ("SMTP_HOST", "smtp.example.com\nx"),
        ("SMTP_PORT", "0"),
        ("SMTP_TLS", "ssl"),
        ("SMTP_FROM", "Chat <chat@example.com>"),
        ("SMTP_FROM", "chat"),
    ],
)
def test_a_bad_value_names_variable_and_value(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment({variable: value})
    assert variable in str(caught.value)
    assert repr(value) in str(caught.value)


def test_a_secret_is_read_from_its_file_and_never_shown(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2\n")
    settings = Settings.from_environment({"MONGO_USER": "chatproxy", "MONGO_PASSWORD_FILE": str(secret)})
    assert settings.mongo_password == "hunter2"
    assert "hunter2" not in repr(settings)


MAIL = {"smtp_host": "smtp.example.com", "smtp_from": "chat@example.com"}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"smtp_host": "smtp.example.com"}, "SMTP_FROM is not set"),
        ({**MAIL, "smtp_user": "chat"}, "SMTP_USER and SMTP_PASSWORD_FILE go together"),
        ({**MAIL, "smtp_password": "s3cret"}, "SMTP_USER and SMTP_PASSWORD_FILE go together"),
        ({**MAIL, "smtp_user": "chat", "smtp_password": "s3cret\u00e4"}, "must be ASCII"),
        ({**MAIL, "smtp_user": "chat", "smtp_password": "s3cret", "smtp_tls": "none"}, "SMTP_TLS='none'"),
    ],
)
def test_mail_settings_that_do_not_go_together_stop_the_start(given: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        Settings(**given)  # type: ignore[arg-type]
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("key", ["ключ", "one\ntwo", "a\u00e4"])
def test_a_key_that_no_header_can_hold_stops_the_start(key: str) -> None:
    with pytest.raises(ConfigurationError, match="ENGINE_API_KEY_FILE") as caught:
        Settings(engine_api_key=key)
    assert key not in str(caught.value)


@pytest.mark.parametrize("content", [None, "", b"\xff\xfe"])
def test_a_secret_that_cannot_be_read_is_fatal(tmp_path: Path, content: str | bytes | None) -> None:
    secret = tmp_path / "token"
    if content is not None:
        secret.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigurationError, match="CHROMA_TOKEN_FILE"):
        Settings.from_environment({"CHROMA_TOKEN_FILE": str(secret)})


def test_a_secret_in_the_environment_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError, match="MONGO_PASSWORD_FILE") as caught:
        Settings.from_environment({"MONGO_PASSWORD": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="STREAM_CAP=4"):
        Settings.from_environment({"ENGINE_SLOTS": "8", "STREAM_CAP": "4"})
    with pytest.raises(ConfigurationError, match="MONGO_PASSWORD_FILE"):
        Settings.from_environment({"MONGO_USER": "chatproxy"})


def test_every_option_is_declared_once_with_its_meaning() -> None:
    assert len({option.name for option in OPTIONS}) == len(OPTIONS)
    assert all(option.meaning and option.kind for option in OPTIONS)
