"""What Compose is given, value by value, for the machines and settings that differ."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import dotenv, models, resolve, settings, sizing, sources
from scripts.lib.host import GB, Host
from scripts.lib.settings import Settings

HOST = Host(cpus=4, cores=2, memory_bytes=8 * GB)
STARTER = models.load_catalog()["smollm2-135m-instruct"]

GOLDEN = {
    "COMPOSE_PROJECT_NAME": "chatbot",
    "SOURCES_RESOLVED": "packages",
    "BASE_IMAGE": "chatbot-debian:bookworm",
    "ENGINE_RESOLVED": "llamacpp",
    "ENGINE_API": "openai",
    "ENGINE_URL_RESOLVED": "http://engine:5001",
    "ENGINE_NETWORK_INTERNAL": "true",
    "MAIL_NETWORK_INTERNAL": "true",
    "COMPOSE_PROFILES": "engine",
    "MODEL_NAME": "smollm2-135m-instruct",
    "MODEL_FILE": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "MODEL_PATH_RESOLVED": "/models/SmolLM2-135M-Instruct.Q4_1.gguf",
    "PROMPT_FORMAT_RESOLVED": "chatml",
    "THREADS_RESOLVED": "2",
    "GPU_LAYERS_RESOLVED": "0",
    "ENGINE_SLOTS_RESOLVED": "4",
    "ENGINE_CPUS_RESOLVED": "4",
    "ENGINE_MEMORY_RESOLVED": "6736m",
    "KOBOLDCPP_SOURCE_KIND": "upstream",
    "CADDY_SITE": "localhost",
    "CADDY_TLS": "internal",
    "CA_BUNDLE": "/etc/ssl/certs/ca-certificates.crt",
    "PIP_INDEX_URL": "",
    "TORCH_INDEX_URL": "",
    "GPU": "",
}

Resolve = Callable[..., dict[str, str]]


@pytest.fixture
def resolved(wanted: Callable[..., Settings]) -> Resolve:
    def run(*, host: Host = HOST, gpu: bool = False, reachable: bool = False, **values: str) -> dict[str, str]:
        chosen = wanted(**values)
        choice = sources.decide(chosen, dict.fromkeys((sources.HUB, sources.TORCH, sources.GITHUB), reachable))
        bundle = "/etc/ssl/certs/ca-certificates.crt"
        return resolve.resolve(chosen, host, choice, STARTER, gpu=gpu, ca_bundle=bundle)

    return run


def test_the_packaged_stack_on_localhost(resolved: Resolve) -> None:
    assert resolved() == GOLDEN


def _changed(values: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if GOLDEN.get(name) != value}


def test_upstream_with_koboldcpp_and_a_public_name(resolved: Resolve) -> None:
    host = replace(HOST, torch_wheel=False)
    assert _changed(resolved(host=host, reachable=True, DOMAIN="chat.example.org")) == {
        "SOURCES_RESOLVED": "upstream",
        "BASE_IMAGE": "debian:bookworm-slim",
        "ENGINE_RESOLVED": "koboldcpp",
        "ENGINE_API": "koboldcpp",
        "ENGINE_SLOTS_RESOLVED": "1",
        "CADDY_SITE": "chat.example.org",
        "CADDY_TLS": "acme",
        "TORCH_INDEX_URL": sources.TORCH_CPU_INDEX,
    }


def test_an_engine_elsewhere(resolved: Resolve) -> None:
    assert _changed(resolved(ENGINE="external", ENGINE_URL="http://10.0.0.5:8000/")) == {
        "ENGINE_RESOLVED": "external",
        "ENGINE_URL_RESOLVED": "http://10.0.0.5:8000",
        "MODEL_PATH_RESOLVED": "",
        "ENGINE_NETWORK_INTERNAL": "false",
        "COMPOSE_PROFILES": "",
    }


def test_a_mail_server_opens_the_network_for_mail_alone(resolved: Resolve) -> None:
    assert _changed(resolved(SMTP_HOST="smtp.example.com")) == {"MAIL_NETWORK_INTERNAL": "false"}


def test_a_gpu_takes_all_layers_and_several_slots(resolved: Resolve) -> None:
    changed = _changed(resolved(gpu=True, KOBOLDCPP_SOURCE="/src"))
    assert changed == {
        "ENGINE_RESOLVED": "koboldcpp",
        "ENGINE_API": "koboldcpp",
        "GPU_LAYERS_RESOLVED": "-1",
        "KOBOLDCPP_SOURCE_KIND": "local",
        "GPU": "1",
    }


@pytest.mark.parametrize(
    ("setting", "value", "name"),
    [
        ("THREADS", "7", "THREADS_RESOLVED"),
        ("GPU_LAYERS", "20", "GPU_LAYERS_RESOLVED"),
        ("ENGINE_SLOTS", "2", "ENGINE_SLOTS_RESOLVED"),
        ("ENGINE_CPUS", "1.5", "ENGINE_CPUS_RESOLVED"),
        ("ENGINE_MEMORY", "3g", "ENGINE_MEMORY_RESOLVED"),
    ],
)
def test_what_the_operator_sets_is_not_overruled(resolved: Resolve, setting: str, value: str, name: str) -> None:
    assert resolved(**{setting: value})[name] == value


def test_an_ipv6_address_stands_in_brackets(resolved: Resolve) -> None:
    assert resolved(DOMAIN="2001:db8::1")["CADDY_SITE"] == "[2001:db8::1]"


def test_values_from_the_command_line_are_kept_for_the_next_commands(tmp_path: Path) -> None:
    chosen = settings.load(tmp_path / ".env", environ={"HTTPS_PORT": "8443"})
    values = resolve.resolve(chosen, HOST, sources.decide(chosen, {}), STARTER, gpu=False, ca_bundle="")
    assert settings.load(tmp_path / ".env", environ=values)["HTTPS_PORT"] == "8443"


def test_the_file_is_private_and_written_only_when_something_changed(tmp_path: Path) -> None:
    file = tmp_path / "resolved.env"
    values: dict[str, Any] = {**GOLDEN, "HTTPS_PORT": "8443"}
    assert resolve.write(values, file) is True
    assert resolve.write(values, file) is False
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert resolve.earlier(file) == values
    assert "HTTPS_PORT" in file.read_text().splitlines()[1]
    assert dotenv.parse(file.read_text()) == values


def test_before_the_first_run_nothing_is_resolved(tmp_path: Path) -> None:
    assert resolve.earlier(tmp_path / "none") == {}


def test_the_bundle_named_by_the_environment_comes_first(tmp_path: Path) -> None:
    own = tmp_path / "own.pem"
    own.touch()
    assert resolve.ca_bundle({"PIP_CERT": str(tmp_path / "gone.pem"), "SSL_CERT_FILE": str(own)}) == str(own)


def test_a_large_model_on_a_small_machine_gets_fewer_slots() -> None:
    weights = 4 * GB
    assert sizing.slots("llamacpp", False, weights, 4096, 16 * GB) == 4
    assert sizing.slots("llamacpp", False, weights, 4096, 10 * GB) == 2
    assert sizing.slots("llamacpp", False, weights, 4096, 6 * GB) == 1


def test_the_engine_s_limit_is_what_the_others_leave_but_never_more_than_there_is() -> None:
    assert sizing.engine_limit(8 * GB, GB // 10, 4096, 1) == sizing.left_for_engine(8 * GB)
    assert sizing.engine_limit(2 * GB, 4 * GB, 4096, 1) == 2 * GB
