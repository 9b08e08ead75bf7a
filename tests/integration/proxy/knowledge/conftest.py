"""A worker, and a proxy whose bots answer from what it reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scripts.lib.native import NativeStack
from tests.integration.proxy.conftest import Client, running_proxy
from tests.integration.proxy.knowledge.stores import Stores
from tests.integration.proxy.knowledge.worker_process import Worker, working

BOT = "name: Desk\nsystem: Answer from the passages.\nsampling: factual\nmax_tokens: 24\nknowledge: [{collection}]\n"


@pytest.fixture(scope="module")
def worker(native: NativeStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with working(native, tmp_path_factory.mktemp("worker")) as running:
        yield running


@pytest.fixture(scope="module")
def desk(native: NativeStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a proxy with a bot for each collection of these tests."""
    folder = tmp_path_factory.mktemp("desk")
    with running_proxy(native, folder) as proxy:
        for name in ("shop", "files", "again", "rebuilt", "api", "museum"):
            (folder / "bots" / f"{name}.yaml").write_text(BOT.format(collection=name))
        client = proxy.as_("chat,admin")
        yield client


@pytest.fixture(scope="module")
def stores(native: NativeStack) -> Stores:
    return Stores(native)
