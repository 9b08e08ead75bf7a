"""Each unfit machine and each bad setting gets its finding, by id; a fit one gets none."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import sources
from scripts.lib.findings import ERROR, INFO, WARNING
from scripts.lib.host import GB
from scripts.lib.preflight import Verdict
from tests.unit.scripts.conftest import ALL_HOMES, Judge

ROOT = Path(__file__).resolve().parents[3]
OLD = {"docker_cli": False, "docker_engine": False, "docker_answers": False, "engine_version": ()}
BARE = {**OLD, "compose_version": (), "buildx_version": ()}
MAIL = {"SMTP_HOST": "smtp.example.com", "SMTP_FROM": "chat@example.com"}
LOGIN = {"SMTP_USER": "chat", "SMTP_PASSWORD_FILE": "password.txt"}
FOREIGN = {"os_id": "fedora", "os_version": "42", "os_name": "Fedora Linux 42"}
DROPPED = {"model_files": {"my.gguf": GB, "old.bin": GB, "notes.txt": GB}}
MINE = {"MODEL": "my.gguf", "PROMPT_FORMAT": "chatml"}
VPN = {"wireguard": True}
ELSEWHERE = {"ENGINE": "external", "ENGINE_URL": "http://10.0.0.5:8000"}
NOTHING_ANSWERS = {"reachable": dict.fromkeys(ALL_HOMES, False)}


def test_a_fit_machine_has_no_findings(verdict: Callable[..., Verdict]) -> None:
    judged = verdict()
    assert judged.findings == ()
    assert judged.model is not None and judged.model.name == "smollm2-135m-instruct"
    assert judged.choice is not None and judged.choice.kind == "upstream"


@pytest.mark.parametrize(
    ("finding", "level", "facts", "settings"),
    [
        ("os.unsupported", ERROR, {**FOREIGN, **BARE}, {}),
        ("os.unsupported", WARNING, FOREIGN, {}),
        ("arch.unsupported", WARNING, {"arch": "aarch64"}, {}),
        ("arch.unsupported", ERROR, {"arch": "aarch64"}, {"SOURCES": "packages"}),
        ("privilege.missing", ERROR, {**BARE, "root": False}, {}),
        ("privilege.missing", ERROR, {"root": False, "secrets": False}, {}),
        ("mail.sender_missing", ERROR, {}, {"SMTP_HOST": "smtp.example.com"}),
        ("backup.password_missing", ERROR, {}, {"BACKUP_REMOTE": "restic:/srv/repository"}),
        ("backup.not_encrypted", WARNING, {}, {"BACKUP_REMOTE": "rclone:s3:bucket"}),
        ("setting.invalid", ERROR, {}, {"BACKUP_KEEP": "seven"}),
        ("setting.invalid", ERROR, {}, {"BACKUP_SCHEDULE": "nightly"}),
        ("setting.invalid", ERROR, {}, {"BACKUP_REMOTE": "s3:bucket"}),
        ("mail.login_incomplete", ERROR, {}, {**MAIL, "SMTP_USER": "chat"}),
        ("mail.login_incomplete", ERROR, {}, {**MAIL, "SMTP_PASSWORD_FILE": "password.txt"}),
        ("mail.password_exposed", ERROR, {}, {**MAIL, **LOGIN, "SMTP_TLS": "none"}),
        ("mail.password_file", ERROR, {"mail_password": "missing"}, {**MAIL, **LOGIN}),
        ("mail.password_file", ERROR, {"mail_password": "closed"}, {**MAIL, **LOGIN}),
        ("mail.password_file", ERROR, {"mail_password": "empty"}, {**MAIL, **LOGIN}),
        ("cpu.no_avx", ERROR, {"cpu_flags": frozenset({"sse4_2"})}, {}),
        ("cpu.no_avx2", WARNING, {"cpu_flags": frozenset({"avx"})}, {}),
        ("grafana.no_package", WARNING, {}, {"COMPOSE_PROFILES": "monitoring", "SOURCES": "packages"}),
        ("setting.invalid", ERROR, {}, {"COMPOSE_PROFILES": "everything"}),
        ("ram.too_small_for_model", ERROR, {"memory_bytes": 2 * GB}, {"COMPOSE_PROFILES": "monitoring"}),
        ("ram.too_small_for_model", ERROR, {"memory_bytes": GB}, {}),
        ("ram.too_small_for_model", WARNING, {"memory_bytes": 2 * GB - GB // 4, "swap_bytes": GB}, {}),
        ("ram.too_small", ERROR, {"memory_bytes": GB // 2, "toml": False}, {}),
        ("disk.too_small", ERROR, {"disk_free_bytes": GB}, {}),
        ("disk.too_small", ERROR, {"disk_free_bytes": GB // 2, "built": True}, {}),
        ("disk.nearly_too_small", WARNING, {"disk_free_bytes": 9 * GB}, {}),
        ("disk.too_small_for_model", ERROR, {"models_free_bytes": 2**20}, {}),
        ("docker.missing", INFO, BARE, {}),
        ("docker.missing", ERROR, {**FOREIGN, **BARE}, {}),
        ("docker.stopped", INFO, {"docker_answers": False, "engine_version": ()}, {}),
        ("docker.too_old", ERROR, {"engine_version": (19, 3, 5)}, {}),
        ("compose.missing", INFO, BARE, {}),
        ("compose.missing", ERROR, {**FOREIGN, "compose_version": ()}, {}),
        ("compose.too_old", INFO, {"compose_version": (2, 18, 1)}, {}),
        ("compose.too_old", ERROR, {**FOREIGN, "compose_version": (2, 18, 1)}, {}),
        ("buildx.missing", INFO, {"buildx_version": ()}, {}),
        ("port.taken", ERROR, {"ports": {"443": "nginx (pid 812)"}}, {}),
        ("port.taken", ERROR, {"ports": {"8080": ""}}, {"HTTP_PORT": "8080"}),
        ("port.taken", ERROR, {**VPN, "udp_ports": {"51820": ""}}, {}),
        ("port.taken", ERROR, {**VPN, "udp_ports": {"5000": "openvpn (pid 9)"}}, {"WG_PORT": "5000"}),
        ("wireguard.no_tun", ERROR, {**VPN, "tun": False}, {}),
        ("wireguard.no_ipv6", ERROR, {**VPN, "ipv6": False}, {}),
        ("wireguard.subnet_taken", ERROR, {**VPN, "routes": ("10.0.0.0/8", "192.168.1.0/24")}, {}),
        ("wireguard.subnet_taken", ERROR, {**VPN, "routes": ("172.20.0.0/16",)}, {"WG_SUBNET": "172.20.5.0/24"}),
        ("wireguard.subnet_taken", ERROR, {**VPN, "routes": ("fd13:13:13::/64",)}, {}),
        ("setting.invalid", ERROR, VPN, {"WG_SUBNET": "10.13.13.1"}),
        ("port.not_standard", WARNING, {"domain_addresses": ("192.0.2.2",)}, {"DOMAIN": "a.org", "HTTP_PORT": "81"}),
        ("dns.domain_unknown", ERROR, {"domain_addresses": ()}, {"DOMAIN": "chat.example.org"}),
        ("dns.domain_elsewhere", ERROR, {"domain_addresses": ("198.51.100.7",)}, {"DOMAIN": "chat.example.org"}),
        (
            "dns.domain_partly_elsewhere",
            WARNING,
            {"domain_addresses": ("192.0.2.2", "2001:db8::1")},
            {"DOMAIN": "chat.example.org"},
        ),
        (
            "dns.domain_behind_nat",
            WARNING,
            {"domain_addresses": ("198.51.100.7",), "addresses": ("192.168.1.2", "fd00::2")},
            {"DOMAIN": "chat.example.org"},
        ),
        ("sources.unreachable", ERROR, NOTHING_ANSWERS, {"SOURCES": "upstream"}),
        ("sources.archive_unreachable", WARNING, NOTHING_ANSWERS, {}),
        ("torch.no_cpu_wheel", WARNING, {"torch_wheel": False}, {"SOURCES": "packages"}),
        ("engine.substituted", WARNING, {}, {"SOURCES": "packages"}),
        ("engine.settings_ignored", WARNING, {}, {"ENGINE": "llamacpp", "KOBOLDCPP_ARGS": "--flashattention"}),
        ("engine.url_missing", ERROR, {}, {"ENGINE": "external"}),
        ("engine.settings_ignored", WARNING, {}, {"ENGINE_MODEL": "a/b"}),
        ("engine.key_file", ERROR, {"engine_key": "missing"}, {**ELSEWHERE, "ENGINE_API_KEY_FILE": "key.txt"}),
        ("engine.key_file", ERROR, {"engine_key": "closed"}, {**ELSEWHERE, "ENGINE_API_KEY_FILE": "key.txt"}),
        ("engine.key_file", ERROR, {"engine_key": "empty"}, {**ELSEWHERE, "ENGINE_API_KEY_FILE": "key.txt"}),
        ("engine.url_loopback", ERROR, {}, {**ELSEWHERE, "ENGINE_URL": "http://10.0.0.5:1,http://127.0.0.1:8000"}),
        ("engine.url_loopback", ERROR, {}, {**ELSEWHERE, "ENGINE_URL": "http://localhost:8000"}),
        ("model.format_unknown", ERROR, {}, {**ELSEWHERE, "ENGINE_MODEL": "meta-llama/Llama-3.1-8B-Instruct"}),
        ("setting.invalid", ERROR, {}, {**ELSEWHERE, "ENGINE_MODEL": "a/b", "PROMPT_FORMAT": "latin"}),
        ("setting.invalid", ERROR, {}, {**ELSEWHERE, "ENGINE_MODEL": "two words"}),
        (
            "engine.settings_ignored",
            WARNING,
            {},
            {"ENGINE": "external", "ENGINE_URL": "http://a:1", "ENGINE_BATCH": "64"},
        ),
        ("engine.threads_too_many", WARNING, {}, {"THREADS": "3"}),
        ("engine.threads_too_many", WARNING, {"cpus": 8}, {"THREADS": "2", "ENGINE_CPUS": "1.5"}),
        ("engine.mlock_too_large", ERROR, DROPPED, {**MINE, "ENGINE_MLOCK": "on", "ENGINE_MEMORY": "1g"}),
        ("engine.prompt_cache_too_large", ERROR, {}, {"PROMPT_CACHE": "1g", "ENGINE_MEMORY": "1g"}),
        ("koboldcpp.source_missing", ERROR, {"koboldcpp_source": "missing"}, {"KOBOLDCPP_SOURCE": "/no/such"}),
        ("koboldcpp.source_invalid", ERROR, {"koboldcpp_source": "other"}, {"KOBOLDCPP_SOURCE": "/etc"}),
        ("bot.missing", ERROR, {}, {"DEFAULT_BOT": "nobody"}),
        ("model.missing", ERROR, {}, {"MODEL": "no-such-model.gguf"}),
        ("model.format_unknown", ERROR, DROPPED, {"MODEL": "old.bin"}),
        ("model.not_weights", WARNING, DROPPED, {"MODEL": "notes.txt", "PROMPT_FORMAT": "chatml"}),
        ("model.not_gguf", ERROR, DROPPED, {"MODEL": "old.bin", "PROMPT_FORMAT": "metharme", "SOURCES": "packages"}),
        ("model.not_gguf", ERROR, {**DROPPED, "model_heads": {"my.gguf": "<!DO"}}, MINE),
        ("model.not_gguf", ERROR, {**DROPPED, "model_heads": {"my.gguf": ""}}, MINE),
        ("model.not_gguf", ERROR, {**DROPPED, "model_heads": {"my.gguf": "tjgg"}}, {**MINE, "ENGINE": "llamacpp"}),
        ("model.not_gguf", WARNING, {"model_heads": {"SmolLM2-135M-Instruct.Q4_1.gguf": "\0\0"}}, {}),
        ("model.link_leads_out", ERROR, {**DROPPED, "model_links": {"my.gguf": "/data/my.gguf"}}, MINE),
        ("project.elsewhere", ERROR, {"elsewhere": ("/srv/chat",), "locked_out": True}, {}),
        ("project.secrets_missing", ERROR, {"locked_out": True}, {}),
        ("data.generation_missing", ERROR, {"generation": 1, "stored": (2, 3)}, {}),
        ("data.generation_missing", ERROR, {"generation": 4, "stored": (1,)}, {}),
        ("model.context_too_long", WARNING, {}, {"CONTEXT_SIZE": "16384"}),
        ("python.no_toml", INFO, {"toml": False}, {}),
        ("setting.invalid", ERROR, {}, {"ENGINE": "kobold"}),
        ("setting.invalid", ERROR, {}, {"CONTEXT_SIZE": "many"}),
        ("setting.invalid", ERROR, {}, {"MONGO_MEMORY": "1 potato"}),
        ("setting.invalid", ERROR, {}, {"PROMPT_FORMAT": "latin"}),
        ("setting.invalid", ERROR, {}, {"HTTP_PORT": "443"}),
        ("setting.unknown", WARNING, {}, {"DOMIAN": "chat.example.org"}),
    ],
)
def test_finding(judge: Judge, finding: str, level: str, facts: dict[str, Any], settings: dict[str, str]) -> None:
    found = judge(facts, **settings)
    assert finding in found, found
    assert found[finding].level == level


def test_ports_that_our_own_caddy_holds_are_not_taken(judge: Judge) -> None:
    held = {"80": "docker-proxy (pid 1)", "443": "docker-proxy (pid 2)"}
    assert judge({"ports": held, "own_ports": frozenset(held)}) == {}


def test_volumes_that_are_there_or_will_be_the_first_are_fine(judge: Judge) -> None:
    assert judge({"generation": 2, "stored": (1, 2)}) == {}
    assert judge({"generation": 2, "stored": ()}) == {}


@pytest.mark.parametrize(
    ("head", "settings"),
    [
        ("GGUF", {}),
        ("GGUF", {"ENGINE": "llamacpp"}),
        ("tjgg", {}),
        ("<!DO", {"ENGINE": "external", "ENGINE_URL": "http://10.0.0.5:8000"}),
    ],
)
def test_weights_that_the_engine_reads_are_fine(judge: Judge, head: str, settings: dict[str, str]) -> None:
    assert judge({**DROPPED, "model_heads": {"my.gguf": head}}, **MINE, **settings) == {}


def test_the_other_checkout_and_the_first_bytes_are_named(judge: Judge) -> None:
    assert "/srv/chat" in judge({"elsewhere": ("/srv/chat",)})["project.elsewhere"].fact
    assert "b'<!DO'" in judge({**DROPPED, "model_heads": {"my.gguf": "<!DO"}}, **MINE)["model.not_gguf"].fact


def test_what_wireguard_lacks_is_no_matter_before_there_is_a_peer(judge: Judge) -> None:
    facts = {"tun": False, "ipv6": False, "udp_ports": {"51820": ""}, "routes": ("10.0.0.0/8",)}
    assert judge(facts) == {}
    assert len(judge({**facts, **VPN})) == 4


def test_a_port_that_our_own_wireguard_holds_and_a_route_beside_its_network_are_fine(judge: Judge) -> None:
    held = {"udp_ports": {"51820": "docker-proxy (pid 3)"}, "own_ports": frozenset({"51820"})}
    assert judge({**VPN, **held, "routes": ("10.13.12.0/24", "fd00::/64", "172.17.0.0/16")}) == {}


def test_the_holder_of_a_port_is_named(judge: Judge) -> None:
    assert "nginx (pid 812)" in judge({"ports": {"443": "nginx (pid 812)"}})["port.taken"].fact


def test_a_misspelt_setting_names_its_neighbour(judge: Judge) -> None:
    assert "DOMAIN" in judge(DOMIAN="x")["setting.unknown"].hint


def test_localhost_and_bare_addresses_need_no_dns(judge: Judge) -> None:
    assert judge(DOMAIN="192.0.2.9") == {}


def test_docker_that_is_complete_needs_no_root_rights(judge: Judge) -> None:
    assert judge({"root": False, "secrets": True}) == {}


def test_sudo_without_a_password_is_enough(judge: Judge) -> None:
    assert "privilege.missing" not in judge({**BARE, "root": False, "sudo": True})


def test_an_engine_elsewhere_needs_no_memory_here(judge: Judge) -> None:
    facts = {"memory_bytes": 2 * GB - GB // 4}
    assert "ram.too_small_for_model" in judge(facts)
    assert judge(facts, ENGINE="external", ENGINE_URL="http://10.0.0.5:8000") == {}


def test_nobody_decides_on_sources_before_the_hub_could_be_asked(verdict: Callable[..., Verdict]) -> None:
    unasked = {home: True for home in ALL_HOMES if home != sources.HUB}
    judged = verdict({**BARE, "reachable": unasked})
    assert judged.choice is None
    assert {finding.level for finding in judged.findings} == {INFO}


def test_a_bad_setting_keeps_the_other_checks_from_guessing(judge: Judge) -> None:
    assert set(judge({"disk_free_bytes": 0}, CONTEXT_SIZE="many", ENGINE="kobold")) == {"setting.invalid"}


def _ids(*modules: str) -> set[str]:
    text = "".join((ROOT / "scripts" / "lib" / f"{name}.py").read_text() for name in modules)
    return set(re.findall(r'Finding\(\s*"([a-z.0-9_]+)"', text)) | set(re.findall(r'"(ram\.[a-z_]+)"', text))


def test_every_finding_has_a_test() -> None:
    names = [path.stem for path in (ROOT / "scripts" / "lib").glob("*.py") if "Finding(" in path.read_text()]
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    ids = _ids(*names)
    assert len(ids) > 40
    assert {finding for finding in ids if f'"{finding}"' not in tests} == set()
