"""The end of `make up`: what the operator needs to use the chatbot."""

from __future__ import annotations

import json
from collections.abc import Mapping

from scripts.lib import gpus, log
from scripts.lib.compose import Compose
from scripts.lib.edge import CA_FILE, Edge
from scripts.lib.failure import Failure
from scripts.lib.settings import Settings

# The first certificate of a public name takes the authority's answer, seconds as a rule.
_TLS_PATIENCE_S = 90.0
_FIRST_KEY = ("--name", "first", "--scopes", "chat,kobold", "--if-none", "--json")


def show(compose: Compose, edge: Edge, wanted: Settings, values: Mapping[str, str], sources_kind: str) -> None:
    """Make the first key and print the summary on stdout."""
    own_authority = edge.save_ca(compose)
    trouble = edge.wait_for_tls(_TLS_PATIENCE_S)
    if trouble:
        log.warn(f"tls.not_ready: {edge.url} does not answer with a valid certificate yet: {trouble}")
        log.info("`make logs SERVICE=caddy` says what the certificate authority answered; `make doctor` checks again")
    key = first_key(compose)
    lines = [
        "",
        f"The chatbot is up after {log.elapsed()}.",
        "",
        f"  address   {edge.url}",
        f"  engine    {_engine(values)} (sources: {sources_kind})",
    ]
    if key:
        lines += [f"  key       {key}", "            shown once and kept only as a hash: store it now"]
    else:
        lines += ["  key       shown at the first start; `make key NAME=... SCOPES=chat` makes another"]
    lines += ["", "  Ask it something:", "    " + edge.curl(key or "YOUR_KEY", '{"message": "Hello!"}')]
    if wanted["CHAT_PAGE"] == "on":
        lines += ["", "  Chat in a browser:", f"    {edge.url}/chat"]
    lines += [
        "",
        "  On your web pages (https://example.com: their address):",
        "    make key NAME=homepage ORIGINS=https://example.com",
        "    makes a site key and shows the line to put into them:",
        f'    <script src="{edge.url}/widget.js" data-site-key="site_..." async></script>',
    ]
    lines += [
        "",
        "  Next: `make status` shows how it does, `make doctor` looks for trouble, `make help` lists the rest.",
        "  For you alone: `make wg-peer NAME=laptop` opens the console to a device of yours.",
    ]
    if own_authority:
        lines += [f"  {edge.domain} has a certificate of its own authority; let browsers trust {CA_FILE}."]
    if not edge.public:
        lines += [
            "  For the public internet: set DOMAIN in .env to a name that points to this machine, then `make up`."
        ]
    for line in lines:
        log.result(line)


def _engine(values: Mapping[str, str]) -> str:
    if values["ENGINE_RESOLVED"] == "external":
        return f"external, {values['ENGINE_URL_RESOLVED']}"
    on_cards = gpus.told(values)
    return f"{values['ENGINE_RESOLVED']} with {values['MODEL_NAME']}" + (f", {on_cards}" if on_cards else "")


def first_key(compose: Compose) -> str:
    """The text of the first API key if it was made just now, else ""."""
    status, out, err = compose.run_in("proxy", ["python3", "-m", "chatproxy", "keys", "create", *_FIRST_KEY])
    if status != 0:
        last = (err.strip().splitlines() or ["no reason given"])[-1]
        raise Failure("key.failed", f"the first key could not be made: {last}", "`make doctor`, then `make up` again")
    return str(json.loads(out)["key"]) if out.strip() else ""
