"""The environment of an engine image, read once. Every other module gets values, not variables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from .refusal import RefusedError

_AUTO_LAYERS = -1  # koboldcpp's own sign for "as many as fit"


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
    """

    model: str
    context_size: int
    threads: int | None
    gpu_layers: int
    slots: int
    words: tuple[str, ...] = ()

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


def _words(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(environment.get(name, "")))
    except ValueError as error:
        raise RefusedError(f"{name} cannot be split into words: {str(error).lower()}") from None
