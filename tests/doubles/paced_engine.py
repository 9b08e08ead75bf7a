"""An engine of constant behaviour: llama.cpp's protocol, tokens by the clock, no model.

What a benchmark measures beside it is the proxy alone. It speaks `/v1/completions` and `/v1/chat/completions` as
streams, `/tokenize`, `/v1/models`, `/slots` and `/health`, as many at once as ask. A program of its own, so that it
takes no time from the one that measures::

    with PacedEngine(first_token_s=0.005, rate=100, tokens=20) as engine:
        requests.post(engine.url + "/v1/completions", json={"prompt": "Name #a#", "stream": True, "max_tokens": 5})

Token k of an answer is `` NAME.k``, NAME being what the prompt's last ``#NAME#`` holds; with `stamped` it is
`` NAME.k.T``, T being CLOCK_MONOTONIC (one clock for all processes of a machine) in microseconds as it was sent.
`GET /sent/NAME` gives the SHA-256 of the text sent under that name, `GET /seen` the last generation's request.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CONTEXT = 4096
BYTES_PER_TOKEN = 4
_NAME = re.compile(r"#(\w+)#")
_AT_ONCE = 64  # tokens written before others get their turn, where there is no rate


@dataclass(frozen=True)
class Pace:
    """Seconds until the first token, tokens per second (0 = as fast as they are read), tokens of an answer."""

    first_token_s: float = 0.005
    rate: float = 100.0
    tokens: int = 64
    stamped: bool = False
    slots: int = 1


def answer(name: str, tokens: int) -> str:
    """The whole answer, as a client gets it that trims white space."""
    return " ".join(f"{name}.{k}" for k in range(tokens))


class PacedEngine:
    """The engine as a child process; a context manager. `kill` and `start` again keep the port."""

    def __init__(self, *, port: int = 0, **pace: Any) -> None:
        self.pace, self._port = Pace(**pace), port
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Of the running process; raises RuntimeError where there is none."""
        if self._process is None:
            raise RuntimeError("the paced engine does not run")
        return self._process.pid

    def start(self) -> PacedEngine:
        pace = [f"--{name.replace('_', '-')}={value}" for name, value in vars(self.pace).items() if name != "stamped"]
        words = [sys.executable, "-m", __spec__.name, f"--port={self._port}", *pace]
        words += ["--stamped"] if self.pace.stamped else []
        self._process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("listening on "):
            raise RuntimeError("the paced engine did not start")
        self._port = int(line.rpartition(":")[2])
        return self

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self._process:
            self._process.kill()
            self._process.wait()
            if self._process.stdout:
                self._process.stdout.close()
            self._process = None

    def __enter__(self) -> PacedEngine:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


