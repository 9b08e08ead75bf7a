"""The way in for admins: from outside through WireGuard to the admin addresses, and to nothing else.

The laptops are containers on a network of their own, which plays the internet (tests/stack/laptops.py).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from scripts.lib import apt
from tests.browser.conftest import ARTIFACTS
from tests.stack import laptops, scanning
from tests.stack.conftest import PROJECT, Appliance, docker, health
from tests.stack.laptops import Laptop

pytestmark = pytest.mark.stack

SERVER, SERVER6 = "10.13.13.1", "[fd13:13:13::1]"
CONSOLE, ENGINE_UI = f"{SERVER}:80", f"{SERVER}:5001"
# RFC 5737
INTERNET = "203.0.113.1"
KEY = re.compile(r"[A-Za-z0-9+/]{43}=")


def _config(appliance: Appliance, name: str) -> Path:
    return appliance.folder / ".appliance" / "wireguard" / f"{name}.conf"


def _peer(appliance: Appliance, name: str, *words: str) -> str:
    done = appliance.make("wg-peer", f"NAME={name}", f"ENDPOINT={laptops.gateway()}", *words)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def vpn(appliance: Appliance) -> Iterator[Appliance]:
    """The shared appliance with WireGuard and one peer; without both again at the end."""
    laptops.begin()
    try:
        told = _peer(appliance, "laptop")
        assert not KEY.search(told), told
        yield appliance
    finally:
        laptops.remove_all()
        shutil.rmtree(appliance.folder / ".appliance" / "wireguard", ignore_errors=True)
        done = appliance.make("up", SOURCES="packages")
        assert done.returncode == 0, done.stdout
        assert "wireguard" not in appliance.containers(), "WireGuard outlived its keys"


@pytest.fixture(scope="module")
def laptop(vpn: Appliance) -> Laptop:
    machine = Laptop("laptop")
    machine.import_config(_config(vpn, "laptop"))
    return machine


def _is_page(status: int, body: str) -> bool:
    """A whole page of what is behind the gate: the console leads to its log-in."""
    return status == 303 or (status == 200 and "</html>" in body)


@pytest.mark.parametrize("address", [CONSOLE, f"{SERVER6}:80", ENGINE_UI, f"{SERVER6}:5001"])
def test_the_admin_addresses_answer_through_the_tunnel(laptop: Laptop, address: str) -> None:
    status, body = laptop.get(address)
    assert _is_page(status, body), (status, body[:300])


def test_an_admin_works_through_the_tunnel_in_a_browser(vpn: Appliance, laptop: Laptop, tmp_path: Path) -> None:
    made = vpn.make("admin", "NAME=anna")
    assert made.returncode == 0, made.stdout
    password = next(line for line in made.stdout.splitlines() if re.fullmatch(r"[\w-]{20}", line))
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    with laptop.browser(tmp_path) as page:
        page.goto(f"http://{CONSOLE}/")
        page.get_by_label("Name").fill("anna")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Today")
        pages = page.get_by_role("navigation", name="Pages").get_by_role("link")
        for name in pages.all_inner_texts():
            page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
            expect(page.get_by_role("heading", level=1)).to_have_text(name)
        page.screenshot(path=str(ARTIFACTS / "vpn-console.png"))
        page.goto(f"http://{ENGINE_UI}/")
        box = page.get_by_role("textbox").first
        box.fill("Name three colours.")
        box.press("Enter")
        answer = page.get_by_label("Assistant message").locator(".markdown-content")
        expect(answer).to_contain_text(re.compile(r"\w{3}"), timeout=120_000)
        page.screenshot(path=str(ARTIFACTS / "vpn-engine-ui.png"))


@pytest.mark.parametrize("port", [3000, 9090])
def test_monitoring_that_is_off_says_how_it_is_turned_on(laptop: Laptop, port: int) -> None:
    status, body = laptop.get(f"{SERVER}:{port}")
    assert status == 502
    assert "COMPOSE_PROFILES=monitoring" in body and "</html>" in body


def test_the_gate_answers_to_its_own_address_alone(laptop: Laptop) -> None:
    for name in ("localhost", "evil.example", "10.13.13.2", f"{SERVER}.evil.example"):
        assert laptop.get(CONSOLE, "/", Host=name)[0] == 421, name


def test_without_the_tunnel_nobody_reaches_them(vpn: Appliance) -> None:
    stranger = Laptop("stranger")
    try:
        container = vpn.containers()["wireguard"]
        inside = [each["IPAddress"] for each in container["NetworkSettings"]["Networks"].values()]
        assert not stranger.connects(*[(address, port) for address in inside for port in (80, 3000, 5001, 9090)])
        # Port 80 of the host is the public one, and never the console.
        assert not stranger.connects(*[(laptops.gateway(), port) for port in (3000, 5001, 9090)])
        status, body = stranger.get(laptops.gateway())
        assert (status, "console" in body.lower()) in ((308, False), (200, False), (404, False)), (status, body)
    finally:
        stranger.remove()


@pytest.mark.parametrize("network", ["admin", "vpn"])
def test_a_neighbour_cannot_use_the_servers_address_on_another_network(vpn: Appliance, network: str) -> None:
    """Linux answers for an address of one interface on all others too."""
    name = f"{PROJECT}_{network}"
    address = vpn.containers()["wireguard"]["NetworkSettings"]["Networks"][name]["IPAddress"]
    connect = f"import socket; socket.create_connection(('{SERVER}', 80), 3)"
    script = f'ip route replace {SERVER} via {address} && python3 -c "{connect}"'
    words = ["docker", "run", "--rm", "--network", name, "--cap-add", "NET_ADMIN", "--entrypoint", "sh"]
    done = subprocess.run(
        [*words, "chatbot-wireguard:local", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "timed out" in done.stderr, done.stderr


def test_other_containers_are_out_of_reach_even_with_everything_sent_into_the_tunnel(vpn: Appliance) -> None:
    ports = {"mongo": 27017, "chroma": 8000, "engine": 5001, "proxy": 8080, "embeddings": 8080, "worker": 8081}
    targets = [
        (network["IPAddress"], port)
        for service, port in ports.items()
        for network in vpn.containers()[service]["NetworkSettings"]["Networks"].values()
    ]
    assert len(targets) > len(ports)
    curious = Laptop("curious")
    try:
        _peer(vpn, "curious")
        curious.import_config(_config(vpn, "curious"))
        others = ["10.13.13.2", "169.254.169.254", "1.1.1.1"]
        curious.widen(*{address for address, _ in targets}, *others)
        assert _is_page(*curious.get(CONSOLE))
        assert not curious.connects(*targets, *[(address, 80) for address in others])
        # The tunnel's end itself: nothing but the gate's ports.
        ports_there = (22, 53, 80, 443, 2019, 3000, 5001, 8080, 9090, 51820)
        reached = curious.connects(*[(SERVER, port) for port in ports_there])
        assert reached == [(SERVER, port) for port in (80, 3000, 5001, 9090)]
    finally:
        curious.remove()
        assert vpn.make("wg-peer-remove", "NAME=curious").returncode == 0


def test_a_scan_from_outside_finds_the_four_ports_and_nothing_else(vpn: Appliance) -> None:
    if not shutil.which("nmap"):
        apt.update()
        apt.install(["nmap"])
    # Neither QUIC nor WireGuard answers to nonsense: what says nothing is there; what is closed says so.
    assert scanning.from_outside(vpn) == scanning.OURS


def test_the_same_name_again_changes_nothing(vpn: Appliance) -> None:
    before = {
        file: file.read_bytes() for file in (vpn.folder / ".appliance" / "wireguard").rglob("*") if file.is_file()
    }
    told = _peer(vpn, "laptop", "QR=1")
    assert str(_config(vpn, "laptop")) in told
    assert not KEY.search(told) and "█" not in told, "a key on something that is no terminal"
    assert {file: file.read_bytes() for file in before} == before


def test_calls_at_the_same_time_get_addresses_of_their_own(vpn: Appliance) -> None:
    names = ["one", "two", "three"]
    words = ["make", "--no-print-directory", "wg-peer", f"ENDPOINT={laptops.gateway()}"]
    calls = [subprocess.Popen([*words, f"NAME={name}"], cwd=vpn.folder, stdout=-3, stderr=-3) for name in names]
    assert [call.wait(timeout=120) for call in calls] == [0, 0, 0]
    listed = json.loads(vpn.make("wg-peers", "JSON=1").stdout)
    addresses = [address for peer in listed for address in peer["addresses"]]
    assert set(names) <= {peer["name"] for peer in listed}
    assert len(set(addresses)) == len(addresses)
    for name in names:
        assert vpn.make("wg-peer-remove", f"NAME={name}").returncode == 0


@pytest.mark.parametrize("name", ["", "Laptop", "../x", "a" * 33])
def test_a_bad_name_is_refused_by_its_rule(vpn: Appliance, name: str) -> None:
    done = vpn.make("wg-peer", f"NAME={name}")
    assert done.returncode != 0
    assert re.search(r"wireguard\.name_(missing|invalid)", done.stdout), done.stdout


def test_a_removed_peer_is_out_at_once_and_the_others_stay(vpn: Appliance, laptop: Laptop) -> None:
    _peer(vpn, "lost")
    lost = Laptop("lost")
    try:
        lost.import_config(_config(vpn, "lost"))
        assert _is_page(*lost.get(CONSOLE)) and _is_page(*laptop.get(CONSOLE))
        started = vpn.containers()["wireguard"]["State"]["StartedAt"]
        done = vpn.make("wg-peer-remove", "NAME=lost")
        assert done.returncode == 0, done.stdout
        assert not lost.connects((SERVER, 80))
        assert _is_page(*laptop.get(CONSOLE))
        assert vpn.containers()["wireguard"]["State"]["StartedAt"] == started
        (peer,) = json.loads(vpn.make("wg-peers", "JSON=1").stdout)
        assert peer["name"] == "laptop" and peer["last_handshake"] and peer["bytes_received"]
        assert not _config(vpn, "lost").exists()
    finally:
        lost.remove()


def test_status_and_doctor_know_wireguard(vpn: Appliance) -> None:
    _wait(vpn)
    status = vpn.make("status").stdout
    assert any(line.startswith("wireguard") and "healthy" in line for line in status.splitlines()), status
    doctor = vpn.make("doctor")
    assert doctor.returncode == 0, doctor.stdout


def test_keys_peers_and_addresses_survive_down_and_up(vpn: Appliance, laptop: Laptop) -> None:
    folder = vpn.folder / ".appliance" / "wireguard"
    kept = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    down = vpn.make("down")
    assert down.returncode == 0 and str(folder) in down.stdout, down.stdout
    assert not vpn.containers()
    up = vpn.make("up", SOURCES="packages")
    assert up.returncode == 0, up.stdout
    assert {file: file.read_bytes() for file in kept} == kept
    # The laptop's own WireGuard notices within its rekey time-out, and shakes hands again.
    deadline = time.monotonic() + 30
    while not _is_page(*laptop.get(CONSOLE)):
        assert time.monotonic() < deadline
    assert not KEY.search(down.stdout + up.stdout)


def test_wg_internet_opens_the_way_out_and_none_to_the_inside(vpn: Appliance) -> None:
    """The internet is an address of a range for documentation, on this machine: nothing here keeps off public ones."""
    docker("network", "create", "--subnet", f"{INTERNET}/24", "--gateway", INTERNET, f"{laptops.OUTSIDE}-internet")
    traveller = Laptop("traveller")
    try:
        up = vpn.make("up", SOURCES="packages", WG_INTERNET="on")
        assert up.returncode == 0, up.stdout
        _peer(vpn, "traveller")
        text = _config(vpn, "traveller").read_text()
        assert "AllowedIPs = 0.0.0.0/0, ::/0\n" in text
        traveller.import_config(_config(vpn, "traveller"))
        ours = vpn.containers()["wireguard"]["NetworkSettings"]["Networks"]
        inside = [each["Gateway"] for each in ours.values() if each["Gateway"]]
        inside += [each["IPAddress"] for each in vpn.containers()["proxy"]["NetworkSettings"]["Networks"].values()]
        traveller.widen(INTERNET, "169.254.169.254", *inside)
        with socket.create_server((INTERNET, 0)) as listener:
            port = listener.getsockname()[1]
            assert traveller.connects((INTERNET, port))
            assert listener.accept()[1][0] == ours[f"{PROJECT}_vpn"]["IPAddress"], "not through the tunnel"
        assert _is_page(*traveller.get(CONSOLE))
        # Port 80 of each is one that this machine or the proxy's neighbours would answer on.
        never = [(address, port) for address in (*inside, "169.254.169.254") for port in (80, 8080)]
        assert not traveller.connects(*never)
    finally:
        traveller.remove()
        docker("network", "rm", f"{laptops.OUTSIDE}-internet")
        vpn.make("wg-peer-remove", "NAME=traveller")
        assert vpn.make("up", SOURCES="packages").returncode == 0
    assert "0.0.0.0/0" not in _config(vpn, "laptop").read_text()


def test_files_are_private_and_no_key_is_in_logs_or_in_what_docker_shows(vpn: Appliance) -> None:
    folder = vpn.folder / ".appliance" / "wireguard"
    assert {path.stat().st_mode & 0o777 for path in (folder, folder / "peers")} == {0o700}
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    secrets = {key for file in files for key in KEY.findall(file.read_text())}
    assert len(secrets) >= 5
    container = vpn.containers()["wireguard"]
    logs = subprocess.run(["docker", "logs", container["Id"]], capture_output=True, text=True, check=True)
    written = "".join(file.read_text() for file in (vpn.folder / ".appliance" / "logs").iterdir())
    shown = json.dumps(container) + logs.stdout + logs.stderr + written
    shown += vpn.make("wg-peers").stdout + vpn.make("wg-peer", "NAME=laptop").stdout
    assert not {key for key in secrets if key in shown}


def test_the_container_has_the_rights_it_needs_and_no_others(vpn: Appliance) -> None:
    host = vpn.containers()["wireguard"]["HostConfig"]
    assert (host["CapDrop"], set(host["CapAdd"])) == (["ALL"], {"NET_ADMIN", "SETUID", "SETGID"})
    assert host["ReadonlyRootfs"] and not host["Privileged"] and host["NetworkMode"] != "host"
    # Caddy, which reads what strangers' web pages may have sent, has none of them.
    script = "for p in /proc/[0-9]*; do grep -q '^Name:.caddy' $p/status && grep -E '^(Uid|CapEff)' $p/status; done"
    told = vpn.execute("wireguard", "sh", "-c", script, check=False).stdout
    assert re.search(r"^Uid:\s+10001\s+10001", told, re.MULTILINE) and re.search(r"^CapEff:\s+0+$", told, re.MULTILINE)


def test_a_crashed_gate_comes_back(vpn: Appliance, laptop: Laptop) -> None:
    processes = docker("top", vpn.containers()["wireguard"]["Id"], "-eo", "pid,comm").splitlines()
    (pid,) = [line.split()[0] for line in processes if line.split()[1] == "caddy"]
    os.kill(int(pid), signal.SIGKILL)
    time.sleep(2)
    _wait(vpn)
    deadline = time.monotonic() + 30
    while not _is_page(*laptop.get(CONSOLE)):
        assert time.monotonic() < deadline


def _wait(appliance: Appliance) -> None:
    deadline = time.monotonic() + 60
    while health(appliance.containers()["wireguard"]) != "healthy":
        assert time.monotonic() < deadline
        time.sleep(1)
