"""What `make model NAME=...` is to become: which model, and which lines of .env."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from scripts.lib import models
from scripts.lib.failure import Failure
from scripts.lib.models import AUTO, CHAT, Model
from scripts.lib.settings import Settings

_NAME_HINT = "as `make model NAME=mistral-7b-instruct-v0.3`, NAME=name:Q5_K_M or NAME=file.gguf"


@dataclass(frozen=True)
class Wish:
    """`settings` with the model in them, what goes into `.env`, and what the operator should know about it."""

    settings: Settings
    env: Mapping[str, str]
    remark: str = ""


def of(
    name: str,
    current: Settings,
    catalog: Mapping[str, Model],
    files: Mapping[str, int],
    formats: Collection[str],
    prompt_format: str = "",
) -> Wish:
    """The wish for `name` with `prompt_format` ("" = none was given on the command line).

    A PROMPT_FORMAT in .env was chosen for the model before: it stays where it is the new one's too, or where nothing
    else tells that one's.
    """
    if not name:
        raise Failure("model.name_missing", "which model is not said", _NAME_HINT)
    name = name.removeprefix("models/")
    before, remark = current["PROMPT_FORMAT"], ""
    env = {"MODEL": name}
    if prompt_format:
        env["PROMPT_FORMAT"] = prompt_format
    elif before != AUTO:
        model, _ = models.choose(name, AUTO, catalog, files, formats)
        if model is not None and model.format != before:
            env["PROMPT_FORMAT"] = AUTO
            takes = "the file tells its own" if model.format == AUTO else f"{name} takes {model.format}"
            remark = f"PROMPT_FORMAT={before} was for the model before and becomes auto: {takes}"
    values = {**current.values, **env}
    overrides = {key: value for key, value in current.overrides.items() if key not in env}
    return Wish(replace(current, values=values, overrides=overrides), env, remark)


def for_searching(name: str, catalog: Mapping[str, Model]) -> Model | None:
    """The catalogue's model of that name where it is none for chat, but for EMBEDDING_MODEL or RERANKER_MODEL."""
    model = catalog.get(name)
    return model if model is not None and model.use != CHAT else None
