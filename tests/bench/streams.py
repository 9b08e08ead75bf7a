"""Many streams at once: 500 visitors who each read ten tokens a second.

The engine speaks by the clock and stamps each token with the time when it was sent (one clock for the whole machine),
so a token's lag is what the proxy and the wire took. Every answer is checked to the last byte against what the engine
sent. The database is a real mongod. There is no baseline beside it but the goals: no engine here could serve so many.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import resource
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import urlsplit

import requests

from tests.bench.appliance import gate, proxy, services
from tests.bench.figures import counted, figure, heading, percentile
from tests.doubles.paced_engine import PacedEngine
from tests.integration.proxy.conftest import Proxy, until

RATE, TOKENS = 10.0, 150  # tokens per second and stream; fifteen seconds
SPREAD_S = 2.0  # visitors do not all come in the same millisecond
GOAL_MEMORY_MB, GOAL_HEALTH_MS = 150.0, 100.0
PATIENCE = 6  # a stream that takes so many times its time is given up, and counts as incomplete
_PROBE_EVERY_S = 0.02
_STAMPED = re.compile(rb'"text":" ?\w+\.\d+\.(\d+)"')


@dataclass
class Visitor(asyncio.Protocol):
    """One stream; what comes is kept with its time and looked at when all is over, since the proxy needs the CPU."""

    request: bytes
    ended: asyncio.Future[None]
    pieces: list[tuple[float, bytes]] = field(default_factory=list)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.pieces.append((time.monotonic(), data))

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    @property
    def received(self) -> bytes:
        return b"".join(data for _, data in self.pieces)

    def lags(self) -> list[float]:
        """Seconds from the engine's write to our read, of each token."""
        ends = list(accumulate(len(data) for _, data in self.pieces))
        lags, piece = [], 0
        for stamp in _STAMPED.finditer(self.received):
            while ends[piece] < stamp.end():
                piece += 1
            lags.append(self.pieces[piece][0] - int(stamp[1]) / 1e6)
        return lags


def run() -> None:
    streams = counted("STREAMS", 500)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the proxy inherits it; it has two sockets a stream
    settings = {"STREAM_CAP": str(streams), "ENGINE_SLOTS": str(streams), "CONTEXT_SIZE": "4096"}
    with (
        services("mongo") as stack,
        PacedEngine(first_token_s=0.05, rate=RATE, tokens=TOKENS, stamped=True) as engine,
        proxy(stack, bots={"bench": TOKENS}, ENGINE_URL=engine.url, **settings) as running,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as prober,
    ):
        key = running.new_key("chat")
        # The first question opens what stays open: connections to the database, what the engine says about itself.
        asyncio.run(_visit(running.url, key, 1))
        idle = _resident_mb(running)
        heading(f"{streams} streams of {TOKENS} tokens, {RATE:.0f} tokens/s each")
        figure("/healthz p99, nobody else there", _p99_ms(prober.submit(probe, running.url, 2.0).result()), "ms")
        before = _cpu_s(running, engine)
        probing = prober.submit(probe, running.url, SPREAD_S + TOKENS / RATE)
        visitors, busiest, peak = asyncio.run(_watched(running, engine.url, key, streams))
        after = _cpu_s(running, engine)
        _tell(visitors, engine.url)
        figure("generating at the same time", busiest, "streams", digits=0)
        lags = [lag for visitor in visitors for lag in visitor.lags()]
        figure("token lag p50", 1000 * percentile(lags, 0.5), "ms")
        figure("token lag p99", 1000 * percentile(lags, 0.99), "ms")
        figure("token lag, worst", 1000 * max(lags), "ms")
        figure("/healthz p99 meanwhile", _p99_ms(probing.result()), "ms", goal=GOAL_HEALTH_MS)
        for who, seconds in after.items():
            figure(f"CPU per token, {who}", 1e6 * (seconds - before[who]) / (streams * TOKENS), "us", digits=0)
        figure("worker's resident memory, idle", idle, "MB")
        figure("worker's resident memory, most", peak, "MB", goal=GOAL_MEMORY_MB)
        until(lambda: gate(running) == (0, 0), 30)


async def _watched(running: Proxy, engine_url: str, key: str, streams: int) -> tuple[list[Visitor], int, float]:
    """The visitors; most streams at once, as the engine counts them; most memory of the worker, in MB."""
    visiting = asyncio.create_task(_visit(running.url, key, streams))
    busiest, peak = 0, 0.0
    while not visiting.done():
        await asyncio.wait([visiting], timeout=1)
        peak = max(peak, _resident_mb(running))
        busiest = max(busiest, await asyncio.to_thread(_generating, engine_url))
    return visiting.result(), busiest, peak


