"""A crawl whose process is killed again and again reads the same pages as one that is left alone."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

from chatproxy.adapters.crawler import Crawler
from chatproxy.adapters.fetching import Fetcher
from chatproxy.core.crawling import Page, Scope
from tests.unit.proxy.adapters.crawled_site import Site, page, redirect

ROOT = Path(__file__).resolve().parents[3]
PAGES = 150


def website() -> Site:
    """Pages that lead to each other in loops, redirects, a sitemap and doubles."""
    site = Site({"/": page("/0")})
    for n in range(PAGES):
        site.answers[f"/{n}"] = page(f"/{(2 * n + 1) % PAGES}", f"/{(2 * n + 2) % PAGES}", f"/to-{n}", f"/print?n={n}")
        site.answers[f"/to-{n}"] = redirect(f"/end-{n % 50}")
        site.answers[f"/end-{n % 50}"] = page()
        site.answers[f"/print?n={n}"] = page(head=f"<link rel=canonical href=/{n}>")
    listed = "\n".join(f"{site.url}/listed-{n}" for n in range(20))
    site.answers["/sitemap.xml"] = (200, {"Content-Type": "text/plain"}, listed.encode())
    site.answers.update({f"/listed-{n}": page() for n in range(20)})
    return site


def test_a_crawl_that_is_killed_again_and_again_misses_nothing(tmp_path: Path) -> None:
    with website() as site:
        scope = Scope(start=(f"{site.url}/",), rate=0, allowed_private=(site.authority,))
        whole = {each.url for each in Crawler(Fetcher("TestCrawler/1.0")).crawl(scope) if isinstance(each, Page)}
        assert len(whole) == 1 + PAGES + 50 + 20
        site.asked.clear()
        state, pages = tmp_path / "state.json", tmp_path / "pages.txt"
        words = [sys.executable, "-m", "tests.integration.proxy.crawling", f"{site.url}/", site.authority, state, pages]
        kills, moments = 0, random.Random(1)
        while not (state.exists() and json.loads(state.read_text())["ended"]):
            child = subprocess.Popen(words, cwd=ROOT, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'proxy'}"})
            grown = pages.stat().st_size if pages.exists() else 0
            deadline = time.monotonic() + 60
            while child.poll() is None and (not pages.exists() or pages.stat().st_size <= grown):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.25))
            kills += child.poll() is None
            child.kill()
            child.wait()
    read = pages.read_text().split()
    assert set(read) == whole
    assert kills >= 5
    # One at most is read again for each kill.
    assert len(read) <= len(whole) + kills
