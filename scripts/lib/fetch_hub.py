"""A model's files, or a whole folder, from a repository of the model hub: of one commit, with the hub's checksums."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts.lib import log, records, weights
from scripts.lib.download import Progress, Ticker, download, no_space
from scripts.lib.failure import Failure
from scripts.lib.hub import Hub, Remote
from scripts.lib.models import CHAT, HubSource, Model

# What sentence-transformers reads of a model's folder. Pickled weights run code when they are loaded, the others are
# for programs that are not here.
_READ = (".json", ".txt", ".safetensors", ".model")
_FOR_OTHERS = ("onnx", "openvino")
# Left on the disk for everything else.
_RESERVE = 256 * 2**20


@dataclass(frozen=True)
class _Piece:
    """A file that is wanted: where it is, and what it is called here. No sha256 = only the hub tells it."""

    repository: str
    revision: str
    path: str
    file: str
    sha256: str


def fetch(
    model: Model,
    source: HubSource,
    models_dir: Path,
    *,
    token: str = "",
    progress: Progress | None = None,
    hub: Hub | None = None,
) -> None:
    """All that belongs to the model. Raises Failure; what is there and right already is left as it is."""
    hub = hub or Hub(token)
    try:
        if model.use == CHAT:
            _files(hub, _pieces(model, source), models_dir, progress)
        else:
            _folder(hub, model, source, models_dir, progress)
    except Failure as failure:
        if failure.id != "model.source_unreachable" or not _brought_by_hand(model, source, models_dir):
            raise
        log.warn(f"model.unverified: {model.file} is used as it was found here; {failure.fact}")


def _pieces(model: Model, source: HubSource) -> list[_Piece]:
    chosen = model.files[model.quantisation]
    wanted = [_Piece(source.repository, source.revision, chosen.path or chosen.file, chosen.file, chosen.sha256)]
    if model.projector:
        file = model.projector
        wanted.append(_Piece(source.repository, source.revision, file.path or file.file, file.file, file.sha256))
    for adapter in model.adapters:
        own = adapter.repository and adapter.repository != source.repository
        repository, revision = (adapter.repository, "main") if own else (source.repository, source.revision)
        wanted.append(_Piece(repository, revision, adapter.path or adapter.file, adapter.file, adapter.sha256))
    return wanted


def _files(hub: Hub, pieces: Sequence[_Piece], folder: Path, progress: Progress | None) -> None:
    missing = [piece for piece in pieces if not records.unchanged(folder, [piece.file], {piece.file: piece.sha256})]
    found = [(piece, _look_up(hub, piece)) for piece in missing]
    absent = [(piece, remote) for piece, remote in found if not _is_there(folder / piece.file, remote)]
    _check_space(folder, [(_draft(folder, piece.file, remote), remote.size) for piece, remote in absent])
    for piece, remote in found:
        target = folder / piece.file
        if (piece, remote) in absent:
            draft = _draft(folder, piece.file, remote)
            download(hub.url(remote), draft, remote.expected, progress or Ticker(piece.file), headers=hub.headers())
            try:
                weights.check(draft)
            except Failure:
                draft.unlink()
                raise
            draft.chmod(0o644)
            draft.replace(target)
            _clear(folder, piece.file)
        record = records.of(target, sha256=remote.sha256, source=remote.repository, commit=remote.commit)
        records.put(folder, {piece.file: record})


def _look_up(hub: Hub, piece: _Piece) -> Remote:
    commit = hub.commit(piece.repository, piece.revision)
    (remote,) = hub.files(piece.repository, commit, [piece.path])
    if piece.sha256 and remote.sha256 != piece.sha256:
        fact = f"{piece.repository} offers {piece.path} with another checksum than the catalogue"
        hint = "do not use it; name the right commit in models/catalog.toml if its makers have renewed it"
        raise Failure("download.checksum", fact, hint)
    return remote


def _is_there(target: Path, remote: Remote) -> bool:
    """Whether the right file is there. Failure for another one that is whole: it may be the operator's own."""
    if not target.exists() or not remote.expected.wrong(target):
        return target.exists()
    try:
        weights.check(target)
    except Failure:
        return False
    fact = f"models/{target.name} is another file than the one in {remote.repository}, or it was changed"
    hint = "delete it to have that one fetched; or give yours another name, and use it by that"
    raise Failure("model.changed", fact, hint)


