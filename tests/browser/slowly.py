"""A server that takes its time: what is asked of it waits until a test lets it go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, Route

from tests.browser.widget import until


class Held:
    """Requests to one place that are not answered yet."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def arrived(self, page: Page) -> None:
        until(lambda: self.routes, page)

    def let_go(self, page: Page) -> None:
        """Have them answered, and wait until the page has done what it does then."""
        for route in self.routes:
            with page.expect_response(route.request.url):
                route.continue_()
        page.wait_for_timeout(150)


@contextmanager
def slow(page: Page, place: re.Pattern[str]) -> Iterator[Held]:
    """As over a line that is slow: what is asked of this place waits until `let_go`."""
    held = Held()
    page.route(place, lambda route: held.routes.append(route))
    yield held
    page.unroute(place)
