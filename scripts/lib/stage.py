"""Files from elsewhere on this host that an image build needs, put into that image's folder.

The same input gives the same bytes, so that an image is not rebuilt because a clock went on.
"""

from __future__ import annotations

import filecmp
import fnmatch
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from scripts.lib import log, paths
from scripts.lib.failure import Failure

KOBOLDCPP_TAR = paths.IMAGES / "koboldcpp" / "source.tar"
TORCH_WHEELS = paths.IMAGES / "embeddings" / "wheels"

# What marks koboldcpp's source; both have been there since its first release.
_MARKS = ("koboldcpp.py", "Makefile")
# What a used source folder holds besides the source. Weights would make the image gigabytes larger.
_LEFT_OUT = (".git", "__pycache__", "*.pyc", "*.o", "*.gguf", "*.ggml", "koboldcpp_*.so")


def kind_of(setting: str) -> str:
    """What KOBOLDCPP_SOURCE points at: "" (not set), "source", "missing", or "other" (something, but not koboldcpp)."""
    if not setting:
        return ""
    path = located(setting)
    if not path.exists():
        return "missing"
    try:
        if path.is_dir():
            return "source" if all((path / mark).is_file() for mark in _MARKS) else "other"
        with tarfile.open(path) as archive:
            return "source" if _top(archive.getnames()) is not None else "other"
    except (OSError, tarfile.TarError):
        return "other"


def located(setting: str) -> Path:
    """The path meant by a setting: `~` is the user's home, and a relative path starts at the checkout."""
    return paths.ROOT / Path(setting).expanduser()


def stage_koboldcpp(setting: str, target: Path = KOBOLDCPP_TAR) -> bool:
    """Pack the source that `setting` names into `target` (koboldcpp.py at its top). True when it changed."""
    source = located(setting)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".source.")
    os.close(descriptor)
    draft = Path(name)
    try:
        if source.is_dir():
            _pack_folder(source, draft)
        else:
            _pack_archive(source, draft)
        draft.chmod(0o644)
        if target.exists() and filecmp.cmp(draft, target, shallow=False):
            return False
        draft.replace(target)
    except (OSError, tarfile.TarError) as error:
        fact = f"KOBOLDCPP_SOURCE={setting} cannot be read: {error}"
        raise Failure("koboldcpp.source_invalid", fact, "give a folder or a .tar, .tar.gz or .tar.xz") from error
    finally:
        draft.unlink(missing_ok=True)
    return True


def _left_out(path: PurePosixPath) -> bool:
    return any(fnmatch.fnmatch(part, pattern) for part in path.parts for pattern in _LEFT_OUT)


def _plain(entry: tarfile.TarInfo, name: str) -> tarfile.TarInfo:
    entry.name = name
    entry.mtime = 0
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o111 else 0o644
    entry.pax_headers = {}
    return entry


def _pack_folder(source: Path, draft: Path) -> None:
    with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as out:
        for path in _walk(source):
            name = path.relative_to(source).as_posix()
            entry = _plain(out.gettarinfo(path, arcname=name), name)
            if entry.isreg():
                with path.open("rb") as file:
                    out.addfile(entry, file)
            elif entry.isdir() or entry.issym():
                out.addfile(entry)


def _walk(source: Path) -> Iterator[Path]:
    for path in sorted(source.iterdir()):
        if _left_out(PurePosixPath(path.name)):
            continue
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)


def _pack_archive(source: Path, draft: Path) -> None:
    with tarfile.open(source) as archive, tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as out:
        top = _top(archive.getnames())
        if top is None:
            raise tarfile.TarError("there is no koboldcpp.py in it")
        below = {}
        for member in archive.getmembers():
            path = PurePosixPath(member.name)
            if path != top and path.is_relative_to(top):
                below[path.relative_to(top)] = member
        # By path parts, as _walk goes: the folder and its archive give the same bytes.
        for path in sorted(below, key=lambda p: p.parts):
            if _left_out(path) or ".." in path.parts:
                continue
            member = below[path]
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None or member.isdir() or member.issym():
                out.addfile(_plain(member, path.as_posix()), content)


def _top(names: Sequence[str]) -> PurePosixPath | None:
    """The folder inside an archive where koboldcpp.py lies: the root, or the one folder that archives usually have."""
    known = {PurePosixPath(name) for name in names}
    tops = sorted((p.parent for p in known if p.name == _MARKS[0]), key=lambda p: len(p.parts))
    return next((top for top in tops if top / _MARKS[1] in known and len(top.parts) <= 1), None)


def stage_torch(wheels: Sequence[Path], target: Path = TORCH_WHEELS) -> bool:
    """Copy the first of `wheels` into the embeddings image's folder, and remove others there. True when it changed."""
    target.mkdir(parents=True, exist_ok=True)
    chosen = wheels[0] if wheels else None
    changed = False
    for old in target.glob("*.whl"):
        if chosen is None or old.name != chosen.name:
            old.unlink()
            changed = True
    if chosen is None:
        return changed
    copy = target / chosen.name
    if copy.exists() and copy.stat().st_size == chosen.stat().st_size:
        return changed
    log.info(f"taking {chosen.name} ({log.size(chosen.stat().st_size)}) from {chosen.parent}")
    draft = copy.with_name(f".{copy.name}.part")
    try:
        # With its time, by which images.py knows a large file: in another checkout it is the same input.
        shutil.copy2(chosen, draft)
        draft.replace(copy)
    finally:
        draft.unlink(missing_ok=True)
    return True
