"""The HTTP side: a fixed pool of threads on one listening socket, HTTP/1.0, CORS open to everybody."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence
from types import TracebackType

from .dialects import DIALECTS
from .faults import Fault
from .handler import Handler
from .received import RecordedRequest
from .slot import Generation, Reply, Slot
from .tokenizer import DEFAULT_CONTROL_TOKENS, Tokenizer

THREADS = 24  # koboldcpp's own number: the 25th connection waits, be it only to `abort` or `perf`


class KoboldcppDouble:
    """A running double; a context manager that ends it.

    Args:
        version: one of `DIALECTS`.
        reply: the model's answer as tokens, or a callable that makes it from the request's parameters.
        token_delay: seconds per token.
        first_token_delay: seconds for reading a prompt (not interrupted by a client that leaves).
        first_event_delay: seconds after which a stream's first event can come; 0.35 in the real server.
        password: koboldcpp's API key; needed for generation, abort, check and tokencount alone.
        context_size: tokens, prompt and answer together.
        model: the name in ``/api/v1/model``, without the ``koboldcpp/`` in front.
        multiuser: koboldcpp's queue flag, see `Slot`.
        vision: whether a model that can see is loaded, as ``/api/extra/version`` tells.
        image_tokens: what its projector makes of an image.
        control_tokens: strings of the vocabulary that become one control id each.
        host, port: where to listen; port 0 takes a free one.
        threads: the pool's size.
    """

    def __init__(
        self,
        version: str = "1.115.1",
        *,
        reply: Reply = ("Hello", " there", "."),
        token_delay: float = 0.0,
        first_token_delay: float = 0.0,
        first_event_delay: float = 0.35,
        password: str | None = None,
        context_size: int = 4096,
        model: str = "double",
        multiuser: int = 10,
        vision: bool = False,
        image_tokens: int = 256,
        control_tokens: Sequence[str] = DEFAULT_CONTROL_TOKENS,
        host: str = "127.0.0.1",
        port: int = 0,
        threads: int = THREADS,
    ) -> None:
        if version not in DIALECTS:
            raise ValueError(f"no double for koboldcpp {version}; there are {', '.join(DIALECTS)}")
        self.dialect = DIALECTS[version]
        self.tokenizer = Tokenizer(control_tokens)
        self.slot = Slot(
            self.dialect,
            self.tokenizer,
            reply=reply,
            context_size=context_size,
            first_token_delay=first_token_delay,
            token_delay=token_delay,
            multiuser=multiuser,
            image_tokens=image_tokens if vision else 0,
        )
        self.first_event_delay = first_event_delay
        self.password = password
        self.model = model
        self.vision = vision
        self.fault: Fault | None = None
        self.requests: list[RecordedRequest] = []
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._socket = socket.create_server((host, port), backlog=threads)
        self.host, self.port = self._socket.getsockname()[:2]
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(threads)]

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def reply(self) -> Reply:
        """What the next generation answers; may be set at any time."""
        return self.slot.reply

    @reply.setter
    def reply(self, reply: Reply) -> None:
        self.slot.reply = reply

    @property
    def generations(self) -> list[Generation]:
        """Every generation begun, oldest first: what was read of its prompt, its tokens, how it ended."""
        return self.slot.generations

    def requests_to(self, path: str) -> list[RecordedRequest]:
        """The recorded requests whose path ends in `path`."""
        with self._lock:
            return [request for request in self.requests if request.path.rstrip("/").endswith(path)]

    def record(self, request: RecordedRequest) -> None:
        with self._lock:
            self.requests.append(request)

    def start(self) -> KoboldcppDouble:
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Close everything at once, as a killed engine does: clients in mid-answer lose their connection."""
        self.stopping.set()
        self.slot.abort_current()
        with contextlib.suppress(OSError):  # raised where it is closed already
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the threads that wait in accept()
        self._socket.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):  # raised where the client was faster
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=2)

    def _serve(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, address = self._socket.accept()
            except OSError:
                return  # the listening socket is closed
            with self._lock:
                self._connections.add(connection)
            try:
                Handler(self, connection, address)
            except Exception:
                pass  # the real server prints the traceback and drops the connection
            finally:
                with self._lock:
                    self._connections.discard(connection)
                connection.close()

    def __enter__(self) -> KoboldcppDouble:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
