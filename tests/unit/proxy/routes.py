"""The proxy's routes as its own route table has them."""

from __future__ import annotations

from flask import Flask

from tests.unit.proxy.fakes import World


def routes() -> list[tuple[str, str]]:
    """(method, rule) of every route, without the methods that Flask adds by itself."""
    return _of(World().app)


def console_routes() -> list[tuple[str, str]]:
    """The same of the console."""
    return _of(World().console)


def _of(app: Flask) -> list[tuple[str, str]]:
    rules = app.url_map.iter_rules()
    return sorted((method, rule.rule) for rule in rules for method in (rule.methods or set()) - {"HEAD", "OPTIONS"})
