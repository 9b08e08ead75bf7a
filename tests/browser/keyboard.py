"""Walking through a page with the keyboard alone."""

from __future__ import annotations

from playwright.sync_api import Page

# More than any page has, whatever other tests left on it.
_MOST = 1000


def tab_to(page: Page, name: str) -> None:
    """Go on until what has the focus is called that."""
    for _ in range(_MOST):
        page.keyboard.press("Tab")
        # A page's body has every name on it.
        if name in page.evaluate(
            "(e => e === document.body ? '' : e.innerText || e.name || '')(document.activeElement)"
        ):
            return
    raise AssertionError(f"the keyboard does not reach {name!r}")
