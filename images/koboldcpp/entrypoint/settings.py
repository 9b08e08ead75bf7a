"""The environment of an engine image, read once. Every other module gets values, not variables."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from .refusal import RefusedError

_AUTO_LAYERS = -1  # koboldcpp's own sign for "as many as fit"
#: Cards that koboldcpp can split a model among.
_MOST_CARDS = 16


@dataclass(frozen=True)
class Lora:
    """An adapter that is applied on top of the model: a path or a name under /models, and how strongly (1 = fully)."""

    file: str
    scale: float = 1.0


@dataclass(frozen=True)
class Settings:
    """What the operator set.

    Attributes:
        model: MODEL, a path or a name under /models; empty where only LAUNCH_COMMAND names it.
        context_size: CONTEXT_SIZE, tokens per conversation.
        threads: THREADS; None leaves the choice to koboldcpp.
        gpu_layers: GPU_LAYERS; -1 is as many as fit.
        slots: ENGINE_SLOTS, conversations that are answered at the same time.
        words: the flags of LAUNCH_COMMAND, then those of KOBOLDCPP_ARGS, which win.
        batch: BATCH, tokens of a prompt that are read in one go; None leaves the choice to koboldcpp.
        mmap: MMAP, whether the weights are mapped from their file; None leaves the choice to koboldcpp.
        mlock: MLOCK, whether the weights are kept from being paged out.
        prompt_cache: PROMPT_CACHE_MIB, bytes for the contexts of other conversations; None = what the memory allows.
        projector: MMPROJ, the vision projector's path or name under /models; empty = the model sees nothing.
        loras: LORA.
        tensor_split: TENSOR_SPLIT, each card's share of the model; empty = by their free memory.
        devices: GPU_DEVICES, the cards' numbers; empty = all.
    """

    model: str
    context_size: int
    threads: int | None
    gpu_layers: int
    slots: int
    words: tuple[str, ...] = ()
    batch: int | None = None
    mmap: bool | None = None
    mlock: bool = False
    prompt_cache: int | None = None
    projector: str = ""
    loras: tuple[Lora, ...] = ()
    tensor_split: tuple[float, ...] = ()
    devices: tuple[int, ...] = ()

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """Read the environment.

        Raises:
            RefusedError: a value is not of its kind; the message names variable and value.
        """
        threads = _text(environment, "THREADS")
        layers = _text(environment, "GPU_LAYERS")
        return cls(
            model=_text(environment, "MODEL"),
            # koboldcpp accepts 256 to 262144 in every version; newer ones more.
            context_size=_number(environment, "CONTEXT_SIZE", "4096", 256, 262_144),
            threads=None if threads in ("", "auto") else _number(environment, "THREADS", "", 1, 1024),
            gpu_layers=_AUTO_LAYERS if layers in ("", "auto") else _number(environment, "GPU_LAYERS", "", -1, 9999),
            # --parallelrequests takes at most 32
            slots=_number(environment, "ENGINE_SLOTS", "1", 1, 32),
            words=(*launch_flags(_words(environment, "LAUNCH_COMMAND")), *_words(environment, "KOBOLDCPP_ARGS")),
            batch=_optional_number(environment, "BATCH", 16, 4096),
            mmap=_switch(environment, "MMAP"),
            mlock=_switch(environment, "MLOCK") or False,
            prompt_cache=None
            if (cache := _optional_number(environment, "PROMPT_CACHE_MIB", 0, 1 << 24)) is None
            else cache << 20,
            projector=_text(environment, "MMPROJ"),
            loras=tuple(map(_lora, _list(environment, "LORA"))),
            tensor_split=_shares(environment, "TENSOR_SPLIT"),
            devices=_devices(environment, "GPU_DEVICES"),
        )


def launch_flags(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a launch line behind the program: ``python koboldcpp.py --threads 8`` gives ``--threads 8``."""
    for position, word in enumerate(words):
        name = PurePosixPath(word.replace("\\", "/")).name.lower()
        if re.fullmatch(r"koboldcpp[\w.-]*", name) and not name.endswith((".bin", ".gguf", ".ggml")):
            return words[position + 1 :]
        if not re.fullmatch(r"python[\d.]*(\.exe)?|-u", name):
            break
    else:
        return ()
    return words[position:]


def _text(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name, "").strip()


def _number(environment: Mapping[str, str], name: str, default: str, least: int, most: int) -> int:
    raw = _text(environment, name) or default
    try:
        value = int(raw)
    except ValueError:
        raise RefusedError(f"{name}={raw} is not a whole number") from None
    if not least <= value <= most:
        raise RefusedError(f"{name}={raw} is not between {least} and {most}")
    return value


def _optional_number(environment: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    return None if _text(environment, name) in ("", "auto") else _number(environment, name, "", least, most)


def _switch(environment: Mapping[str, str], name: str) -> bool | None:
    raw = _text(environment, name)
    if raw not in ("", "on", "off"):
        raise RefusedError(f"{name}={raw} is neither on nor off")
    return raw == "on" if raw else None


def _list(environment: Mapping[str, str], name: str) -> list[str]:
    """The parts between commas; none of them may be empty."""
    raw = _text(environment, name)
    parts = [part.strip() for part in raw.split(",")] if raw else []
    if not all(parts):
        raise RefusedError(f"{name}={raw} has nothing between two commas")
    return parts


def _lora(part: str) -> Lora:
    file, colon, scale = part.rpartition(":")
    if not colon:
        return Lora(part)
    try:
        value = float(scale)
    except ValueError:
        value = math.nan
    if not file or not math.isfinite(value):
        raise RefusedError(f"LORA={part}: behind the colon stands the scale, a number as 0.5")
    return Lora(file, value)


def _shares(environment: Mapping[str, str], name: str) -> tuple[float, ...]:
    raw = _text(environment, name)
    if raw in ("", "auto"):
        return ()
    try:
        shares = tuple(float(part) for part in _list(environment, name))
    except ValueError:
        shares = ()
    fits = 1 <= len(shares) <= _MOST_CARDS and all(0 <= share < math.inf for share in shares) and any(shares)
    if not fits:
        raise RefusedError(f"{name}={raw} is not a list of shares, one number for each card, as 3,1")
    return shares


def _devices(environment: Mapping[str, str], name: str) -> tuple[int, ...]:
    raw = _text(environment, name)
    if raw in ("", "all"):
        return ()
    parts = _list(environment, name)
    if not all(re.fullmatch(r"\d{1,2}", part) for part in parts) or len(set(map(int, parts))) < len(parts):
        raise RefusedError(f"{name}={raw} is neither all nor a list of different cards' numbers, as 0,1")
    return tuple(map(int, parts))


def _words(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(environment.get(name, "")))
    except ValueError as error:
        raise RefusedError(f"{name} cannot be split into words: {str(error).lower()}") from None
