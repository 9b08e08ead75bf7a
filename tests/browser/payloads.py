"""Hostile texts, one JSON string a line in tests/payloads/xss.jsonl, and how they are put through the whole chat."""

from __future__ import annotations

import json
from collections.abc import Sequence

from scripts.lib.native import ROOT
from tests.browser.widget import PATIENCE_MS, Widget

PAYLOADS: list[str] = [
    json.loads(line) for line in (ROOT / "tests" / "payloads" / "xss.jsonl").read_text().splitlines() if line
]

# Each question waits for its answer, as a visitor does; a blank one cannot be asked. The log is left as it grows.
_ASK = """async (texts) => {
  for (const text of texts) {
    const ended = new Promise((resolve) => {
      setTimeout(() => resolve(['error', 'no answer in time']), PATIENCE);
      const offs = ['answer', 'error'].map((name) => ChatWidget.on(name, (detail) => {
        offs.forEach((off) => off());
        resolve([name, detail]);
      }));
    });
    ChatWidget.ask(text);
    const [name, detail] = await ended;
    if (name === 'error') throw new Error(JSON.stringify([text, detail]));
  }
}"""


def ask_all(widget: Widget, texts: Sequence[str]) -> None:
    """Ask each of them, one after the other, in the open conversation."""
    widget.page.evaluate(_ASK.replace("PATIENCE", str(PATIENCE_MS)), list(texts))


# What could run or load something, in the widget and in what it has put into the page. An empty list is safe.
_DANGERS = """() => {
  const found = [];
  const root = document.querySelector('chat-widget').shadowRoot;
  for (const element of root.querySelectorAll('.log *, .history *')) {
    const name = element.localName;
    if (['script', 'iframe', 'object', 'embed', 'img', 'image', 'video', 'audio', 'source', 'track', 'link', 'style',
         'base', 'meta', 'form', 'input', 'math', 'template', 'marquee', 'frameset'].includes(name)
        && !element.closest('form.comment')) found.push(name);
    if (name === 'svg' && !element.closest('button')) found.push(name);
    for (const {name: key, value} of element.attributes) {
      if (/^on/i.test(key) || (key === 'style' && element.closest('.text'))) found.push(`${name} ${key}`);
      if (['src', 'action', 'formaction', 'xlink:href', 'srcdoc', 'background', 'ping'].includes(key)
          || (key === 'href' && !['http:', 'https:', 'mailto:'].includes(element.protocol)))
        found.push(`${name} ${key}=${value}`);
    }
  }
  return found;
}"""


def dangers(widget: Widget) -> list[str]:
    """Elements and attributes of the log that no answer may have."""
    return list(widget.page.evaluate(_DANGERS))
