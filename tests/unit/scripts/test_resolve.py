"""What Compose is given, value by value, for the machines and settings that differ."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import attachments, dotenv, models, resolve, settings, sizing, sources
from scripts.lib.gpus import Use
from scripts.lib.host import GB, Gpu, Host
from scripts.lib.models import Adapter, Weights
from scripts.lib.settings import Settings

HOST = Host(cpus=4, cores=2, memory_bytes=8 * GB)
STARTER = models.load_catalog()["smollm2-135m-instruct"]

GOLDEN = {
    "COMPOSE_PROJECT_NAME": "chatbot",
    "DATA_NAME": "chatbot",
    "SECRETS_DIR": ".appliance/secrets",
    "SOURCES_RESOLVED": "packages",
    "BASE_IMAGE": "chatbot-debian:bookworm",
    "ENGINE_RESOLVED": "llamacpp",
    "ENGINE_API": "openai",
    "ENGINE_URL_RESOLVED": "http://engine:5001",
    "ENGINE_NETWORK_INTERNAL": "true",
    "MAIL_NETWORK_INTERNAL": "true",
    "COMPOSE_PROFILES": "engine",
    "WG_FORWARDING": "0",
    "MODEL_NAME": "smollm2-135m-instruct",
    "MODEL_FILE": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "MODEL_PATH_RESOLVED": "/models/SmolLM2-135M-Instruct.Q4_1.gguf",
    "MMPROJ_RESOLVED": "",
    "LORA_RESOLVED": "",
    "ENGINE_MODEL_RESOLVED": "",
    "PROMPT_FORMAT_RESOLVED": "chatml",
    "THREADS_RESOLVED": "2",
    "ENGINE_BATCH_RESOLVED": "64",
    "PROMPT_CACHE_MIB_RESOLVED": "1080",
    "ENGINE_MEMLOCK_RESOLVED": "65536",
    "KOBOLDCPP_BACKEND_RESOLVED": "cpu",
    "GPU_LAYERS_RESOLVED": "0",
    "ENGINE_SLOTS_RESOLVED": "4",
    "WARM_START_RESOLVED": "on",
    "ENGINE_CPUS_RESOLVED": "4",
    "ENGINE_MEMORY_RESOLVED": "6576m",
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
    def run(*, host: Host = HOST, gpu: Use | None = None, reachable: bool = False, **values: str) -> dict[str, str]:
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
        "BASE_IMAGE": sources.official_base(),
        "ENGINE_RESOLVED": "koboldcpp",
        "ENGINE_API": "koboldcpp",
        "ENGINE_SLOTS_RESOLVED": "1",
        "ENGINE_BATCH_RESOLVED": "512",
        "CADDY_SITE": "chat.example.org",
        "CADDY_TLS": "acme",
        "TORCH_INDEX_URL": sources.TORCH_CPU_INDEX,
    }


def test_an_engine_elsewhere(resolved: Resolve) -> None:
    assert _changed(resolved(ENGINE="external", ENGINE_URL="http://10.0.0.5:8000/")) == {
        "ENGINE_RESOLVED": "external",
        "ENGINE_URL_RESOLVED": "http://10.0.0.5:8000",
        "MODEL_PATH_RESOLVED": "",
        "ENGINE_BATCH_RESOLVED": "512",
        "ENGINE_NETWORK_INTERNAL": "false",
        "COMPOSE_PROFILES": "",
        "WARM_START_RESOLVED": "off",
    }


def test_monitoring_brings_grafana_where_its_image_can_be_had(resolved: Resolve) -> None:
    """What they take is not the engine's any more."""
    values = resolved(COMPOSE_PROFILES="monitoring")
    assert _changed(values) == {"COMPOSE_PROFILES": "engine,monitoring", "ENGINE_MEMORY_RESOLVED": "6256m"}
    upstream = resolved(COMPOSE_PROFILES="monitoring", reachable=True)
    assert upstream["COMPOSE_PROFILES"] == "engine,monitoring,grafana"
    external = resolved(COMPOSE_PROFILES="monitoring", ENGINE="external", ENGINE_URL="http://10.0.0.5:8000")
    assert external["COMPOSE_PROFILES"] == "monitoring"


