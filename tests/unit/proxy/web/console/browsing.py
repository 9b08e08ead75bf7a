"""The console as a browser sees it: cookies kept, forms sent with what stands in them."""

from __future__ import annotations

import re
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.unit.proxy.fakes import World

NAME, PASSWORD, ORIGIN = "anna", "a long password", "http://localhost"


class Browser:
    """Somebody's browser in front of a world's console."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client: FlaskClient = world.console.test_client()

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, **options)

    def post(self, path: str, fields: dict[str, Any] | None = None, **options: Any) -> TestResponse:
        """As a form of our own page sends it, with the session's token."""
        headers = {"Origin": ORIGIN, **options.pop("headers", {})}
        csrf = {"csrf": self.csrf} if self.cookie else {}
        return self.client.post(path, data={**csrf, **(fields or {})}, headers=headers, **options)

    def log_in(self, name: str = NAME, password: str = PASSWORD, **fields: str) -> TestResponse:
        return self.post("/login", {"name": name, "password": password, **fields})

    @property
    def cookie(self) -> str:
        found = self.client.get_cookie("console")
        return found.value if found else ""

    @cookie.setter
    def cookie(self, value: str) -> None:
        self.client.set_cookie("console", value)

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.get("/audit").text)
        return found[1] if found else ""


def admitted(world: World) -> Browser:
    """Somebody who has logged in."""
    from chatproxy.core.admins import Admins

    Admins(world.admins, world.admin_sessions, world.hasher, world.usage).set_password(NAME, PASSWORD)
    browser = Browser(world)
    assert browser.log_in().status_code == 303
    return browser
