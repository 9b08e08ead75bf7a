"""Facts are read from the system's own files, and can be replaced for a demonstration."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from scripts.lib import host, host_facts, network_facts, pip_settings
from scripts.lib.failure import Failure
from scripts.lib.host import Host


def test_facts_can_be_replaced_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    file.write_text(json.dumps({"cpu_flags": ["sse4_2"], "disk_free_bytes": 5, "domain_addresses": ["192.0.2.1"]}))
    changed = host.with_overrides(Host(), {"CHATBOT_HOST_FACTS": str(file)})
    assert changed.cpu_flags == frozenset({"sse4_2"})
    assert changed.disk_free_bytes == 5
    assert changed.domain_addresses == ("192.0.2.1",)
    assert host.with_overrides(Host(), {}) == Host()


@pytest.mark.parametrize("text", ["no json", '{"no_such_fact": 1}'])
def test_a_bad_facts_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "facts.json"
    file.write_text(text)
    with pytest.raises(Failure) as raised:
        host.with_overrides(Host(), {"CHATBOT_HOST_FACTS": str(file)})
    assert raised.value.id == "facts.invalid"


def _cpu(package: int, core: int, flags: str = "fpu avx avx2") -> str:
    return f"processor\t: 0\nphysical id\t: {package}\ncore id\t\t: {core}\nflags\t\t: {flags}\n\n"


def test_cores_are_counted_once_however_many_threads_they_have(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(_cpu(0, 0) + _cpu(0, 1) + _cpu(0, 0) + _cpu(0, 1) + _cpu(1, 0))
    assert host_facts.cpu(file) == (frozenset({"fpu", "avx", "avx2"}), 3)


def test_a_machine_that_hides_its_cores_has_one_per_processor(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor : 0\nflags : fpu\n\nprocessor : 1\nflags : fpu\n")
    assert host_facts.cpu(file) == (frozenset({"fpu"}), 2)


def test_memory_is_in_bytes(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:        2048 kB\nMemFree: 1 kB\nSwapTotal:       1024 kB\n")
    assert host_facts.memory_sizes(file) == (2048 * 1024, 1024 * 1024)


def test_the_release_is_read_without_its_quotes(tmp_path: Path) -> None:
    file = tmp_path / "os-release"
    file.write_text("ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME='Debian 12'\n")
    assert host_facts.os_release(file) == {"ID": "debian", "VERSION_ID": "12", "PRETTY_NAME": "Debian 12"}


def test_free_space_of_a_folder_that_is_not_there_yet_is_its_parent_s(tmp_path: Path) -> None:
    assert host_facts.free_below(tmp_path / "a" / "b") > 0


def test_a_listening_port_is_seen_with_its_holder() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        assert f"(pid {os.getpid()})" in network_facts.listening()[port]
    assert port not in network_facts.listening()


def test_a_udp_port_is_seen_until_it_has_a_partner() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waiting:
        waiting.bind(("127.0.0.1", 0))
        port = str(waiting.getsockname()[1])
        assert f"(pid {os.getpid()})" in network_facts.bound()[port]
        waiting.connect(("127.0.0.1", 9))
        assert port not in network_facts.bound()


def test_a_socket_of_the_kernel_has_no_holder(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    line = "  99: 00000000:CA6C 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 0 2 0 0"
    (tmp_path / "net" / "udp").write_text(f"  sl  local_address\n{line}\n")
    assert network_facts.bound(tmp_path) == {"51820": ""}


def test_networks_that_this_machine_has_a_way_to_are_read(tmp_path: Path) -> None:
    rows = ["Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT"]
    rows += ["eth0 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0", "eth0 0001A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0"]
    rows += ["eth0 0000FEA9 00000000 0001 0 0 0 0000FFFF 0 0 0", "wg1 0000010A 00000000 0001 0 0 0 0000FFFF 0 0 0"]
    (tmp_path / "route").write_text("\n".join(rows) + "\n")
    none = f"{'0' * 32} 00 {'0' * 32} 00000100 00000001 00000000 00000001"
    rows6 = [f"fd131300{'0' * 24} 30 {none} eth0", f"fe80{'0' * 28} 40 {none} eth0", f"ff00{'0' * 28} 08 {none} eth0"]
    rows6 += [f"{'0' * 32} 00 {none} eth0", f"{'0' * 31}1 80 {none} lo"]
    (tmp_path / "ipv6_route").write_text("\n".join(rows6) + "\n")
    assert network_facts.routes(tmp_path) == ("10.1.0.0/16", "192.168.1.0/24", "fd13:1300::/48")


def test_own_addresses_are_read_and_loopback_left_out(tmp_path: Path) -> None:
    (tmp_path / "fib_trie").write_text(
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n"
        "Local:\n        |-- 127.0.0.1\n           /32 host LOCAL\n        |-- 203.0.113.5\n           /32 host LOCAL\n"
        "        |-- 203.0.113.255\n           /32 link BROADCAST\n"
    )
    (tmp_path / "if_inet6").write_text(
        "00000000000000000000000000000001 01 80 10 80       lo\n"
        "fe800000000000000000000000000001 02 40 20 80     eth0\n"
        "20010db8000000000000000000000007 02 40 00 80     eth0\n"
    )
    assert network_facts.addresses(tmp_path) == ("2001:db8::7", "203.0.113.5")


def test_addresses_behind_a_router_are_not_public() -> None:
    mixed = ("10.0.0.1", "172.17.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "203.0.113.5", "2001:db8::7")
    assert network_facts.public(mixed) == ("203.0.113.5", "2001:db8::7")


@pytest.fixture
def pip_files(tmp_path: Path) -> list[Path]:
    weak, strong = tmp_path / "weak.conf", tmp_path / "strong.conf"
    weak.write_text("[global]\nfind-links = /weak\nindex-url = https://index.example/simple\n")
    strong.write_text("[install]\nfind-links =\n    /one\n    file:///two%20words\n")
    return [weak, strong, tmp_path / "none.conf"]


def test_pip_s_settings_come_from_its_files_and_the_environment_outranks_them(pip_files: list[Path]) -> None:
    assert pip_settings.value("find-links", {}, pip_files).split() == ["/one", "file:///two%20words"]
    assert pip_settings.value("index-url", {}, pip_files) == "https://index.example/simple"
    assert pip_settings.value("find-links", {"PIP_FIND_LINKS": "/env"}, pip_files) == "/env"
    assert pip_settings.value("cert", {}, pip_files) == ""


def test_wheel_folders_are_the_local_ones(tmp_path: Path) -> None:
    (tmp_path / "two words").mkdir()
    links = f"{tmp_path.as_uri()}/two%20words https://wheels.example/ /no/such/folder"
    assert pip_settings.wheel_folders(links) == [tmp_path / "two words"]


def test_only_a_torch_wheel_that_fits_the_image_counts_and_cpu_builds_come_first(tmp_path: Path) -> None:
    fitting = ["torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl", "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl"]
    others = ["torch-2.13.0+cpu-cp312-cp312-linux_x86_64.whl", "torch-2.12.0+cpu-cp311-cp311-linux_x86_64.whl"]
    others += ["torch-2.13.0+cpu-cp311-cp311-win_amd64.whl", "torchvision-2.13.0-cp311-cp311-linux_x86_64.whl"]
    for name in fitting + others:
        (tmp_path / name).touch()
    found = pip_settings.torch_wheels([tmp_path, tmp_path / "none"], "2.13.0")
    assert [path.name for path in found] == fitting[::-1]


def test_the_pinned_torch_is_known() -> None:
    assert pip_settings.torch_version()[0].isdigit()


def test_only_another_checkout_that_still_exists_is_elsewhere(tmp_path: Path) -> None:
    here, other, link = tmp_path / "here", tmp_path / "other", tmp_path / "link"
    here.mkdir()
    other.mkdir()
    link.symlink_to(here)
    listed = [str(here), str(other), str(link), str(other), str(tmp_path / "moved"), ""]
    assert host_facts.other_folders(listed, here) == (str(other),)


def test_without_docker_s_answer_no_other_checkout_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers = {"ps": f"{tmp_path}\n", "volume": "chatbot_mongo_data\nother\n"}
    monkeypatch.setattr(host_facts.paths, "SECRETS", tmp_path)
    for status, elsewhere, locked_out, stored in ((0, (str(tmp_path),), True, (1,)), (124, (), False, ())):
        monkeypatch.setattr(
            host_facts.docker_daemon, "ask", lambda what, *_, timeout, status=status: (status, answers[what], "")
        )
        assert host_facts._elsewhere("chatbot") == elsewhere
        assert host_facts._locked_out("chatbot") is locked_out
        assert host_facts._stored("chatbot") == stored
        assert host_facts._locked_out("chatbot-test") is False
    (tmp_path / "mongo_root_password").touch()
    monkeypatch.setattr(host_facts.docker_daemon, "ask", lambda *_, timeout: (0, "chatbot_mongo_data", ""))
    assert host_facts._locked_out("chatbot") is False


def test_the_first_bytes_of_weights_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF\x03\0")
    (tmp_path / "b.bin").write_bytes(b"\xff\xd8")
    (tmp_path / "empty.gguf").touch()
    (tmp_path / ".c.gguf.part").write_bytes(b"GGUF")
    assert host_facts.heads(tmp_path) == {"a.gguf": "GGUF", "b.bin": "\xff\xd8", "empty.gguf": ""}


def test_a_link_that_leads_out_of_the_folder_leads_nowhere_in_a_container(tmp_path: Path) -> None:
    models, data = tmp_path / "models", tmp_path / "data.gguf"
    models.mkdir()
    for file in (data, models / "own.gguf"):
        file.write_bytes(b"GGUF")
    (models / "out.gguf").symlink_to(data)
    (models / "up.gguf").symlink_to("../data.gguf")
    (models / "absolute.gguf").symlink_to(models / "own.gguf")
    (models / "beside.gguf").symlink_to("own.gguf")
    (models / "nowhere.gguf").symlink_to("gone.gguf")
    (models / "round.gguf").symlink_to("round.gguf")
    there, own = str(data.resolve()), str((models / "own.gguf").resolve())
    assert host_facts.links(models) == {"out.gguf": there, "up.gguf": there, "absolute.gguf": own}


def test_published_ports_are_told_apart_by_project() -> None:
    listed = (
        "chatbot\tchatbot-caddy-1\t0.0.0.0:80->80/tcp, :::80->80/tcp, 0.0.0.0:443->443/tcp, 0.0.0.0:443->443/udp\n"
        "chatbot\tchatbot-proxy-1\t8080/tcp\n"
        "\tother-web\t127.0.0.1:8080->80/tcp\n"
    )
    own, others = host_facts.published("chatbot", listed)
    assert own == {"80", "443"}
    assert others == {"8080": "the container other-web"}
