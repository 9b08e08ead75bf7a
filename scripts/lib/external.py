"""ENGINE=external: the model that a server elsewhere has, and what such a server needs to be told."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from urllib.parse import urlsplit

from scripts.lib import secret_files
from scripts.lib.findings import ERROR, WARNING, Finding
from scripts.lib.models import AUTO, Model
from scripts.lib.settings import SETTINGS, Settings
from scripts.lib.situation import Situation

# The name under which containers reach this machine itself (compose/proxy.yml).
THIS_MACHINE = "host.docker.internal"


def named(settings: Settings) -> bool:
    """Whether the server is asked for a model by a name of its own, so that nothing in models/ is meant."""
    return settings["ENGINE"] == "external" and bool(settings["ENGINE_MODEL"])


def model(
    settings: Settings, catalog: Mapping[str, Model], formats: Collection[str]
) -> tuple[Model | None, list[Finding]]:
    """The model that ENGINE_MODEL names; MODEL is what people see, and tells the format where it is the catalogue's.

    The starter model is MODEL's default: left as it is, it says nothing about another server.
    """
    chosen = "" if settings["MODEL"] == SETTINGS["MODEL"].default else settings["MODEL"]
    shown, known = chosen or settings["ENGINE_MODEL"], catalog.get(chosen)
    explicit = "" if settings["PROMPT_FORMAT"] == AUTO else settings["PROMPT_FORMAT"]
    names = ", ".join(sorted(formats))
    if explicit and explicit not in formats:
        fact = f"PROMPT_FORMAT={explicit} is not known"
        return None, [Finding("setting.invalid", ERROR, fact, f"use one of {names}")]
    told = explicit or (known.format if known else "")
    if not told:
        fact = f"nothing tells the prompt format of ENGINE_MODEL={settings['ENGINE_MODEL']}"
        hint = f"set PROMPT_FORMAT in .env to one of: {names} (the model's card says which)"
        return None, [Finding("model.format_unknown", ERROR, fact, hint)]
    return Model(shown, shown, "", 0, told, known.context if known else 0), []


def checks(s: Situation) -> Iterator[Finding]:
    """What concerns a server elsewhere alone."""
    wanted = s.settings
    if s.engine != "external":
        ignored = [name for name in ("ENGINE_URL", "ENGINE_MODEL", "ENGINE_API_KEY_FILE") if wanted[name]]
        if ignored:
            fact = f"{' and '.join(ignored)} mean nothing to ENGINE={s.engine}"
            yield Finding("engine.settings_ignored", WARNING, fact, "remove them from .env, or set ENGINE=external")
        return
    problem = secret_files.problem("ENGINE_API_KEY_FILE", wanted["ENGINE_API_KEY_FILE"], s.host.engine_key, "the key")
    if problem:
        yield Finding("engine.key_file", ERROR, *problem)
    for url in wanted["ENGINE_URL"].split(","):
        host = urlsplit(url.strip()).hostname or ""
        if host in ("localhost", "::1") or host.startswith("127."):
            fact = f"ENGINE_URL={url.strip()} is the proxy's own container, not this machine"
            hint = f"write {THIS_MACHINE} for {host}, and let the server listen on more than loopback (0.0.0.0)"
            yield Finding("engine.url_loopback", ERROR, fact, hint)
