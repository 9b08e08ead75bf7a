"""Finds the model file and looks whether koboldcpp could load it: its own answer to a half file is a crash."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from . import gguf
from .refusal import BAD_MODEL, RefusedError
from .settings import Settings

MODELS = Path("/models")

#: First four bytes of the formats from before GGUF (August 2023): GGML, GGMF and GGJT, which also is the magic of
#: the V1 to V3 ".bin" files. They are 32-bit numbers in little endian, so they read backwards.
_OLD_MAGICS = (b"lmgg", b"fmgg", b"tjgg")
_LORA_MAGIC = b"algg"
#: No language model is smaller; what is, mostly is a web page that says why there was no download.
_SMALLEST_OLD_MODEL = 1_000_000


@dataclass(frozen=True)
class Model:
    """A model file that was found to be whole, as far as its head tells. `head` is None for the formats before GGUF."""

    path: Path
    size: int
    head: gguf.Head | None


def located(settings: Settings, models: Path = MODELS) -> Settings:
    """The settings with the files of MMPROJ and LORA as paths, each looked at.

    Raises:
        RefusedError: one is not there, or cannot be what it is named as.
    """
    projector = str(_attached("MMPROJ", settings.projector, (gguf.MAGIC,), models)) if settings.projector else ""
    kinds = (gguf.MAGIC, _LORA_MAGIC)
    loras = tuple(replace(lora, file=str(_attached("LORA", lora.file, kinds, models))) for lora in settings.loras)
    return replace(settings, projector=projector, loras=loras)


def _attached(variable: str, name: str, kinds: tuple[bytes, ...], models: Path) -> Path:
    path = find(name, models, variable)
    magic = _magic(path, f"{variable}={name}: ")
    if magic not in kinds:
        raise _refused(f"{variable}={name}: {path} is no GGUF file (it starts with {magic!r})")
    return path


def find(name: str, models: Path = MODELS, variable: str = "MODEL") -> Path:
    """The file that `variable` names: a path, or a name in the models folder.

    Raises:
        RefusedError: there is no such file.
    """
    if not name:
        raise _refused("MODEL is not set: name a file in models/ or a catalogue entry in .env")
    path = Path(name) if Path(name).is_absolute() else models / name
    if path.is_file():
        return path
    what = "is a folder" if path.is_dir() else "does not exist in the container"
    there = sorted(entry.name for entry in models.glob("*") if entry.is_file()) if models.is_dir() else []
    have = f"it holds {', '.join(there[:10])}" if there else "it is empty"
    raise _refused(f"{variable}={name}: {path} {what}. The folder models/ of the appliance is {models} here; {have}")


def check(path: Path) -> Model:
    """Look at the file's first bytes and its size.

    Raises:
        RefusedError: koboldcpp could not load it.
    """
    magic = _magic(path)
    size = path.stat().st_size
    if magic == gguf.MAGIC:
        return Model(path, size, _whole_gguf(path, size))
    if magic == _LORA_MAGIC:
        raise _refused(f"{path} is a LoRA, which is applied on top of a model: name it in LORA")
    if magic not in _OLD_MAGICS:
        raise _refused(f"{path} is neither GGUF nor GGML (it starts with {magic!r}): is it a web page, or unfinished?")
    if size < _SMALLEST_OLD_MODEL:
        raise _refused(f"{path} is a GGML file of {size} bytes: the download was cut off; fetch it again")
    return Model(path, size, None)


def _magic(path: Path, whose: str = "") -> bytes:
    """A file's first bytes, which tell what it is; `whose` stands in front where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError as error:
        raise _refused(
            f"{whose}{path} cannot be read: {error.strerror}. The engine runs as user 10001: chmod a+r the file"
        ) from error


def _whole_gguf(path: Path, size: int) -> gguf.Head:
    try:
        head = gguf.read_head(path)
    except gguf.BrokenFileError as error:
        raise _refused(f"{path} is a GGUF file, but {error}: the download was cut off; fetch it again") from error
    if size < head.least_size:
        raise _refused(
            f"{path} has {size} bytes where its head says {head.least_size} or more: "
            "the download was cut off; fetch it again"
        )
    return head


def _refused(message: str) -> RefusedError:
    return RefusedError(message, BAD_MODEL)
