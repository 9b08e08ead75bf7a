"""One connection: koboldcpp's routes and their answers, right or wrong."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from . import status, stream
from .faults import Fault, FaultKind
from .received import GenerationParameters, RecordedRequest, decode_json
from .slot import Generation

if TYPE_CHECKING:
    from .server import KoboldcppDouble

MAX_BODY = 32 * 1024 * 1024
_ALLOWED_HEADERS = (
    "*, Accept, Content-Type, Content-Length, Cache-Control, Accept-Encoding, X-CSRF-Token, Client-Agent, X-Fields, "
    "Content-Type, Authorization, X-Requested-With, X-HTTP-Method-Override, apikey, genkey"
)
_GENERATE = ("/api/v1/generate", "/api/latest/generate")
_STREAM = "/api/extra/generate/stream"
_CHAT = "/v1/chat/completions"


class Handler(BaseHTTPRequestHandler):
    server_version = "ConcedoLlamaForKoboldServer"
    sys_version = ""
    protocol_version = "HTTP/1.0"

    def __init__(self, double: KoboldcppDouble, connection: socket.socket, address: Any) -> None:
        self.double = double
        self.slot = double.slot
        super().__init__(connection, address, double)  # type: ignore[arg-type]  # no socketserver behind it

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet, as with ``--quiet``."""

    def end_headers(self) -> None:
        self.send_header("access-control-allow-origin", "*")
        self.send_header("access-control-allow-methods", "*")
        self.send_header("access-control-allow-headers", _ALLOWED_HEADERS)
        self.send_header("cache-control", "no-store")
        super().end_headers()

    # -- routes

    def do_OPTIONS(self) -> None:
        self._record(b"")
        self._answer(200, b"", "text/html")

    def do_HEAD(self) -> None:
        self._record(b"")
        self._answer(200, b"", "text/html")

    def do_GET(self) -> None:
        self._record(b"")
        path = self.path.rstrip("/")
        if path.endswith("/api/extra/generate/check"):
            if self._authorized():
                self._answer_json({"results": [{"text": self.slot.pending_text("")}]})
            return
        answer = status.read(self.double, path)
        if answer is None:
            text = b"Error: HTTP Server is running, but this endpoint does not exist. Please check the URL."
            self._answer(404, text, "text/html", length=False)
        else:
            self._answer_json(answer)

    def do_POST(self) -> None:
        length = int(self.headers["content-length"] or 0)
        if length > MAX_BODY:
            self._record(b"")
            self._refuse(500, "Payload is too big. Max payload size is 32MB.", "bad_input")
            return
        body = self.rfile.read(length)
        self._record(body)
        path = self.path.rstrip("/")
        small: dict[str, Callable[[Any], None]] = {
            "/api/extra/tokencount": self._count_tokens,
            "/api/extra/abort": self._abort,
            "/api/extra/generate/check": self._check,
        }
        for suffix, answer in small.items():
            if path.endswith(suffix):
                if self._authorized():
                    answer(decode_json(body))
                return
        self._queue_up(path, body)

    def _count_tokens(self, fields: Any) -> None:
        text = fields.get("prompt", "") if isinstance(fields, dict) else None
        if not isinstance(text, str):
            self._answer_json({"value": -1}, code=400)
            return
        ids = self.double.tokenizer.encode(text, bos=bool(fields.get("special", True)))
        self._answer_json({"value": len(ids), "ids": ids})

    def _abort(self, fields: Any) -> None:
        answer = self.slot.abort(_genkey(fields))
        if answer["done"] == "true":
            time.sleep(0.1)
        self._answer_json(answer)

    def _check(self, fields: Any) -> None:
        self._answer_json({"results": [{"text": self.slot.pending_text(_genkey(fields))}]})

    # -- generation

    def _queue_up(self, path: str, body: bytes) -> None:
        """Wait for the slot, whatever the path: an unknown one gets its 404 only when it is its turn."""
        fault = self.double.fault
        if (fault and fault.kind is FaultKind.BUSY) or not self.slot.acquire():
            self._refuse(503, "Server is busy; please try again later.", "service_unavailable")
            return
        try:
            if path.endswith((*_GENERATE, _STREAM)):
                if self._authorized():
                    self._generate(body, streamed=path.endswith(_STREAM))
                return
            if path.endswith(_CHAT):
                if self._authorized():
                    self._chat(body)
                return
        finally:
            self.slot.release()
        self._answer(404, b"", "text/html", length=False)

    def _generate(self, body: bytes, *, streamed: bool) -> None:
        try:
            fields = json.loads(body)
        except ValueError:
            self._refuse(500, "Error parsing input.", "bad_input")
            return
        fields = dict(fields.items())  # anything but an object ends the connection here
        try:
            parameters = GenerationParameters.read(fields, self.double.dialect, self.slot.context_size)
        except TypeError:
            parameters = None
        if parameters is None or (self.double.fault and self.double.fault.kind is FaultKind.NULL):
            self._fail(streamed=streamed)
            return
        generation = self.slot.begin(parameters)
        if streamed:
            self._stream(generation)
        else:
            self._answer_whole(generation)

    def _chat(self, body: bytes) -> None:
        """OpenAI's route, whole answers of one turn alone; a message without content ends the connection."""
        fields = json.loads(body)
        contents = [message["content"] for message in fields["messages"]]
        parts = [part for content in contents if isinstance(content, list) for part in content]
        texts = [content for content in contents if isinstance(content, str)]
        texts += [part["text"] for part in parts if part["type"] == "text"]
        order = {"prompt": "\n".join(texts), "max_length": fields["max_tokens"], "genkey": _genkey(fields)}
        generation = self.slot.begin(GenerationParameters.read(order, self.double.dialect, self.slot.context_size))
        self.slot.run(generation)
        fault = self.double.fault
        if fault and fault.kind is FaultKind.SILENCE:
            self._hang()
            return
        message = {"role": "assistant", "content": generation.text}
        choice = {"index": 0, "message": message, "finish_reason": generation.finish_reason}
        self._answer_json({"object": "chat.completion", "choices": [choice]}, fault=fault)

    def _fail(self, *, streamed: bool) -> None:
        """A generation that died before it began: `null`, or a stream that never says anything.

        The stream's own header keeps the connection open, so that its thread waits for a next request on it.
        """
        if streamed:
            self._begin_stream()
        else:
            self._answer_json(None)

    def _answer_whole(self, generation: Generation) -> None:
        self.slot.run(generation)
        fault = self.double.fault
        if fault and fault.kind is FaultKind.SILENCE:
            self._hang()
            return
        parameters = generation.parameters
        text = stream.trim(generation.text, parameters.stop_sequence) if parameters.trim_stop else generation.text
        result: dict[str, Any] = {"text": text, "finish_reason": generation.finish_reason}
        if fault and fault.kind is FaultKind.ERROR_REASON:
            result.update(text="", finish_reason="error")
        if self.double.dialect.reports_usage:
            usage = {"prompt_tokens": generation.prompt_tokens, "completion_tokens": len(generation.tokens)}
            result |= {"tool_calls": [], "logprobs": None, **usage}
        self._answer_json({"results": [result]}, fault=fault)

    def _stream(self, generation: Generation) -> None:
        worker = threading.Thread(target=self.slot.run, args=(generation,), daemon=True)
        worker.start()
        try:
            self._begin_stream()
            self._send_events(generation)
        except OSError:  # the client has gone; noticed only when something is written
            self.slot.abort_current()
            time.sleep(0.2)
        worker.join()
        self.close_connection = True

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("X-Accel-Buffering", "no")
        self.send_header("cache-control", "no-cache")
        self.send_header("connection", "keep-alive")
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.flush()

    def _send_events(self, generation: Generation) -> None:
        events = stream.events(generation, self.double.dialect, self.double.first_event_delay)
        for sent, event in enumerate(events):
            fault = self.double.fault
            if fault and fault.kind is FaultKind.DRIP:
                self._drip(event, fault.interval)
            elif fault and fault.kind is FaultKind.ERROR_REASON:
                if generation.done.is_set():
                    self.wfile.write(stream.event("", "error"))
            elif fault and fault.kind is FaultKind.ENDLESS:
                self._go_on_for_ever()
                return
            elif fault and sent >= fault.after_tokens:
                self._break_off(fault)
                return
            else:
                self.wfile.write(event)
            self.wfile.flush()

    def _break_off(self, fault: Fault) -> None:
        """End a stream badly: by silence, by bytes that are no events or by a closed connection."""
        if fault.kind is FaultKind.SILENCE:
            self._hang()
        elif fault.kind is FaultKind.TRICKLE:
            self._trickle(fault.interval)
        elif fault.kind is FaultKind.BODY:
            self.wfile.write(fault.data)
        elif fault.kind is FaultKind.GARBAGE:
            self.wfile.write(b'event: message\ndata: {"token": \xff\xfe<html>\n\n')
        self.slot.abort_current()

    def _trickle(self, interval: float) -> None:
        """A line that never ends, until the client leaves (the write then fails), or the fault is taken away."""
        self.wfile.write(b"data: ")
        while self.double.fault is not None and not self.double.stopping.wait(interval):
            self.wfile.write(b"x")
            self.wfile.flush()

    def _go_on_for_ever(self) -> None:
        while self.double.fault is not None and not self.double.stopping.is_set():
            self.wfile.write(stream.event(" more", self.double.dialect.pending_finish_reason))
            self.wfile.flush()

    def _hang(self) -> None:
        """Say nothing until the client leaves, the fault is taken away or the double stops."""
        self.connection.settimeout(0.05)
        while self.double.fault is not None and not self.double.stopping.is_set():
            try:
                if self.connection.recv(1) == b"":
                    return
            except TimeoutError:
                continue
            except OSError:
                return

    # -- answers

    def _record(self, body: bytes) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.double.record(RecordedRequest(self.command, self.path, headers, body, decode_json(body)))

    def _authorized(self) -> bool:
        given = self.headers.get("authorization", "")
        if not self.double.password or given.removeprefix("Bearer ").strip() == self.double.password:
            return True
        self._refuse(401, "Authentication key is missing or invalid.", "unauthorized", error="Unauthorized")
        return False

    def _refuse(self, code: int, message: str, kind: str, **more: str) -> None:
        """koboldcpp's error body; it carries no content-length and no Retry-After."""
        self._answer(code, json.dumps({"detail": {**more, "msg": message, "type": kind}}).encode(), length=False)

    def _answer_json(self, value: Any, *, code: int = 200, fault: Fault | None = None) -> None:
        self._answer(code, json.dumps(value).encode(), fault=fault)

    def _answer(
        self,
        code: int,
        body: bytes,
        content_type: str = "application/json",
        *,
        length: bool = True,
        fault: Fault | None = None,
    ) -> None:
        self.send_response(code)
        if length:
            self.send_header("content-length", str(len(body)))
        self.send_header("content-type", content_type)
        self.end_headers()
        if fault and fault.kind is FaultKind.DRIP:
            self._drip(body, fault.interval)
        elif fault and fault.kind is FaultKind.DROP:
            self.wfile.write(body[: len(body) // 2])
        elif fault and fault.kind is FaultKind.GARBAGE:
            self.wfile.write(b"\xff\xfe<html>"[: len(body)].ljust(len(body)))
        else:
            self.wfile.write(body)

    def _drip(self, data: bytes, interval: float) -> None:
        for position in range(len(data)):
            self.wfile.write(data[position : position + 1])
            self.wfile.flush()
            if self.double.stopping.wait(interval):
                return


def _genkey(fields: Any) -> str:
    key = fields.get("genkey", "") if isinstance(fields, dict) else ""
    return key if isinstance(key, str) else ""