def _draft(folder: Path, file: str, remote: Remote) -> Path:
    """Where it is put together; another version of it is put together elsewhere."""
    return folder / f".{file}.{(remote.sha256 or remote.blob)[:12]}"


def _clear(folder: Path, file: str) -> None:
    """Away with what was begun of other versions."""
    for left in folder.iterdir():
        if left.name.startswith(f".{file}."):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()


def _check_space(folder: Path, drafts: Sequence[tuple[Path, int]]) -> None:
    """Failure `disk.full` before anything is fetched that would not fit."""
    parts = [(draft.with_name(draft.name + ".part"), size) for draft, size in drafts]
    missing = sum(max(0, size - (part.stat().st_size if part.exists() else 0)) for part, size in parts)
    free = shutil.disk_usage(folder).free
    if missing and missing + _RESERVE > free:
        failure = no_space(parts[0][0])
        failure.fact = f"{log.size(missing)} are to be fetched into models/, and {log.size(free)} are free there"
        raise failure


def _folder(hub: Hub, model: Model, source: HubSource, models_dir: Path, progress: Progress | None) -> None:
    target = models_dir / model.file
    inside = records.in_folder(models_dir, model.file)
    if target.exists() and not inside:
        log.info(f"models/{model.file} was put there by hand: it is left as it is")
        return
    commit = hub.commit(source.repository, source.revision)
    remotes = [remote for remote in hub.tree(source.repository, commit) if _is_read(remote.path)]
    if not any(remote.path.endswith(".safetensors") for remote in remotes):
        fact = f"{source.repository} has no weights as safetensors"
        raise Failure("model.not_weights", fact, "pickled weights run code when they are loaded; choose another model")
    draft = models_dir / f".{model.file}.{commit[:12]}"
    draft.mkdir(mode=0o755, exist_ok=True)
    absent = [remote for remote in remotes if not _is_right(draft / remote.path, remote)]
    _check_space(models_dir, [(draft / remote.path, remote.size) for remote in absent])
    for remote in absent:
        place = draft / remote.path
        place.parent.mkdir(parents=True, exist_ok=True)
        name = f"{model.file}/{remote.path}"
        download(hub.url(remote), place, remote.expected, progress or Ticker(name), headers=hub.headers())
        place.chmod(0o644)
    _swap(draft, target)
    _clear(models_dir, model.file)
    records.put(models_dir, _inside(target, model.file, remotes))


def _is_read(path: str) -> bool:
    parts = PurePosixPath(path)
    return parts.suffix in _READ and parts.parts[0] not in _FOR_OTHERS


def _is_right(place: Path, remote: Remote) -> bool:
    return place.is_file() and not remote.expected.wrong(place)


def _swap(draft: Path, target: Path) -> None:
    """All at once: nobody finds half of the old folder and half of the new."""
    for folder in (draft, *(path for path in draft.rglob("*") if path.is_dir())):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(descriptor)
        os.close(descriptor)
    if target.exists():
        target.replace(draft.with_name(f"{draft.name}.old"))
    draft.replace(target)


def _inside(target: Path, name: str, remotes: Sequence[Remote]) -> Mapping[str, records.Record]:
    return {
        f"{name}/{remote.path}": records.of(
            target / remote.path, sha256=remote.sha256, source=remote.repository, commit=remote.commit
        )
        for remote in remotes
    }


def _brought_by_hand(model: Model, source: HubSource, models_dir: Path) -> bool:
    """Whether the hub is not needed: all is there, and whole as far as it tells itself. Noted, so that this is so for
    good."""
    if model.use != CHAT:
        return (models_dir / model.file).is_dir()
    names = [piece.file for piece in _pieces(model, source)]
    if not all((models_dir / name).is_file() for name in names):
        return False
    for name in names:
        weights.check(models_dir / name)
    wanted = {piece.file: piece.sha256 for piece in _pieces(model, source)}
    found = {name: records.of(models_dir / name) for name in names}
    if any(wanted[name] not in ("", record.sha256) for name, record in found.items()):
        return False
    records.put(models_dir, found)
    return True