def test_what_was_resolved_once_resolves_to_the_same(tmp_path: Path, resolved: Resolve) -> None:
    """Commands that look at what runs take the values of the last run for the operator's wishes."""
    for wish in ("", "monitoring"):
        first = resolved(COMPOSE_PROFILES=wish, reachable=True)
        again = settings.load(tmp_path / "none", environ=first)
        assert settings.valid(again, "COMPOSE_PROFILES")
        assert again.monitored == bool(wish)
        assert (
            resolved(COMPOSE_PROFILES=again["COMPOSE_PROFILES"], reachable=True)["COMPOSE_PROFILES"]
            == (first["COMPOSE_PROFILES"])
        )


def test_a_mail_server_opens_the_network_for_mail_alone(resolved: Resolve) -> None:
    assert _changed(resolved(SMTP_HOST="smtp.example.com")) == {"MAIL_NETWORK_INTERNAL": "false"}


def test_wireguard_runs_once_its_keys_were_made(resolved: Resolve) -> None:
    host = replace(HOST, wireguard=True)
    assert _changed(resolved(host=host)) == {"COMPOSE_PROFILES": "engine,wireguard"}
    alone = resolved(host=host, ENGINE="external", ENGINE_URL="http://10.0.0.5:8000")
    assert alone["COMPOSE_PROFILES"] == "wireguard"
    assert _changed(resolved(WG_INTERNET="on")) == {"WG_FORWARDING": "1"}


def test_a_profile_is_added_to_what_an_earlier_run_resolved(resolved: Resolve) -> None:
    once = resolve.with_profile(resolved(), "wireguard")
    assert once == {**GOLDEN, "COMPOSE_PROFILES": "engine,wireguard"}
    assert resolve.with_profile(once, "wireguard") == once
    assert resolve.with_profile({"COMPOSE_PROFILES": ""}, "wireguard") == {"COMPOSE_PROFILES": "wireguard"}


def test_a_gpu_brings_its_own_values_beside_the_others(resolved: Resolve) -> None:
    use = Use((Gpu(0, "nvidia", "NVIDIA L4", 24 * GB, 23 * GB),), "cuda", layers=31, slots=3)
    changed = _changed(resolved(gpu=use, KOBOLDCPP_SOURCE="/src"))
    assert changed == {
        "ENGINE_RESOLVED": "koboldcpp",
        "ENGINE_API": "koboldcpp",
        "ENGINE_BATCH_RESOLVED": "512",
        "ENGINE_SLOTS_RESOLVED": "3",
        "KOBOLDCPP_SOURCE_KIND": "local",
        **use.values(HOST),
    }


@pytest.mark.parametrize(
    ("setting", "value", "name"),
    [
        ("THREADS", "7", "THREADS_RESOLVED"),
        ("GPU_LAYERS", "20", "GPU_LAYERS_RESOLVED"),
        ("ENGINE_SLOTS", "2", "ENGINE_SLOTS_RESOLVED"),
        ("WARM_START", "off", "WARM_START_RESOLVED"),
        ("ENGINE_CPUS", "1.5", "ENGINE_CPUS_RESOLVED"),
        ("ENGINE_MEMORY", "3g", "ENGINE_MEMORY_RESOLVED"),
        ("ENGINE_BATCH", "256", "ENGINE_BATCH_RESOLVED"),
    ],
)
def test_what_the_operator_sets_is_not_overruled(resolved: Resolve, setting: str, value: str, name: str) -> None:
    assert resolved(**{setting: value})[name] == value


def test_an_ipv6_address_stands_in_brackets(resolved: Resolve) -> None:
    assert resolved(DOMAIN="2001:db8::1")["CADDY_SITE"] == "[2001:db8::1]"


