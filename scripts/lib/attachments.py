"""What is put on top of a model's weights: a vision projector (MMPROJ) and LoRA adapters (LORA), or the catalogue's."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from scripts.lib.findings import ERROR, WARNING, Finding
from scripts.lib.models import Model
from scripts.lib.preflight_engine import link
from scripts.lib.settings import Settings
from scripts.lib.situation import Situation

_GGUF = "GGUF"
# LoRAs of llama.cpp's time before GGUF, which koboldcpp's older versions take; the number reads backwards.
_OLD_LORA = "algg"
_PROJECTOR, _ADAPTERS = "MMPROJ", "LORA"


@dataclass(frozen=True)
class Attachment:
    """A file in models/. `setting` is what names it, "" where the catalogue does; `scale` is an adapter's."""

    file: str
    setting: str
    scale: float = 1.0


def projector(settings: Settings, model: Model) -> Attachment | None:
    """The projector that makes the model see: MMPROJ's, else the catalogue's own."""
    if settings[_PROJECTOR]:
        return Attachment(_plain(settings[_PROJECTOR]), _PROJECTOR)
    return Attachment(model.projector.file, "") if model.projector else None


def adapters(settings: Settings, model: Model) -> list[Attachment]:
    """The adapters: LORA's, each with its :scale or fully applied, else the catalogue's own."""
    if not settings[_ADAPTERS]:
        return [Attachment(each.file, "", each.scale) for each in model.adapters]
    found = []
    for part in settings[_ADAPTERS].split(","):
        file, _, scale = part.strip().partition(":")
        found.append(Attachment(_plain(file), _ADAPTERS, float(scale or 1)))
    return found


def projector_path(settings: Settings, model: Model, there: Collection[str]) -> str:
    """Inside of the engine's container; "" for none. `there` are the files in models/: what only the catalogue names
    and nobody has fetched is left out (see `check`)."""
    sees = projector(settings, model)
    return f"/models/{sees.file}" if sees and (sees.setting or sees.file in there) else ""


def adapter_paths(settings: Settings, model: Model, there: Collection[str]) -> str:
    """The same of the adapters, with their scales and commas between."""
    applied = [each for each in adapters(settings, model) if each.setting or each.file in there]
    return ",".join(f"/models/{each.file}:{each.scale:g}" for each in applied)


def check(s: Situation) -> Iterator[Finding]:
    """A file that is not there or is none, and what an engine does not take. For preflight."""
    model = s.model
    if model is None:
        return
    if s.engine == "external":
        named = [name for name in (_PROJECTOR, _ADAPTERS) if s.settings[name]]
        if named:
            fact = f"{' and '.join(named)} mean nothing to ENGINE=external: it loads its own"
            yield Finding("attachment.ignored", WARNING, fact, "tell that server instead")
        return
    sees, applied = projector(s.settings, model), adapters(s.settings, model)
    for each in [*([sees] if sees else []), *applied]:
        yield from _file(s, each, what="projector" if each is sees else "adapter")
    if s.engine == "koboldcpp" and len(applied) > 1:
        fact = f"LORA names {len(applied)} adapters, and koboldcpp applies one"
        yield Finding("lora.too_many", ERROR, fact, "name one, or take ENGINE=llamacpp, which applies several")


def _file(s: Situation, each: Attachment, *, what: str) -> Iterator[Finding]:
    if each.file not in s.host.model_files:
        fact = f"models/{each.file}, the model's {what}, is not there"
        if each.setting:
            hint = f"put the file there, or correct {each.setting}"
            yield Finding("attachment.missing", ERROR, f"{each.setting}: {fact}", hint)
        else:
            hint = f"`make model NAME={s.settings['MODEL']}` fetches it; until then the model does without"
            yield Finding("attachment.missing", WARNING, fact, hint)
        return
    yield from link(s, each.file)
    head = s.host.model_heads.get(each.file)
    takes = (_GGUF, _OLD_LORA) if what == "adapter" and s.engine == "koboldcpp" else (_GGUF,)
    if head is not None and head not in takes:
        begins = f"it begins with {head.encode('latin-1')!r}" if head else "it is empty"
        fact = f"models/{each.file} is no GGUF file, and the model's {what} must be one: {begins}"
        yield Finding("attachment.not_gguf", ERROR, fact, "download it again, or convert it with llama.cpp's scripts")


def _plain(name: str) -> str:
    return name.strip().removeprefix("models/")