class _Engine:
    """What all connections share."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.running = 0
        self.seen: Any = None
        self.sent: dict[str, str] = {}

    def look(self, path: str) -> Any:
        """The answer to `GET path`, None where there is none."""
        if path.startswith("/sent/"):
            return {"sha256": self.sent.get(path.removeprefix("/sent/"))}
        model = {"id": "paced", "object": "model", "owned_by": "llamacpp", "meta": {"n_ctx": CONTEXT}}
        slots = max(self.pace.slots, self.running)
        return {
            "/health": {"status": "ok"},
            "/v1/models": {"object": "list", "data": [model]},
            "/slots": [{"id": n, "is_processing": n < self.running} for n in range(slots)],
            "/seen": self.seen,
        }.get(path)


class _Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive; one request at a time."""

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._received = b""
        self._stream: _Stream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self._stream:
            self._stream.stop()

    def resume_writing(self) -> None:
        if self._stream:
            self._stream.paused = False
            self._stream.go_on()

    def pause_writing(self) -> None:
        if self._stream:
            self._stream.paused = True

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        size = int(length[1]) if length else 0
        if len(rest) < size:
            return
        self._received = rest[size:]
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        self._answer(method, path, rest[:size])

    def _answer(self, method: str, path: str, body: bytes) -> None:
        if method == "GET":
            found = self._engine.look(path)
            self._json(200 if found is not None else 404, found)
            return
        fields = json.loads(body)
        if path == "/tokenize":
            self._json(200, {"tokens": [0] * -(-len(fields["content"].encode()) // BYTES_PER_TOKEN)})
        elif path in ("/v1/completions", "/v1/chat/completions") and fields.get("stream"):
            self._engine.seen = fields
            self._stream = _Stream(self._engine, self._transport, fields, chat=path.endswith("/chat/completions"))
        else:
            self._json(404, {"error": {"message": "only streams of completions are made here"}})

    def _json(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


class _Stream:
    """One answer on its way; `stop` ends it early."""

    def __init__(self, engine: _Engine, transport: asyncio.Transport, fields: dict[str, Any], *, chat: bool) -> None:
        self._engine, self._transport, self._chat = engine, transport, chat
        prompt = fields["messages"][-1]["content"] if chat else fields["prompt"]
        # Content may be a list of parts, as some clients write it.
        self._prompt = prompt if isinstance(prompt, str) else json.dumps(prompt)
        names = _NAME.findall(self._prompt)
        self._name = names[-1] if names else "t"
        self._total = min(engine.pace.tokens, fields.get("max_tokens") or engine.pace.tokens)
        self._digest = hashlib.sha256()
        self._sent = 0
        self.paused = False
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time() + engine.pace.first_token_s
        self._timer = self._loop.call_at(self._begun, self._begin)
        engine.running += 1

    def stop(self) -> None:
        if not self._ended:
            self._ended = True
            self._engine.running -= 1
            self._timer.cancel()

    def go_on(self) -> None:
        """Write the tokens that are due, then wait for the next."""
        if self._ended or self.paused:
            return
        rate = self._engine.pace.rate
        due = int((self._loop.time() - self._begun) * rate) + 1 if rate else self._sent + _AT_ONCE
        while self._sent < min(due, self._total):
            self._token()
        if self._sent >= self._total:
            self._end()
        elif not rate:
            self._loop.call_soon(self.go_on)
        else:
            self._timer = self._loop.call_at(self._begun + self._sent / rate, self.go_on)

    def _begin(self) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        if self._chat:
            self._event({"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None})
        self.go_on()

    def _token(self) -> None:
        text = f" {self._name}.{self._sent}"
        if self._engine.pace.stamped:
            text += f".{time.monotonic_ns() // 1000}"
        self._digest.update(text.encode())
        self._sent += 1
        said = {"delta": {"content": text}} if self._chat else {"text": text, "logprobs": None}
        self._event({"index": 0, **said, "finish_reason": None})

    def _end(self) -> None:
        last: dict[str, Any] = {"delta": {}} if self._chat else {"text": ""}
        self._event({"index": 0, **last, "finish_reason": "length"})
        prompt_tokens = -(-len(self._prompt.encode()) // BYTES_PER_TOKEN)
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": self._sent}
        self._event(None, usage={**usage, "total_tokens": prompt_tokens + self._sent})
        self._write(b"data: [DONE]\n\n")
        self._transport.write(b"0\r\n\r\n")
        self._engine.sent[self._name] = self._digest.hexdigest()
        self.stop()

    def _event(self, choice: dict[str, Any] | None, **more: Any) -> None:
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        event = {"id": f"paced-{self._name}", "object": kind, "created": 1, "model": "paced", **more}
        self._write(f"data: {json.dumps({'choices': [choice] if choice else [], **event})}\n\n".encode())

    def _write(self, data: bytes) -> None:
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))


async def _serve(port: int, pace: Pace) -> None:
    loop, engine = asyncio.get_running_loop(), _Engine(pace)
    server = await loop.create_server(lambda: _Connection(engine), "127.0.0.1", port, backlog=1024)
    print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="An engine whose tokens come by the clock.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--first-token-s", type=float, default=Pace.first_token_s)
    parser.add_argument("--rate", type=float, default=Pace.rate, help="tokens per second; 0 = as fast as they are read")
    parser.add_argument("--tokens", type=int, default=Pace.tokens)
    parser.add_argument("--slots", type=int, default=Pace.slots)
    parser.add_argument("--stamped", action="store_true")
    options = vars(parser.parse_args())
    asyncio.run(_serve(options.pop("port"), Pace(**options)))


if __name__ == "__main__":
    main()
