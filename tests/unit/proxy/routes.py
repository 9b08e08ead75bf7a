"""The proxy's routes as its own route table has them."""

from __future__ import annotations

from tests.unit.proxy.fakes import World


def routes() -> list[tuple[str, str]]:
    """(method, rule) of every route, without the methods that Flask adds by itself."""
    rules = World().app.url_map.iter_rules()
    return sorted((method, rule.rule) for rule in rules for method in (rule.methods or set()) - {"HEAD", "OPTIONS"})