def test_values_from_the_command_line_are_kept_for_the_next_commands(tmp_path: Path) -> None:
    chosen = settings.load(tmp_path / ".env", environ={"HTTPS_PORT": "8443"})
    values = resolve.resolve(chosen, HOST, sources.decide(chosen, {}), STARTER, gpu=None, ca_bundle="")
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
    """Llama 2 13B: 7.9 GB of weights, and 3.4 GB of keys and values for each conversation of 4096 tokens."""
    large = models.load_catalog()["llama-2-13b-chat"]
    slots = [sizing.slots("llamacpp", False, large, 4096, 64, memory * GB) for memory in (32, 20, 12)]
    assert slots == [4, 2, 1]
    assert sizing.slots("koboldcpp", False, large, 4096, 512, 64 * GB) == 1


def test_the_engine_s_limit_is_what_the_others_leave_but_never_more_than_there_is() -> None:
    small = sizing.engine_need(STARTER, 4096, 1, 64)
    assert sizing.engine_limit(8 * GB, small) == sizing.left_for_engine(8 * GB)
    large = sizing.engine_need(models.load_catalog()["llama-2-13b-chat"], 4096, 1, 64)
    assert sizing.engine_limit(12 * GB, large) == large.aside > sizing.left_for_engine(12 * GB)
    assert sizing.engine_limit(2 * GB, large) == 2 * GB


def test_a_projector_and_koboldcpp_s_own_process_count() -> None:
    sees = models.load_catalog()["gemma-3-4b-it"]
    need = sizing.engine_need(sees, 4096, 1, 512)
    assert sees.projector and need.weights == sees.size + sees.projector.size
    assert sizing.engine_need(sees, 4096, 1, 512, "koboldcpp").base >= need.base


def test_the_engine_is_set_to_what_its_container_may_use(resolved: Resolve) -> None:
    assert resolved(ENGINE_CPUS="1.5")["THREADS_RESOLVED"] == "1"
    assert resolved(ENGINE_CPUS="1.5", THREADS="2")["THREADS_RESOLVED"] == "2"
    assert resolved(ENGINE_MLOCK="on")["ENGINE_MEMLOCK_RESOLVED"] == "-1"


def test_the_prompt_cache_is_what_the_model_leaves(resolved: Resolve) -> None:
    assert resolved(PROMPT_CACHE="2g")["PROMPT_CACHE_MIB_RESOLVED"] == "2048"
    assert resolved(PROMPT_CACHE="0")["PROMPT_CACHE_MIB_RESOLVED"] == "0"
    tight = int(resolved(ENGINE_MEMORY="1g")["PROMPT_CACHE_MIB_RESOLVED"])
    assert 0 < tight < int(resolved()["PROMPT_CACHE_MIB_RESOLVED"])
    assert resolved(ENGINE_MEMORY="256m")["PROMPT_CACHE_MIB_RESOLVED"] == "0"


def test_a_projector_and_adapters_become_paths_of_the_engines_container(resolved: Resolve) -> None:
    values = resolved(MMPROJ="models/eyes.gguf", LORA="style.gguf:0.5, facts.gguf")
    assert values["MMPROJ_RESOLVED"] == "/models/eyes.gguf"
    assert values["LORA_RESOLVED"] == "/models/style.gguf:0.5,/models/facts.gguf:1"


def test_the_catalogues_own_projector_is_taken_once_it_is_there() -> None:
    model = replace(STARTER, projector=Weights("eyes.gguf", 9), adapters=(Adapter("style.gguf", 9, scale=0.5),))
    chosen = settings.load(Path("/nonexistent"), environ={})
    assert attachments.projector_path(chosen, model, ()) == attachments.adapter_paths(chosen, model, ()) == ""
    there = ("eyes.gguf", "style.gguf")
    assert attachments.projector_path(chosen, model, there) == "/models/eyes.gguf"
    assert attachments.adapter_paths(chosen, model, there) == "/models/style.gguf:0.5"
