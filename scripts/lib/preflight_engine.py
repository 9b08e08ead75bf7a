"""Checks of what concerns engine, model and bot together."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.lib.findings import ERROR, WARNING, Finding
from scripts.lib.models import Model
from scripts.lib.situation import Situation

_GGUF = "GGUF"
# GGML, GGMF and GGJT: 32-bit numbers in little endian, so they read backwards. koboldcpp still takes these.
_BEFORE_GGUF = ("lmgg", "fmgg", "tjgg")


def engine(s: Situation) -> Iterator[Finding]:
    wanted, host = s.settings, s.host
    kind, source = host.koboldcpp_source, wanted["KOBOLDCPP_SOURCE"]
    if kind == "missing":
        hint = "correct KOBOLDCPP_SOURCE in .env"
        yield Finding("koboldcpp.source_missing", ERROR, f"KOBOLDCPP_SOURCE={source} does not exist", hint)
    elif kind == "other":
        fact = f"KOBOLDCPP_SOURCE={source} is not koboldcpp's source (no koboldcpp.py and Makefile in it)"
        yield Finding(
            "koboldcpp.source_invalid", ERROR, fact, "give the source folder, or a .tar, .tar.gz or .tar.xz of it"
        )
    if s.engine != "koboldcpp":
        ignored = [name for name in ("KOBOLDCPP_ARGS", "LAUNCH_COMMAND") if wanted[name]]
        if ignored:
            fact = f"{' and '.join(ignored)} mean nothing to ENGINE={s.engine}"
            yield Finding("engine.settings_ignored", WARNING, fact, "remove them from .env, or use koboldcpp")
    if s.choice and s.choice.engine_reason:
        yield Finding(
            "engine.substituted", WARNING, f"ENGINE={wanted['ENGINE']} becomes {s.engine}", s.choice.engine_reason
        )


def bot_and_model(s: Situation) -> Iterator[Finding]:
    wanted, host = s.settings, s.host
    if wanted["DEFAULT_BOT"] not in host.bots:
        known = ", ".join(sorted(host.bots)) or "none"
        fact = f"DEFAULT_BOT={wanted['DEFAULT_BOT']} has no file compose/bots/{wanted['DEFAULT_BOT']}.yaml"
        yield Finding("bot.missing", ERROR, fact, f"make it, or choose one of: {known}")
    if s.model is None:
        return
    if s.engine == "llamacpp" and not s.model.file.lower().endswith(".gguf"):
        fact = f"llama.cpp's server reads GGUF files only, and the model is {s.model.file}"
        yield Finding("model.not_gguf", ERROR, fact, "choose a GGUF model, or ENGINE=koboldcpp with KOBOLDCPP_SOURCE")
    elif s.engine != "external":
        yield from _head(s, s.model)
    if s.engine != "external":
        yield from link(s, s.model.file)
    if s.model.context and wanted.number("CONTEXT_SIZE") > s.model.context:
        fact = (
            f"CONTEXT_SIZE={wanted['CONTEXT_SIZE']} is beyond the {s.model.context} that {s.model.name} was trained on"
        )
        yield Finding("model.context_too_long", WARNING, fact, "answers get worse there; lower CONTEXT_SIZE")


def link(s: Situation, file: str) -> Iterator[Finding]:
    """A file in models/ that is there for this machine, and for no container."""
    if leads := s.host.model_links.get(file):
        fact = f"models/{file} is a link to {leads}, where the containers cannot follow it: they have models/ alone"
        yield Finding("model.link_leads_out", ERROR, fact, "put the file itself there (`ln` without -s takes no space)")


def _head(s: Situation, model: Model) -> Iterator[Finding]:
    """A web page that was saved under the model's name is found here, not when the engine has been built."""
    head = s.host.model_heads.get(model.file)
    takes = (_GGUF, *_BEFORE_GGUF) if s.engine == "koboldcpp" else (_GGUF,)
    if head is None or head in takes:
        return
    begins = f"it begins with {head.encode('latin-1')!r}" if head else "it is empty"
    kinds = "neither GGUF nor GGML" if s.engine == "koboldcpp" else "not GGUF"
    fact = f"models/{model.file} is {kinds}, whatever its name says: {begins}"
    if model.source is not None:
        yield Finding("model.not_gguf", WARNING, fact, "`make up` fetches it again")
    else:
        hint = "it is another file than was meant, or a failed download: download it again"
        yield Finding("model.not_gguf", ERROR, fact, hint)
