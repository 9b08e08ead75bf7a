"""No address leads inside: whatever is asked for, directly or by a redirect, no connection is made to it.

Two things watch: a listener on every address of this machine, and Python's audit hook, which sees each attempt to
connect, to whatever address and port.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import requests

from chatproxy.adapters.connecting import Timeouts
from chatproxy.adapters.destinations import Destinations, judge, system_resolver
from chatproxy.adapters.fetching import Fetcher
from chatproxy.core.knowledge import FetchError
from chatproxy.core.urls import read
from tests.unit.proxy.adapters.crawled_site import Listener, Site, redirect
from tests.unit.proxy.adapters.ssrf_vectors import LOOPBACK, NAMES, VECTORS

AGENT = "TestCrawler/1.0 (+https://example.test/)"
SHORT = Timeouts(connect_s=1, read_s=1, total_s=2)

_attempts: list[Any] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        _attempts.append(arguments[1][:2])


sys.addaudithook(_audit)


def resolve(host: str, port: int) -> Sequence[str]:
    if host in NAMES:
        return NAMES[host]
    if host == "localhost":
        return system_resolver(host, port)
    raise OSError("no such name")


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    listening = Listener()
    yield listening
    listening.close()


@pytest.fixture(autouse=True)
def nothing_yet(listener: Listener) -> None:
    _attempts.clear()
    listener.connections.clear()


@pytest.fixture(scope="module")
def fetcher(listener: Listener) -> Fetcher:
    destinations = Destinations(resolve=resolve, ports=(80, 443, listener.port))
    return Fetcher(AGENT, destinations=destinations, timeouts=SHORT)


def test_the_table_is_long_enough_to_mean_something() -> None:
    assert len(set(VECTORS)) == len(VECTORS) >= 150


@pytest.mark.parametrize("vector", VECTORS)
def test_no_connection_is_made_to(vector: str, fetcher: Fetcher, listener: Listener) -> None:
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(vector.replace("{port}", str(listener.port)))
    assert caught.value.code in ("fetch_refused", "fetch_failed")
    assert (_attempts, listener.connections) == ([], [])


@pytest.mark.parametrize("vector", VECTORS)
def test_no_redirect_leads_to(vector: str, fetcher: Fetcher, listener: Listener) -> None:
    target = vector.replace("{port}", str(listener.port)).replace("\r", "").replace("\n", "").replace("\x00", "")
    with Site({"/": redirect(target.encode().decode("latin-1"))}) as site:
        try:
            answer = fetcher.fetch(site.url + "/", allowed={("127.0.0.1", site.port)})
        except FetchError as error:
            assert error.code in ("fetch_refused", "fetch_failed")
        else:  # some of them name nothing but a path where they stand
            assert (answer.address.host, answer.address.port) == ("127.0.0.1", site.port)
    assert set(_attempts) == {("127.0.0.1", site.port)}
    assert listener.connections == []


@pytest.mark.parametrize(
    "vector", [each for each in LOOPBACK if "127" in each and "[" not in each and ".:" not in each]
)
def test_a_naive_client_is_led_inside_by_the_same_table(vector: str, listener: Listener) -> None:
    """Not all that browsers read is read by this client; what it reads must get through, or the table shows nothing."""
    answer = requests.get(vector.replace("{port}", str(listener.port)), timeout=2)
    assert answer.text == "secret"


def test_a_name_is_resolved_once_and_its_first_answer_is_where_the_connection_goes() -> None:
    """Rebinding: the second look-up would give another address, and there is none."""
    answers = [["127.0.0.1"], ["127.0.0.2"], ["127.0.0.3"]]
    asked = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers.pop(0)

    with Site({"/": (200, {}, b"hello")}) as site:
        fetcher = Fetcher(AGENT, destinations=Destinations(resolve=rebinding))
        fetched = fetcher.fetch(f"http://rebind.test:{site.port}/", allowed={("rebind.test", site.port)})
    assert fetched.body == b"hello"
    assert asked == ["rebind.test"]
    assert _attempts == [("127.0.0.1", site.port)]
    assert site.heads[0]["host"] == f"rebind.test:{site.port}"


def test_a_name_that_turns_inside_after_a_redirect_to_itself_is_refused() -> None:
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    with Site() as site:
        name = f"http://rebind.test:{site.port}"
        site.answers["/"] = redirect(f"{name}/next")
        fetcher = Fetcher(AGENT, destinations=Destinations(resolve=lambda host, port: answers.pop(0)))
        with pytest.raises(FetchError) as caught:
            fetcher.fetch(f"{name}/", allowed={("rebind.test", site.port)})
    assert caught.value.code == "fetch_refused"
    assert _attempts == [("127.0.0.1", site.port)]


def test_a_host_that_the_operator_names_may_be_private_on_its_port_alone(listener: Listener) -> None:
    fetcher = Fetcher(AGENT, destinations=Destinations(ports=(80, 443, listener.port)), timeouts=SHORT)
    with Site({"/": (200, {}, b"wiki")}) as site:
        allowed = {("127.0.0.1", site.port)}
        assert fetcher.fetch(f"{site.url}/", allowed=allowed).body == b"wiki"
        for refused in (f"http://127.0.0.1:{listener.port}/", f"http://localhost:{site.port}/"):
            with pytest.raises(FetchError, match="fetch_refused"):
                fetcher.fetch(refused, allowed=allowed)
    assert listener.connections == []


@pytest.mark.parametrize("host", ["169.254.169.254", "0.0.0.0", "224.0.0.1", "168.63.129.16", "100.100.100.200"])
def test_no_operator_can_allow_what_is_nobodys_web_server(host: str) -> None:
    with pytest.raises(FetchError, match="fetch_refused"):
        Fetcher(AGENT, timeouts=SHORT).fetch(f"http://{host}/", allowed={(host, 80)})
    assert _attempts == []


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "93.184.216.34",
        "172.15.255.255",
        "172.32.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "192.0.1.1",
        "198.17.0.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2a01:4f8::1",
        "2001:4860:4860::8888",
        "2400:cb00::1",
        "64:ff9b::8.8.8.8",
    ],
)
def test_the_internet_stays_reachable(address: str) -> None:
    assert judge(address) == "public"


def test_addresses_of_both_families_are_tried() -> None:
    found = ["2a01:4f8::1", "2a01:4f8::2", "2a01:4f8::3", "1.1.1.1", "1.1.1.2", "1.1.1.3"]
    destinations = Destinations(resolve=lambda host, port: found)
    assert destinations.of(read("http://many.test/")) == ["2a01:4f8::1", "2a01:4f8::2", "1.1.1.1", "1.1.1.2"]
