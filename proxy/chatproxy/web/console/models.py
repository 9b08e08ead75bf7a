"""The page of models: what is loaded, the catalogue, the files, and what each needs.

Weights are downloaded and switched on the server itself, so the page shows the command for each.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flask import Blueprint

from chatproxy.core.models import CHAT, ModelFile, ModelShelf, Offer, engine_need, left_for_engine
from chatproxy.core.prompts import AUTO, Formats
from chatproxy.errors import ConfigurationError
from chatproxy.web.console.shell import Page, page


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the engine has been started with. `file` is None where the engine is elsewhere."""

    name: str
    file: Path | None
    context_size: int


@dataclass(frozen=True, slots=True)
class Row:
    """One model: of the catalogue, a file, or both."""

    name: str
    offer: Offer | None
    file: ModelFile | None
    loaded: bool
    need: int
    exact: bool
    fits: bool | None
    command: str

    @property
    def title(self) -> str:
        facts = self.file.facts if self.file else None
        return self.offer.title if self.offer else (facts.title if facts else "") or self.name

    @property
    def size(self) -> int:
        return self.file.size if self.file else self.offer.size if self.offer else 0

    @property
    def about(self) -> bool:
        """Whether the size is close to the truth, no more."""
        return self.file is None and self.offer is not None and self.offer.about

    @property
    def context(self) -> int | None:
        """Tokens that it was trained for."""
        told = self.file.facts.context_length if self.file and self.file.facts else None
        return told or (self.offer.context if self.offer else None)


def blueprint(shelf: ModelShelf, formats: Formats, loaded: Loaded) -> Blueprint:
    """The route."""
    routes = Blueprint("models", __name__)

    @routes.get("/models")
    def listing() -> Page:
        problem, offers = "", []
        try:
            offers = list(shelf.catalogue())
        except ConfigurationError as error:
            problem = str(error)
        files, memory = shelf.files(), shelf.memory()
        rows = _rows(offers, files, loaded, memory)
        return page(
            "models.html",
            rows=rows,
            retrieval=[offer for offer in offers if offer.use != CHAT],
            now=next((row for row in rows if row.loaded), None),
            loaded=loaded,
            format=formats.get(AUTO).name,
            problem=problem,
            reading=any(not file.read for file in files),
            memory=memory,
            left=max(0, left_for_engine(memory)) if memory else None,
        )

    return routes


def _rows(offers: Sequence[Offer], files: Sequence[ModelFile], loaded: Loaded, memory: int | None) -> list[Row]:
    """The loaded one first, then the files that are there, then what could be downloaded."""
    by_name = {file.name: file for file in files}
    offered = {file for offer in offers for file, _ in offer.files.values()} | {offer.file for offer in offers}
    rows = []
    for offer in offers:
        if offer.use != CHAT:
            continue
        rows.append(_row(offer.name, offer, by_name.get(offer.file), loaded, memory))
        # Another quantisation of it is a model of its own where it is here.
        for label, (file, size) in offer.files.items():
            if file != offer.file and file in by_name:
                other = replace(offer, file=file, size=size, quantisation=label)
                rows.append(_row(f"{offer.name}:{label}", other, by_name[file], loaded, memory))
    rows += [_row(file.name, None, file, loaded, memory) for file in files if file.name not in offered]
    return sorted(rows, key=lambda row: (not row.loaded, row.file is None, row.title))


def _row(name: str, offer: Offer | None, file: ModelFile | None, loaded: Loaded, memory: int | None) -> Row:
    told = file.facts.shape if file and file.facts else None
    shape = told or (offer.shape if offer else None)
    size = file.size if file else offer.size if offer else 0
    need = engine_need(size, shape, loaded.context_size, projector=offer.projector if offer else 0)
    fits = need <= left_for_engine(memory) if memory else None
    is_loaded = file is not None and loaded.file is not None and loaded.file.name == file.name
    command = f"make model NAME={shlex.quote(name)}"
    return Row(name, offer, file, is_loaded, need, shape is not None, fits, command)
