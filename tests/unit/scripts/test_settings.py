"""Every setting knows what it accepts, and says so when it gets something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.lib import setting_checks, settings
from scripts.lib.settings import SETTINGS, Settings

ROOT = Path(__file__).resolve().parents[3]


def _bad(found: Settings) -> set[str]:
    return {finding.fact.partition("=")[0] for finding in settings.problems(found) if finding.id == "setting.invalid"}


def test_every_default_is_valid(wanted: Callable[..., Settings]) -> None:
    assert list(settings.problems(wanted())) == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("DOMAIN", "https://chat.example.org chat chat.example.org:443 -a.org a..org 300.1.2.3.4_"),
        ("ACME_EMAIL", "me me@localhost"),
        ("HTTP_PORT", "0 65536 http 80.5 -1"),
        ("SOURCES", "all Upstream"),
        ("ENGINE", "kobold"),
        ("ENGINE_URL", "10.0.0.5:8000 ftp://x http:// http://a:8000,"),
        ("CONTEXT_SIZE", "many 0 255 4096.5 99999999999"),
        ("THREADS", "0 all -2"),
        ("GPU_LAYERS", "-1 some"),
        ("ENGINE_SLOTS", "0 33"),
        ("WARM_START", "yes ON"),
        ("ENGINE_CPUS", "0 two"),
        ("ENGINE_MEMORY", "1 100m lots"),
        ("ENGINE_BATCH", "0 16 100 4096 on"),
        ("ENGINE_MLOCK", "auto yes"),
        ("ENGINE_MMAP", "auto 1"),
        ("PROMPT_CACHE", "-1 some"),
        ("MONGO_MEMORY", "auto 1x 10m"),
        ("MODEL", "/etc/passwd ../x"),
        ("EMBEDDING_MODEL", "../x /etc not-there catalog.toml"),
        ("RERANKER_MODEL", ".. not-there"),
        ("DEFAULT_BOT", "../x A"),
        ("MAX_BODY", "1k big"),
        ("LOG_LEVEL", "loud INFO"),
        ("CRAWLER_CONTACT", "me ftp://x me@x) me@x;y <me@example.org>"),
        ("VISION_DESCRIPTIONS", "on AUTO"),
        ("WG_PORT", "0 65536 udp"),
        ("WG_ENDPOINT", "https://a.org a.org:0 a.org:70000 [::1 300.1.2.3 a_b 10.0.0.1/24 [fe80::zz]:1"),
        ("WG_SUBNET", "10.13.13.1/24 10.13.13.0/30 10.0.0.0/8 8.8.8.0/24 172.15.0.0/16 fd00::/64 x"),
        ("WG_SUBNET6", "fd13::1/64 2001:db8::/64 fd13::/120 fd13::/32 10.13.13.0/24 x"),
        ("WG_MTU", "1279 9001 auto"),
        ("WG_INTERNET", "yes ON"),
    ],
)
def test_bad_values_are_refused(wanted: Callable[..., Settings], name: str, values: str) -> None:
    for value in values.split():
        assert _bad(wanted(**{name: value})) == {name}, value


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("DOMAIN", "localhost chat.example.org 203.0.113.5 2001:db8::1 a-b.c-d.example"),
        ("ACME_EMAIL", "me@example.org"),
        ("ENGINE_URL", "http://10.0.0.5:8000 https://engine.example.org/v1 http://a:8000,http://b:8000"),
        ("ENGINE_CPUS", "auto 2 1.5"),
        ("ENGINE_MEMORY", "auto 6g 6000m 6GB"),
        ("MODEL", "my.gguf models/my.gguf"),
        ("THREADS", "auto 8"),
        ("ENGINE_BATCH", "auto 32 2048"),
        ("PROMPT_CACHE", "auto 0 512m 2g"),
        ("CRAWLER_CONTACT", "me@example.org https://example.org/bot?q=1"),
        ("WG_ENDPOINT", "auto vpn.example.org a.org:443 203.0.113.5 203.0.113.5:1 2001:db8::1 [2001:db8::1]:51820"),
        ("WG_SUBNET", "10.13.13.0/24 192.168.77.0/29 172.16.0.0/16 100.64.1.0/24"),
        ("WG_SUBNET6", "fd13:13:13::/64 fdab::/48 fd00::/112"),
    ],
)
def test_good_values_pass(wanted: Callable[..., Settings], name: str, values: str) -> None:
    for value in values.split():
        assert _bad(wanted(**{name: value})) == set(), value


def test_the_command_line_outranks_the_file_and_is_remembered(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("SOURCES=upstream\nLOG_LEVEL=debug\nCOMPOSE_PROJECT_NAME=mine\n")
    found = settings.load(file, environ={"SOURCES": "packages", "LOG_LEVEL": "debug", "HOME": "/root"})
    assert found["SOURCES"] == "packages"
    assert found.overrides == {"SOURCES": "packages"}
    assert found.project == "mine"
    assert settings.load(file, environ={"COMPOSE_PROJECT_NAME": "other"}).project == "other"


def test_a_missing_file_means_the_defaults(tmp_path: Path) -> None:
    found = settings.load(tmp_path / "none", environ={})
    assert found.values == {name: setting.default for name, setting in SETTINGS.items()}


def test_a_line_that_is_no_setting_is_pointed_at(wanted: Callable[..., Settings]) -> None:
    found = list(settings.problems(wanted(), "DOMAIN chat.example.org\n"))
    assert [finding.id for finding in found] == ["setting.unreadable"]
    assert "line 1" in found[0].fact


def test_compose_s_own_variables_are_welcome(wanted: Callable[..., Settings]) -> None:
    assert list(settings.problems(wanted(COMPOSE_PARALLEL_LIMIT="2"))) == []


@pytest.mark.parametrize(("text", "count"), [("512m", 2**29), ("1g", 2**30), ("10MB", 10 * 2**20), ("1.5G", 3 * 2**29)])
def test_sizes_are_powers_of_1024(text: str, count: int) -> None:
    assert setting_checks.bytes_of(text) == count


@pytest.mark.parametrize(
    ("host", "public"),
    [("chat.example.org", True), ("localhost", False), ("203.0.113.5", False), ("::1", False), ("nas.local", False)],
)
def test_which_names_get_a_public_certificate(host: str, public: bool) -> None:
    assert settings.is_public_name(host) is public


def test_the_example_file_has_no_findings_and_every_setting() -> None:
    example = ROOT / ".env.example"
    found = settings.load(example, environ={})
    assert list(settings.problems(found, settings.read(example))) == []
    assert set(found.raw) == set(SETTINGS)


@pytest.mark.parametrize(
    ("makeflags", "names"),
    [
        ("w -j2 --jobserver-auth=3,4 -- MODEL=a\\ DOMIAN=b DOMAIN=a.org", ("MODEL", "DOMAIN")),
        (" -- domian:=x", ("domian",)),
        ("-- GPU=1", ("GPU",)),
        ("k", ()),
        ("", ()),
    ],
)
def test_names_on_make_s_command_line_are_read(makeflags: str, names: tuple[str, ...]) -> None:
    assert settings.typed(makeflags) == names


def test_a_misspelt_setting_on_the_command_line_is_told(tmp_path: Path) -> None:
    flags = " -- DOMIAN=a.org GPU=1 CFLAGS=-O2 PORT=8080 SOURCES=packages"
    found = list(settings.problems(settings.load(tmp_path / ".env", environ={"MAKEFLAGS": flags})))
    assert [(finding.id, finding.hint) for finding in found] == [("setting.unknown", "did you mean DOMAIN?")]
