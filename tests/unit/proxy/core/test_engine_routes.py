"""What of an engine's page computes: everything that is not named as cheap, whatever the address looks like."""

from __future__ import annotations

import pytest

from chatproxy.core.engine_routes import Kind, is_plain, is_refused, kind_of


@pytest.mark.parametrize(
    "path",
    [
        *("/api/v1/generate", "/api/latest/generate", "/api/extra/generate/stream", "/api/extra/tts"),
        *("/sdapi/v1/txt2img", "/v1/chat/completions", "/v1/completions", "/completion", "/infill", "/embedding"),
        *("/v1/messages", "/rerank", "/props", "/slots/0", "/api/admin/reload_config", "/anything/new"),
        # koboldcpp would take these for an abort too; what is not named as it stands waits its turn.
        *("/api/extra/abort/", "/x/api/extra/abort", "/API/extra/abort"),
    ],
)
def test_what_is_not_named_computes(path: str) -> None:
    assert kind_of("POST", path, "") is Kind.COMPUTE


@pytest.mark.parametrize(
    "path",
    ["/api/extra/abort", "/api/extra/generate/check", "/api/extra/tokencount", "/api/extra/data/save", "/tokenize"],
)
def test_words_to_what_runs_do_not(path: str) -> None:
    assert kind_of("POST", path, "") is Kind.CONTROL


def test_a_query_makes_no_cheap_request_of_a_generation() -> None:
    """koboldcpp goes by how the whole address ends."""
    assert kind_of("POST", "/api/extra/abort", "x=/api/v1/generate") is Kind.COMPUTE


def test_pages_and_polls_do_not_wait() -> None:
    assert kind_of("GET", "/api/extra/perf", "") is Kind.PAGE
    assert kind_of("HEAD", "/", "") is Kind.PAGE
    assert kind_of("DELETE", "/v1/stream", "conv_id=1") is Kind.CONTROL
    assert kind_of("DELETE", "/models", "") is Kind.COMPUTE


def test_the_one_get_that_computes_is_refused() -> None:
    assert is_refused("GET", "/voice/vits")
    assert not is_refused("GET", "/voice/check")


@pytest.mark.parametrize(
    "target", ["/", "/lcpp", "/_app/immutable/bundle.D-x_1.js", "/v1/stream?conv_id=a&from=0", "/?a=%2F"]
)
def test_addresses_that_pages_have(target: str) -> None:
    assert is_plain(target)


@pytest.mark.parametrize(
    "target",
    [
        *("", "*", "x", "http://10.0.0.1/", "//10.0.0.1/", "/a//b", "/..", "/a/../b", "/./a", "/a/.."),
        *("/%2e%2e/a", "/a%2fb", "/a%5cb", "/%61pi", "/a%00", "/a%0d%0aX:1", "/a\\b", "/a b", "/a\r\nX: 1", "/ä"),
        *("/a?b c", "/a?b\r\nX: 1", "/a?b#c", "/a#b", "/a?\x00"),
    ],
)
def test_addresses_that_two_servers_could_read_differently(target: str) -> None:
    assert not is_plain(target)
