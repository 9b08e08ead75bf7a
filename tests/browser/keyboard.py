"""Walking through a page with the keyboard alone."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.browser.widget import Widget

FOCUSED = """() => {
  let active = document.activeElement;
  while (active?.shadowRoot?.activeElement) active = active.shadowRoot.activeElement;
  const root = active?.getRootNode();
  const place = [...root.querySelectorAll('*')].indexOf(active);
  return [active.localName, active.dataset.action || active.className || active.id, String(place)];
}"""
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


def focused(widget: Widget) -> tuple[str, str]:
    name, which, _ = widget.page.evaluate(FOCUSED)
    return str(name), str(which)


def frames(widget: Widget) -> None:
    """The browser takes the focus from what is not shown any more when it draws."""
    widget.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def kept(widget: Widget) -> tuple[str, str]:
    """What has the focus, once the page has been drawn; that it is nothing is a failure."""
    frames(widget)
    name, which = focused(widget)
    assert name != "body", "the focus is lost"
    return name, which
