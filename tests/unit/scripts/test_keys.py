"""`make key` and `make keys`: what they ask the proxy's own command line for, and how its findings are passed on."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from pathlib import Path

import pytest

from chatproxy.commands import main
from scripts.lib import services
from scripts.lib.compose import Container
from scripts.lib.failure import Failure

ROOT = Path(__file__).resolve().parents[3]


class FakeAppliance:
    """Answers like Compose would; keeps what it was asked to run."""

    def __init__(self, status: int = 0, out: str = "", err: str = "", *, running: bool = True) -> None:
        self.answer, self.running = (status, out, err), running
        self.asked: list[list[str]] = []

    def run_in(self, service: str, command: Sequence[str]) -> tuple[int, str, str]:
        assert (service, list(command[:4])) == ("proxy", ["python3", "-m", "chatproxy", "keys"])
        self.asked.append(list(command[4:]))
        return self.answer

    def containers(self) -> list[Container]:
        state = "running" if self.running else "exited"
        return [Container(id="1", service="proxy", name="proxy", state=state, health="", status="", exit_code=0)]


def arguments(name: str, **given: str) -> list[str]:
    words: list[str] = runpy.run_path(str(ROOT / "scripts" / name))["arguments"](given)
    return words


def test_make_key_passes_on_what_it_was_given() -> None:
    limits = {"RPM": "60", "TOKENS_PER_DAY": "200000", "STREAMS": "4"}
    assert arguments("key", NAME="homepage", SCOPES="chat,kobold", DAYS="90", JSON="1", **limits) == [
        "create",
        "--name=homepage",
        "--scopes=chat,kobold",
        "--expires-days=90",
        "--requests-per-minute=60",
        "--tokens-per-day=200000",
        "--streams=4",
        "--json",
    ]
    assert arguments("key", NAME="--if-none", DAYS="", JSON="0") == ["create", "--name=--if-none", "--scopes=chat"]


def test_make_key_with_origins_makes_a_site_key() -> None:
    given = {
        "NAME": "homepage",
        "ORIGINS": "https://example.com,https://www.example.com",
        "BOTS": "support",
        "RPM": "9",
    }
    assert arguments("key", **given) == [
        "create",
        "--name=homepage",
        "--origins=https://example.com,https://www.example.com",
        "--bots=support",
        "--requests-per-minute=9",
    ]
    # None listed is refused by the proxy's command line, not taken for the wish for an API key.
    assert arguments("key", NAME="a", ORIGINS="") == ["create", "--name=a", "--origins="]
    assert arguments("key", NAME="a", BOTS="support") == ["create", "--name=a", "--bots=support"]


def test_make_keys_lists_or_revokes() -> None:
    assert arguments("keys") == ["list"]
    assert arguments("keys", JSON="1") == ["list", "--json"]
    assert arguments("keys", REVOKE="--help") == ["revoke", "--", "--help"]


def test_what_they_pass_on_is_what_the_proxys_command_line_takes() -> None:
    limits = {"RPM": "60", "TOKENS_PER_DAY": "200000", "STREAMS": "4"}
    words = arguments("key", NAME="a", DAYS="0", **limits)
    assert main(["keys", *words], {"MONGO_URL": "mongodb://127.0.0.1:1"}) == 1
    assert main(["keys", *arguments("keys", REVOKE="--help")], {}) == 1
    site = arguments("key", NAME="a", ORIGINS="https://example.com", BOTS="support", DAYS="0", **limits)
    assert main(["keys", *site, "--address=https://chat.example"], {"MONGO_URL": "mongodb://127.0.0.1:1"}) == 1


def test_a_key_needs_a_name() -> None:
    with pytest.raises(Failure) as caught:
        arguments("key", SCOPES="chat")
    assert caught.value.id == "key.name_missing"


def test_a_finding_of_the_proxys_command_line_is_one_of_ours() -> None:
    told = "key.scopes_invalid: scopes must be one or more of chat\n  -> as SCOPES=chat\n"
    with pytest.raises(Failure) as caught:
        services.own_command("keys", ["create"], FakeAppliance(1, "", told))
    assert caught.value == Failure("key.scopes_invalid", "scopes must be one or more of chat", "as SCOPES=chat")


def test_what_is_no_finding_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    appliance = FakeAppliance(0, "kb_x\n", "This key is shown once.\n")
    assert services.own_command("keys", ["create"], appliance) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err.strip()) == ("kb_x\n", "This key is shown once.")
    assert appliance.asked == [["create"]]


def test_a_proxy_that_does_not_run_is_named() -> None:
    with pytest.raises(Failure) as caught:
        services.own_command("keys", ["list"], FakeAppliance(1, "", 'service "proxy" is not running\n', running=False))
    assert caught.value.id == "service.stopped"