def _generating(engine_url: str) -> int:
    slots = requests.get(f"{engine_url}/slots", timeout=10).json()
    return sum(slot["is_processing"] for slot in slots)


async def _visit(url: str, key: str, streams: int) -> list[Visitor]:
    loop, parts = asyncio.get_running_loop(), urlsplit(url)
    visitors = []
    for number in range(streams):
        visitor = Visitor(_request(key, number), loop.create_future())
        visitors.append(visitor)
        await loop.create_connection(partial(_same, visitor), parts.hostname or "", parts.port or 80)
        await asyncio.sleep(SPREAD_S / streams)
    await asyncio.wait([visitor.ended for visitor in visitors], timeout=PATIENCE * TOKENS / RATE)
    return visitors


def _same(visitor: Visitor) -> Visitor:
    return visitor


def _request(key: str, number: int) -> bytes:
    body = json.dumps({"message": f"Tell me a story. {name(number)}", "stream": True, "bot": "bench"}).encode()
    head = f"POST /api/v1/chat HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def name(number: int) -> str:
    """What the engine finds in a question and puts into each of its tokens: a mixed-up stream shows."""
    return f"#v{number}#"


def _tell(visitors: Sequence[Visitor], engine_url: str) -> None:
    wrong = [number for number, visitor in enumerate(visitors) if not _is_right(visitor.received, number, engine_url)]
    figure("complete, every byte right", len(visitors) - len(wrong), f"of {len(visitors)}", digits=0)
    for number in wrong[:3]:
        print(f"    stream {number} ended with {visitors[number].received[-300:]!r}")


def _is_right(received: bytes, number: int, engine_url: str) -> bool:
    """Whether the tokens joined, the answer of `done` and what the engine sent are the same text, of TOKENS tokens."""
    told = events(received)
    if not told or told[-1][0] != "done":
        return False
    tokens = "".join(data["text"] for kind, data in told if kind == "token")
    sent = requests.get(f"{engine_url}/sent/{name(number).strip('#')}", timeout=5).json()["sha256"]
    # The engine's text begins with a space, which the proxy trims.
    got = hashlib.sha256(f" {tokens}".encode()).hexdigest()
    return tokens == told[-1][1]["answer"] and got == sent and len(tokens.split(" ")) == TOKENS


def events(received: bytes) -> list[tuple[str, dict[str, str]]]:
    """Names and data of the events in a whole HTTP answer, chunked as it came."""
    _, _, rest = received.partition(b"\r\n\r\n")
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body, rest = body + rest[:length], rest[length + 2 :]
    told = []
    for block in body.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "event" in lines:
            told.append((lines["event"], json.loads(lines["data"])))
    return told


def probe(url: str, seconds: float) -> list[float]:
    """How long each of many /healthz took, in seconds; in a process of its own, so that it waits for nobody else."""
    times, end = [], time.monotonic() + seconds
    session = requests.Session()
    while time.monotonic() < end:
        begun = time.perf_counter()
        session.get(f"{url}/healthz", timeout=30).raise_for_status()
        times.append(time.perf_counter() - begun)
        time.sleep(_PROBE_EVERY_S)
    return times


def _p99_ms(times: Sequence[float]) -> float:
    return 1000 * percentile(times, 0.99)


def _worker(running: Proxy) -> int:
    """gunicorn's worker, the one child of its arbiter."""
    pid = running.process.pid
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _cpu_s(running: Proxy, engine: PacedEngine) -> dict[str, float]:
    """CPU seconds so far: how much of the machine is the proxy's, how much the measuring itself takes."""
    ticks = os.sysconf("SC_CLK_TCK")
    seconds = {}
    for who, pid in {"proxy": _worker(running), "engine's stand-in": engine.pid, "visitors": os.getpid()}.items():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        seconds[who] = (int(fields[11]) + int(fields[12])) / ticks
    return seconds


def _resident_mb(running: Proxy) -> float:
    """Resident memory of gunicorn's worker, in 10^6 bytes."""
    status = Path(f"/proc/{_worker(running)}/status").read_text()
    kib = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(kib[1]) * 1024 / 1e6 if kib else 0.0


if __name__ == "__main__":
    run()
