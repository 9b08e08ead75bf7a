"""A crawl in a process of its own, to be killed: START ALLOWED STATE PAGES.

The state is stored after every result, as a worker does; the pages' addresses are appended to PAGES before it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from chatproxy.adapters.crawler import Crawler
from chatproxy.adapters.fetching import Fetcher
from chatproxy.core.crawling import Page, Scope
from chatproxy.core.frontier import CrawlState


def main(start: str, allowed: str, state_file: Path, pages_file: Path) -> None:
    state = CrawlState.from_dict(json.loads(state_file.read_text())) if state_file.exists() else CrawlState()
    scope = Scope(start=(start,), rate=0, allowed_private=(allowed,))
    with pages_file.open("a") as pages:
        for result in Crawler(Fetcher("TestCrawler/1.0")).crawl(scope, None, state):
            if isinstance(result, Page):
                pages.write(f"{result.url}\n")
                pages.flush()
            store(state, state_file)
    store(state, state_file)


def store(state: CrawlState, file: Path) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps(state.to_dict()))
    new.replace(file)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
