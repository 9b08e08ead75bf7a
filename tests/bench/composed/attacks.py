"""Public tools against the composed appliance: a thousand slow connections while people chat, and its TLS.

    make bench ONLY=attacks

slowhttptest opens 1,000 connections that send headers a piece at a time (-H), a body a piece at a time (-B), or read
their answer a few bytes at a time (-X); p95 of a whole question is held beside what it is without. testssl.sh looks
for the known weaknesses. Both are Debian's packages. What else attacks it is in the tests: nmap from outside
(tests/stack/test_vpn.py), sslyze against Mozilla's advice (tests/integration/edge), schemathesis over every route
(tests/unit/proxy/test_fuzz.py, tests/integration/proxy/test_fuzz.py), bandit, pip-audit and checkov (`make audit`).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from scripts.lib import apt
from tests.bench.composed import crowd, ledger, stack
from tests.bench.composed.crowd import Line, ask
from tests.bench.composed.ledger import Ledger, Outcome
from tests.bench.figures import counted, figure, heading, percentile

CONNECTIONS = 1000
GOAL_TIMES = 2.0
_PACKAGES = {"slowhttptest": "slowhttptest", "testssl": "testssl.sh"}
SLOW = {
    "slow headers (-H)": ["-H", "-i", "5", "-t", "GET", "-u", "{}/chat"],
    "slow body (-B)": ["-B", "-i", "5", "-s", "8192", "-t", "POST", "-u", "{}/api/v1/chat"],
    "slow read (-X)": ["-X", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "3", "-u", "{}/widget.js"],
}


class Asking:
    """Three clients who ask all the while."""

    def __init__(self, line: Line) -> None:
        self.book = Ledger()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(line.again(),), daemon=True) for _ in range(3)]
        for thread in self._threads:
            thread.start()

    def _run(self, line: Line) -> None:
        while not self._end.is_set():
            ask(line, self.book, "brief", crowd.question())
            self._end.wait(0.3)

    def during(self, seconds: float) -> list[Outcome]:
        begun = time.monotonic()
        time.sleep(seconds)
        return [each for each in self.book.since(begun) if each.begun >= begun]

    def stop(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(ledger.SILENCE_S)


def p95(outcomes: list[Outcome]) -> float:
    """Seconds of a whole question; those that failed count with what they took."""
    return percentile([each.ended - each.begun for each in outcomes], 0.95)


def slow(address: str, words: list[str], seconds: int) -> subprocess.Popen[str]:
    filled = [word.format(address) for word in words]
    command = ["slowhttptest", "-c", str(CONNECTIONS), "-r", "250", "-l", str(seconds), "-p", "5", *filled]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def connected(said: str) -> tuple[int, str]:
    """The most connections that were open at once, and how the tool ended."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
    most = max((int(found) for found in re.findall(r"connected:\s+(\d+)", plain)), default=0)
    ended = re.findall(r"Exit status:\s*(.+)", plain)
    return most, ended[-1].strip() if ended else "no exit status"


def weaknesses(address: str, authority: str) -> Counter[str]:
    """testssl.sh's findings by severity; the authority is told, since these are the tests' own certificates."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        words = ["testssl", "--quiet", "--color", "0", "--warnings", "off", "--add-ca", authority]
        words += ["--jsonfile", str(report), "--severity", "LOW", address.removeprefix("https://")]
        subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=420)
        found = [each for each in json.loads(report.read_text()) if each["id"] != "scanTime"]
    for each in found:
        print(f"    {each['severity']} {each['id']}: {each['finding']}", flush=True)
    return Counter(each["severity"] for each in found)


def run() -> None:
    missing = [package for tool, package in _PACKAGES.items() if not shutil.which(tool)]
    if missing:
        apt.update()
        apt.install(missing)
    seconds = counted("SECONDS_EACH", 30)
    missed = []
    with stack.appliance() as running:
        running.wait_healthy()
        line = stack.line_to(running)
        asking = Asking(line)
        asking.during(5)
        without = asking.during(seconds)
        heading(f"{CONNECTIONS} slow connections while three clients ask, {seconds} s each")
        figure("a question without them, p95", p95(without), "s", digits=2)
        for name, words in SLOW.items():
            tool = slow(line.address, words, seconds + 10)
            time.sleep(5)  # all of them are there
            outcomes = asking.during(seconds)
            most, ended = connected(tool.communicate(timeout=120)[0])
            ratio = p95(outcomes) / p95(without)
            said = dict(ledger.counted(outcomes))
            figure(f"{name}, p95 against without", ratio, "times", digits=2, goal=GOAL_TIMES)
            print(f"    {most} at once, ended by: {ended}; clients saw {said}", flush=True)
            if ratio > GOAL_TIMES or set(said) != {"200"}:
                missed.append(name)
            asking.during(5)
        asking.stop()
        heading("testssl.sh")
        severe = weaknesses(line.address, str(line.session.verify))
        for severity in ("CRITICAL", "HIGH", "MEDIUM", "LOW"):
            figure(
                severity.lower(), severe[severity], "", digits=0, goal=0 if severity in ("CRITICAL", "HIGH") else None
            )
    if missed or severe["CRITICAL"] or severe["HIGH"]:
        sys.exit(f"not as it should be: {', '.join(missed) or 'TLS'}")


if __name__ == "__main__":
    run()
