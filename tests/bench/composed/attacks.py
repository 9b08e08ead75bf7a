"""Public tools against the composed appliance: a thousand slow connections while people chat, its TLS, its open ports.

    SECONDS_EACH=60 make bench ONLY=attacks

slowhttptest opens 1,000 connections that send headers a piece at a time (-H), a body a piece at a time (-B), or read
their answer a few bytes at a time (-X), and comes back as soon as all of them were cut off; three clients ask
meanwhile, and as long just before without it: p95 of a whole question is held beside that. testssl.sh looks for the
known weaknesses, sslyze for what a grade is made of (tls.py). nmap scans from a machine outside. What else attacks it
is in the tests: sslyze against Mozilla's advice (tests/integration/edge), schemathesis over every route
(tests/unit/proxy/test_fuzz.py, tests/integration/proxy/test_fuzz.py), bandit, pip-audit and checkov (`make audit`).
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from scripts.lib import apt
from tests.bench.composed import crowd, ledger, stack, tls
from tests.bench.composed.crowd import Line, ask
from tests.bench.composed.ledger import Ledger, Outcome
from tests.bench.figures import counted, figure, heading, percentile
from tests.stack import laptops, scanning
from tests.stack.conftest import Appliance

CONNECTIONS = 1000
GOAL_TIMES = 2.0
CLIENTS = 3
_PACKAGES = {"slowhttptest": "slowhttptest", "testssl": "testssl.sh", "nmap": "nmap"}
SLOW = {
    "slow headers (-H)": ["-H", "-i", "5", "-t", "GET", "-u", "{}/chat"],
    "slow body (-B)": ["-B", "-i", "5", "-s", "8192", "-t", "POST", "-u", "{}/api/v1/chat"],
    "slow read (-X)": ["-X", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "3", "-u", "{}/widget.js"],
}
# What testssl.sh calls a weakness and is none here, where nobody outside can sign for `localhost`.
_OWN = "Caddy's own authority signs for twelve hours, and anew long before they are over"
EXPLAINED = {
    "cert_expirationStatus": _OWN,
    "cert_notAfter": _OWN,
    "cert_revocation": "so short a life needs no revocation",
    "DNS_CAArecord": "localhost is in no DNS; of a public name it is the owner's to set",
    "HSTS": "it would lock a browser out of every other service on localhost; a public name has it",
}
# All connections are there, and the first handshakes over.
_SETTLES_S = 6.0
_SAMPLED_EVERY_S = 0.5
# Port 443 of 127.0.0.1 and of ::1, as /proc/net/tcp and tcp6 write them.
_DOOR = ("0100007F:01BB", "00000000000000000000000001000000:01BB")
_SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW")


def asking(line: Line, seconds: float) -> list[Outcome]:
    """Three clients ask for so long; the answers that they wait for then are heard out, and count."""
    book, until = Ledger(), time.monotonic() + seconds

    def client(own: Line) -> None:
        while time.monotonic() < until:
            ask(own, book, "brief", crowd.question())
            time.sleep(0.3)

    threads = [threading.Thread(target=client, args=(line.again(),), daemon=True) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 2 * ledger.SILENCE_S)
    return book.since(0)


def p95(outcomes: list[Outcome]) -> float:
    """Seconds of a whole question; those that failed count with what they took."""
    return percentile([each.ended - each.begun for each in outcomes], 0.95)


class Attack:
    """slowhttptest from its beginning to the end of the block, anew whenever its connections are all gone.

    It `made` so many connections; `most` were open at once (a door that cuts them off holds fewer than were made).
    """

    def __init__(self, address: str, words: list[str]) -> None:
        self.made = self.most = 0
        filled = [word.format(address) for word in words]
        held = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(_held_back())]
        self._command = [*held, "slowhttptest", "-c", str(CONNECTIONS), "-r", "250", "-l", "600", "-p", "5", *filled]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.is_set():
            with tempfile.TemporaryFile("w+") as said:
                tool = subprocess.Popen(self._command, stdout=said, stderr=subprocess.STDOUT)
                while tool.poll() is None and not self._end.wait(_SAMPLED_EVERY_S):
                    self.most = max(self.most, _open())
                tool.send_signal(signal.SIGINT)
                tool.wait()
                said.seek(0)
                self.made += made(said.read())


def _held_back() -> Path:
    """The file that puts a process among those which have a tenth of a core together: both versions of cgroups.

    The tool stands for machines elsewhere. Here it would take most of a core, and the engine's threads wait for each
    other, so that what is taken from one of them slows all of an answer.
    """
    first = Path("/sys/fs/cgroup/cpu")
    group = (first if first.is_dir() else first.parent) / "slow-attack"
    group.mkdir(exist_ok=True)
    if first.is_dir():
        (group / "cpu.cfs_quota_us").write_text("10000")  # of 100,000 us, the default
    else:
        (group / "cpu.max").write_text("10000 100000")
    return group / "cgroup.procs"


def made(said: str) -> int:
    """Connections that came about, as the tool tells every five seconds and at its end."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
    told = re.findall(r"connected:\s+(\d+)\s+error:\s+\d+\s+closed:\s+(\d+)", plain)
    return max((int(connected) + int(closed) for connected, closed in told), default=0)


def _open() -> int:
    """Connections from this machine to its own port 443 that the kernel calls established."""
    tables = [Path("/proc/net") / name for name in ("tcp", "tcp6")]
    rows = [row.split() for table in tables for row in table.read_text().splitlines()[1:]]
    # Docker's own proxy has a second one for each, to the container.
    return sum(remote in _DOOR and state == "01" for _, _, remote, state, *_ in rows)


