"""What is dumped from a place in use comes back byte for byte in an empty one."""

from __future__ import annotations

import json

from tests.integration.proxy.data.place import Place, archive


def test_everything_comes_back_as_it_was(used: Place, blank: Place) -> None:
    members = used.dumped()
    loaded = blank.data("load", given=archive(members))
    assert (loaded.returncode, loaded.stderr) == (0, b"")
    found = blank.compared(members)
    assert found["differences"] == 0, json.dumps(found)
    print(json.dumps(found["probes"]))
    assert found["probes"]["same"] == found["probes"]["asked"] == 20
    assert blank.raw() == used.raw()
    told = json.loads(members["data.json"])
    print(told["vectors"].keys(), len(members["data.json"]))
