"""Machines outside: containers on a network of their own, which plays the internet.

They know this machine's address there and no other. A tunnel is made by the tools and the config that an admin uses.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from scripts.lib import chromium
from tests.browser.conftest import ARGUMENTS
from tests.stack.conftest import PROJECT, docker

OUTSIDE = f"{PROJECT}-outside"
# Status and body of a GET; in the laptop, so that it goes through its tunnel. llama.cpp's page comes as gzip or not at
# all.
GET = """
import gzip, http.client, json, sys
connection = http.client.HTTPConnection(sys.argv[1], timeout=8)
connection.request("GET", sys.argv[2], headers={"Accept-Encoding": "gzip", **json.loads(sys.argv[3])})
answer = connection.getresponse()
body = answer.read()
body = gzip.decompress(body) if answer.getheader("Content-Encoding") == "gzip" else body
print(answer.status, body.decode("utf-8", "replace"))
"""
CONNECT = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def connects(target):
    try:
        socket.create_connection(tuple(target), 3).close()
    except OSError:
        return False
    return True
targets = json.loads(sys.argv[1])
with ThreadPoolExecutor(len(targets)) as pool:
    print(json.dumps([target for target, there in zip(targets, pool.map(connects, targets)) if there]))
"""


class Laptop:
    """A machine outside, with the tunnel of one config."""

    def __init__(self, name: str) -> None:
        self.name = f"{PROJECT}-{name}"
        docker(
            *("run", "--detach", "--rm", "--name", self.name, "--network", OUTSIDE, "--cap-add", "NET_ADMIN"),
            *("--device", "/dev/net/tun", "--sysctl", "net.ipv6.conf.all.disable_ipv6=0", "--no-healthcheck"),
            # Compose has labelled the image; with these it would take the laptop for its own.
            *("--label", "com.docker.compose.project=", "--label", "com.docker.compose.service="),
            *("--entrypoint", "sleep", "chatbot-wireguard:local", "infinity"),
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["docker", "exec", self.name, *words], capture_output=True, text=True, check=False)

    def import_config(self, file: Path) -> None:
        """The tunnel as the config has it. One for all traffic is made for the server alone: see `widen`."""
        text = file.read_text().replace("0.0.0.0/0, ::/0", "10.13.13.1/32")
        write = ["docker", "exec", "-i", self.name, "sh", "-c", "umask 077; cat > /tmp/tunnel.conf"]
        subprocess.run(write, input=text, text=True, check=True)
        self.run("wg-quick", "down", "/tmp/tunnel.conf")
        done = self.run("wg-quick", "up", "/tmp/tunnel.conf")
        assert done.returncode == 0, done.stderr

    def widen(self, *addresses: str) -> None:
        """What an admin with bad intentions does to the own config: everything may go into the tunnel, these do."""
        (peer,) = self.run("wg", "show", "tunnel", "peers").stdout.split()
        assert self.run("wg", "set", "tunnel", "peer", peer, "allowed-ips", "0.0.0.0/0,::/0").returncode == 0
        for address in addresses:
            assert self.run("ip", "route", "replace", address, "dev", "tunnel").returncode == 0

    def get(self, address: str, path: str = "/", **headers: str) -> tuple[int, str]:
        """(status, body), (0, the reason) where nothing answers."""
        done = self.run("python3", "-c", GET, address, path, json.dumps(headers))
        if done.returncode != 0:
            return 0, (done.stderr.strip().splitlines() or [""])[-1]
        status, _, body = done.stdout.partition(" ")
        return int(status), body

    def connects(self, *targets: tuple[str, int]) -> list[tuple[str, int]]:
        """Those of the targets (host, port) that take a TCP connection within 3 s; all are tried at once."""
        done = self.run("python3", "-c", CONNECT, json.dumps(targets))
        assert done.returncode == 0, done.stderr
        return [(host, port) for host, port in json.loads(done.stdout)]

    @contextmanager
    def browser(self, folder: Path) -> Iterator[Page]:
        """Chromium with this machine's network and no other; `folder` is for its launcher."""
        chromium.ensure()
        pid = docker("inspect", self.name, "--format", "{{.State.Pid}}").strip()
        launcher = folder / "chromium"
        launcher.write_text(f'#!/bin/sh\nexec nsenter --net=/proc/{pid}/ns/net {chromium.find()} "$@"\n')
        launcher.chmod(0o755)
        with sync_playwright() as playwright:
            launched = playwright.chromium.launch(executable_path=str(launcher), args=ARGUMENTS)
            yield launched.new_page()
            launched.close()

    def remove(self) -> None:
        docker("rm", "--force", self.name)


def begin() -> None:
    """Make the network."""
    remove_all()
    docker("network", "create", OUTSIDE)


def gateway() -> str:
    """The address under which machines outside know this one."""
    return docker("network", "inspect", OUTSIDE, "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()


def remove_all() -> None:
    """End the machines and the network, those of an earlier run too."""
    for name in docker("ps", "--all", "--quiet", "--filter", f"network={OUTSIDE}").split():
        docker("rm", "--force", name)
    if docker("network", "ls", "--quiet", "--filter", f"name=^{OUTSIDE}$").strip():
        docker("network", "rm", OUTSIDE)