@dataclass(frozen=True)
class Compared:
    """One attack beside the same without it. p95 in seconds; `door` and `tool` are how many of this machine's cores
    Caddy and the attacker took meanwhile."""

    name: str
    made: int
    most: int
    door: float
    tool: float
    without: float
    attacked: float
    said: Counter[str]

    @property
    def times(self) -> float:
        return self.attacked / self.without

    @property
    def good(self) -> bool:
        return self.times <= GOAL_TIMES and set(self.said) == {"200"} and self.made >= CONNECTIONS


HEADING = (
    f"  {'attack':<20}{'made':>8}{'at once':>8}{'cores: Caddy':>14}{'tool':>6}{'p95 without':>13}{'with':>8}"
    f"{'times':>7}  clients saw"
)


def compared(running: Appliance, line: Line, name: str, seconds: float) -> Compared:
    """Half of the time without it is before, half after: what else the machine does may change meanwhile."""
    without = asking(line, seconds / 2)
    begun, door, tool = time.monotonic(), _taken(running, "caddy"), _taken_by_children()
    with Attack(line.address, SLOW[name]) as attack:
        time.sleep(_SETTLES_S)
        outcomes = asking(line, seconds)
    lasted = time.monotonic() - begun
    door, tool = (_taken(running, "caddy") - door) / lasted, (_taken_by_children() - tool) / lasted
    # What the kernel still holds of it is no part of what comes next.
    time.sleep(_SETTLES_S)
    without += asking(line, seconds / 2)
    said = ledger.counted(outcomes)
    return Compared(name, attack.made, attack.most, door, tool, p95(without), p95(outcomes), said)


def _taken(running: Appliance, service: str) -> float:
    """CPU seconds of a container's first process."""
    fields = Path(f"/proc/{running.containers()[service]['State']['Pid']}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _taken_by_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def told(each: Compared) -> str:
    """One line of the table."""
    said = ", ".join(f"{count} x {what}" for what, count in each.said.most_common())
    attack = f"  {each.name:<20}{each.made:>8}{each.most:>8}{each.door:>14.2f}{each.tool:>6.2f}"
    seconds = f"{each.without:>11.2f} s{each.attacked:>6.2f} s{each.times:>7.2f}"
    return f"{attack}{seconds}  {said}; goal <= {GOAL_TIMES:g} times {'met' if each.good else 'MISSED'}"


def weaknesses(address: str, authority: str) -> Counter[str]:
    """testssl.sh's findings by severity, without those of EXPLAINED; the authority is told, since it is our own."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        words = ["testssl", "--quiet", "--color", "0", "--warnings", "off", "--add-ca", authority]
        words += ["--jsonfile", str(report), "--severity", "LOW", address]
        subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=420)
        found = [each for each in json.loads(report.read_text()) if each["severity"] in _SEVERITIES]
    for each in found:
        why = f" (as it is to be: {EXPLAINED[each['id']]})" if _explained(each) else ""
        print(f"    {each['severity']} {each['id']}: {each['finding']}{why}", flush=True)
    return Counter(each["severity"] for each in found if not _explained(each))


def _explained(finding: dict[str, str]) -> bool:
    """A certificate that has run out is critical, and as it is to be nowhere."""
    return finding["id"] in EXPLAINED and finding["severity"] != "CRITICAL"


def open_outside(running: Appliance) -> tuple[set[str], set[str]]:
    """TCP and UDP ports that a machine outside finds open, WireGuard among them."""
    laptops.begin()
    try:
        done = running.make("wg-peer", "NAME=outside", f"ENDPOINT={laptops.gateway()}")
        if done.returncode:
            raise RuntimeError(done.stdout)
        return scanning.from_outside(running)
    finally:
        laptops.remove_all()


def run() -> None:
    missing = [package for tool, package in _PACKAGES.items() if not shutil.which(tool)]
    if missing:
        apt.update()
        apt.install(missing)
    seconds, bad = counted("SECONDS_EACH", 60), []
    with stack.appliance() as running:
        running.wait_healthy()
        line = stack.line_to(running)
        asking(line, 5)
        heading(f"{CONNECTIONS} slow connections while {CLIENTS} clients ask, {seconds} s with and {seconds} s without")
        print(HEADING, flush=True)
        for name in SLOW:
            each = compared(running, line, name, seconds)
            print(told(each), flush=True)
            bad += [] if each.good else [name]
        heading("TLS, with testssl.sh and sslyze")
        name = line.address.removeprefix("https://")
        severe = weaknesses(name, str(line.session.verify))
        for severity in _SEVERITIES:
            figure(severity.lower(), severe[severity], "", digits=0, goal=0 if severity in _SEVERITIES[:2] else None)
        letter = tls.grade(tls.scan(name))
        print(f"  {'grade of SSL Labs rating guide':<46}{letter:>12}", flush=True)
        bad += [] if letter in ("A", "A+") and not severe["CRITICAL"] + severe["HIGH"] else ["TLS"]
        heading("open from outside, with nmap")
        tcp, udp = open_outside(running)
        print(f"  tcp {', '.join(sorted(tcp, key=int))}; udp {', '.join(sorted(udp, key=int))}", flush=True)
        bad += [] if (tcp, udp) == scanning.OURS else ["ports"]
    if bad:
        sys.exit(f"not as it should be: {', '.join(bad)}")


if __name__ == "__main__":
    run()
