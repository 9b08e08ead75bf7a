"""axe-core over a page in one state; what it finds is kept as JSON beside the pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

# All of WCAG up to 2.2 AA, and what the makers of axe call best practice.
_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Of the homepage around the widget, which is not ours to judge.
_NOT_OURS = {"region", "landmark-one-main", "page-has-heading-one"}
_RUN = """([tags, off]) => axe.run(document, {
  runOnly: tags, resultTypes: ['violations', 'incomplete'],
  rules: Object.fromEntries(off.map((name) => [name, {enabled: false}])),
})"""


def violations(page: Page, state: str, artifacts: Path, *, own_page: bool = False) -> list[str]:
    """What is wrong in this state, one line each. With `own_page` the whole page is the appliance's."""
    page.evaluate(AXE_SCRIPT)
    found: dict[str, Any] = page.evaluate(_RUN, [_TAGS, [] if own_page else sorted(_NOT_OURS)])
    kept = {name: found[name] for name in ("url", "testEngine", "violations", "incomplete")}
    kept["passed"] = [rule["id"] for rule in found["passes"]]
    folder = artifacts / "axe"
    folder.mkdir(exist_ok=True)
    (folder / f"{state}.json").write_text(json.dumps(kept, indent=1))
    return [
        f"{state}: {rule['id']} ({rule['impact']}) at {node['target']}: {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
