"""A small shop's website, and what is asked of it."""

from __future__ import annotations

from typing import Any

from tests.integration.proxy.conftest import Client
from tests.integration.proxy.knowledge.worker_process import Worker
from tests.unit.proxy.adapters.crawled_site import Answer, Site


def page(title: str, text: str, *links: str, etag: str = "") -> Answer:
    anchors = " ".join(f'<a href="{link}">{link}</a>' for link in links)
    head = f'<title>{title}</title><link rel="icon" href="data:,">'
    body = f"""<!doctype html><html lang="en"><head>{head}</head><body><main><h1>{title}</h1>
        <p>{text}</p><p>More is to be found under {anchors or "no other address"}.</p></main></body></html>"""
    headers = {"Content-Type": "text/html; charset=utf-8", **({"ETag": f'"{etag}"'} if etag else {})}
    return 200, headers, body.encode()


def shop() -> dict[str, Any]:
    return {
        "/": page("Lighthouse shop", "We sell lamps, lenses and logbooks for keepers.", "/hours", "/returns", "/old"),
        "/hours": page("Opening hours", "The shop is open from Tuesday to Saturday, from nine to five.", "/"),
        "/returns": page("Returns", "A lamp can be sent back within thirty days for a full refund.", "/"),
        "/old": page("Old catalogue", "The catalogue of 1987 lists a brass foghorn called FH-1987.", "/"),
    }


def conditional(answer: Answer, etag: str) -> Any:
    """Answers 304 to those who have this version."""

    def answered(headers: Any) -> Answer:
        if headers.get("if-none-match") == f'"{etag}"':
            return 304, {}, b""
        return answer[0], {**answer[1], "ETag": f'"{etag}"'}, answer[2]

    return answered


def add(worker: Worker, site: Site, collection: str, *more: str) -> dict[str, Any]:
    """Reads a site to the end; the job's last line."""
    words = ("add-url", f"{site.url}/", "--collection", collection, "--allow-private", site.authority, "--rate", "0")
    return worker.done(*words, *more)


def found(desk: Client, bot: str, query: str) -> list[dict[str, Any]]:
    answer = desk.session.post(f"{desk.url}/api/v1/search", json={"query": query, "bot": bot}, timeout=30)
    assert answer.ok, answer.text
    return list(answer.json()["passages"])


def first_text(desk: Client, bot: str, query: str) -> str:
    passages = found(desk, bot, query)
    return str(passages[0]["text"]) if passages else ""
