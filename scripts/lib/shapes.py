"""What a file of weights in models/ tells about its model, read by the parser that the koboldcpp image has too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from images.koboldcpp.entrypoint import gguf
from scripts.lib import models, paths
from scripts.lib.failure import Failure
from scripts.lib.host import Host
from scripts.lib.models import Model
from scripts.lib.reckoning import Shape


def shape(path: Path) -> Shape | None:
    """The shape of a whole GGUF file; None for another kind of file, and one that is cut off or damaged."""
    try:
        # Of a pipe the opening would wait for ever.
        if not path.is_file():
            return None
        with path.open("rb") as file:
            if file.read(len(gguf.MAGIC)) != gguf.MAGIC:
                return None
        head = gguf.read_head(path)
        return Shape.of(head.values) if head.least_size <= path.stat().st_size else None
    except (OSError, gguf.BrokenFileError):
        return None


def meant(wanted: str, folder: Path = paths.MODELS) -> dict[str, Shape]:
    """{file: its shape} of the file that MODEL means, where it is in `folder` and tells one."""
    try:
        known, _ = models.named(wanted.removeprefix("models/"), models.load_catalog(folder / paths.CATALOG.name))
    except Failure:
        known = None
    file = known.file if known else wanted.removeprefix("models/")
    told = shape(folder / file)
    return {file: told} if told else {}


def own(model: Model, host: Host) -> Model:
    """The model with its file's own size and shape, once the file is here; else as the catalogue has them."""
    told = host.model_shapes.get(model.file)
    return replace(model, shape=told, size=host.model_files.get(model.file, model.size)) if told else model
