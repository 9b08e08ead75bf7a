"""`make bench-model` on the real services: the engine alone, and the whole appliance with a key of its own."""

from __future__ import annotations

import http.client
import json
import sys
from urllib.parse import urlsplit

from scripts.lib import bench_here, engine_probe, model_bench
from scripts.lib.bench_stack import own_key
from scripts.lib.dev_stack import DevStack
from scripts.lib.native import NativeStack
from tests.integration.proxy.conftest import Proxy


def _status(proxy: Proxy, key: str) -> int:
    parts = urlsplit(proxy.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})
    return connection.getresponse().status


def test_a_round_through_engine_and_appliance_and_no_key_stays(native: NativeStack, proxy: Proxy) -> None:
    stack = DevStack(proxy.url, sys.executable, native.proxy_environment())
    place = bench_here.Native(stack)
    engine = bench_here.Engine(place)
    with own_key(stack) as key:
        appliance = bench_here.appliance(place, engine, key)
        rounds = [
            {
                "engine": engine.visits(24, 8, (1, 2)),
                "stack": engine_probe.visits(appliance, 24, 8, (1, 2)),
            }
        ]
        assert _status(proxy, key) == 200
    assert _status(proxy, key) == 401
    about = bench_here.about(place, engine)
    assert about["engine"]["version"][0].isdigit()
    assert about["model"]["quantisation"] == "Q4_1"
    assert about["settings"]["ENGINE_SLOTS"] == str(native.slots)
    used = place.memory()
    assert 50 << 20 < used["engine"] < used["all"]
    run = {"schema": model_bench.SCHEMA, **about, "load": model_bench.Load(24, 8, 1).as_json(), "memory": used}
    run["results"] = model_bench.medians(rounds)
    for side in run["results"].values():
        assert side["read"] > 0 and side["generated"] > 0 and side["cold"] > 0 and side["warm"] > 0
        assert side["visitors"]["2"]["slowest"] >= side["visitors"]["2"]["first"] > 0
    assert json.loads(json.dumps(run)) == run
    assert len(model_bench.table(run)) == 15 and len(model_bench.describe(run)) == 4
