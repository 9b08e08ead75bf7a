"""What a page may not do: say errors on the console, throw, break a policy, open dialogs, ask strangers."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Request

# Notes what code from outside would call, and what a policy had to stop.
_TRAPS = """
(() => {
  window.__ran = [];
  const trap = (name) => (...given) => { window.__ran.push(name + ':' + String(given[0]).slice(0, 80)); };
  for (const name of ['alert', 'confirm', 'prompt', 'print']) window[name] = trap(name);
  document.addEventListener('securitypolicyviolation', (event) => {
    console.error('policy broken: ' + event.violatedDirective + ' ' + event.blockedURI);
  });
})();
"""


class Watch:
    """Over one browser context; `check` fails the test over anything that was not `expect`ed."""

    def __init__(self, context: BrowserContext, allowed: tuple[str, ...]) -> None:
        self.allowed = allowed
        self.troubles: list[str] = []
        self.console: list[str] = []
        self.requests: list[str] = []
        self._expected: list[re.Pattern[str]] = []
        context.add_init_script(_TRAPS)
        context.on("console", self._said)
        context.on("weberror", lambda error: self.troubles.append(f"uncaught: {error.error}"))
        context.on("request", self._asked)
        context.on("dialog", self._dialog)
        self.context = context

    def expect(self, pattern: str) -> None:
        """From here on, and for what came before: a trouble that matches is part of the test."""
        self._expected.append(re.compile(pattern))

    def found(self) -> list[str]:
        return [each for each in self.troubles if not any(known.search(each) for known in self._expected)]

    def ran(self) -> list[str]:
        """What the traps of every page and frame have caught."""
        frames = [frame for page in self.context.pages for frame in page.frames]
        return [caught for frame in frames for caught in frame.evaluate("() => window.__ran || []")]

    def check(self) -> None:
        ran = self.ran()
        found = self.found()
        assert ran == [], f"code from outside has run: {ran}"
        assert found == [], "\n".join(found)

    def _said(self, message: ConsoleMessage) -> None:
        self.console.append(f"{message.type}: {message.text}")
        if message.type in ("error", "warning", "assert"):
            self.troubles.append(f"console {message.type}: {message.text} ({_place(message)})")

    def _asked(self, request: Request) -> None:
        self.requests.append(request.url)
        if not request.url.startswith((*self.allowed, "data:", "blob:", "about:")):
            self.troubles.append(f"request to a stranger: {request.method} {request.url}")

    def _dialog(self, dialog: Dialog) -> None:
        self.troubles.append(f"dialog: {dialog.type} {dialog.message}")
        dialog.dismiss()


def _place(message: ConsoleMessage) -> str:
    location: Any = message.location
    return f"{location.get('url', '')}:{location.get('lineNumber', '')}"
