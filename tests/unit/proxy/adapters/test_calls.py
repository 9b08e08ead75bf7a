"""Calls to the services beside us end in time, whatever they wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from chatproxy.adapters.calls import CallFailed, Service
from chatproxy.adapters.embeddings import Embeddings
from chatproxy.errors import SearchUnavailable
from tests.unit.proxy.adapters.raw_server import RawServer, answer

SILENT = [6.0]


def seconds(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def test_waiting_for_a_connection_is_part_of_the_time_that_a_call_has() -> None:
    with RawServer({"/slow": SILENT, "/fast": answer(b"{}")}) as server, ThreadPoolExecutor(4) as others:
        service = Service(server.url)
        held = [others.submit(service.get, "/slow", timeout_s=2.0) for _ in range(4)]
        while len(server.requests) < len(held):
            time.sleep(0.01)

        def fifth() -> None:
            with pytest.raises(CallFailed, match=r"no connection free within 0\.3 s"):
                service.get("/fast", timeout_s=0.3)

        assert 0.2 < seconds(fifth) < 1.5
        for each in held:
            with pytest.raises(CallFailed, match="no answer within 2 s"):
                each.result(10)
        assert service.get("/fast", timeout_s=5.0) == {}


def test_failed_calls_leave_their_connections_to_others() -> None:
    with RawServer({"/broken": answer(b"{"), "/fast": answer(b"{}")}) as server:
        service = Service(server.url)
        for path in ("/broken", "/missing") * 4:
            with pytest.raises(CallFailed):
                service.get(path, timeout_s=5.0)
        assert service.get("/fast", timeout_s=5.0) == {}


def test_a_question_waits_for_its_vector_as_long_as_it_may() -> None:
    with RawServer({"/v1/embeddings": SILENT}) as server:
        embeddings = Embeddings(server.url, timeout_s=0.3)

        def ask() -> None:
            with pytest.raises(SearchUnavailable, match=r"no answer within 0\.3 s"):
                embeddings.embed(["When are you open?"])

        assert seconds(ask) < 2


def test_the_service_is_there_while_all_its_connections_wait_for_vectors() -> None:
    with RawServer({"/v1/embeddings": SILENT, "/healthz": answer(b'{"model": "m"}')}) as server:
        embeddings = Embeddings(server.url, timeout_s=4.0)
        threads = [threading.Thread(target=_quietly, args=(embeddings,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        while len(server.requests) < len(threads):
            time.sleep(0.01)
        assert seconds(embeddings.check) < 2
        assert embeddings.model() == "m"
        for thread in threads:
            thread.join(10)


def _quietly(embeddings: Embeddings) -> None:
    with pytest.raises(SearchUnavailable):
        embeddings.embed(["x"])
