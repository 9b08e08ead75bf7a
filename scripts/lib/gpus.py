"""What `make up GPU=1` makes of the machine's cards: which ones, through which backend, with how many layers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scripts.lib import engine_values, paths
from scripts.lib.host import Gpu, Host
from scripts.lib.models import Model
from scripts.lib.reckoning import Shape, layers_on_gpu
from scripts.lib.settings import Settings
from scripts.lib.sources import Choice

# koboldcpp's portable CUDA 12 build holds PTX from compute capability 5.0 on (its Makefile, LLAMA_ARCHES_CU12), which
# the driver compiles at the first start: that takes a driver as new as the compiler's CUDA 12.8.
LEAST_COMPUTE = (5, 0)
CUDA_DRIVER = (570, 26)
BACKENDS = ("cuda", "vulkan", "clblast")
# The compose fragment with the reservations for all cards of a kind, and the one that is made for some of them.
ALL_CARDS = "compose/gpu.yml"
_SOME_CARDS = paths.STATE / "gpu.json"
_MAX_SLOTS = 4
# A share of the split stands for so much memory.
_SHARE = 256 * 2**20
# koboldcpp's own sign for "as many as fit", where the file or the card does not tell enough to compute them.
ITS_CHOICE = -1


@dataclass(frozen=True)
class Use:
    """What the engine gets. layers count the output as one more, -1 = the engine's choice; split: shares per card."""

    cards: tuple[Gpu, ...]
    backend: str
    layers: int
    slots: int
    split: tuple[int, ...] = ()
    # Just all of the machine's cards that this kind of reservation can name.
    every: bool = True

    @property
    def kind(self) -> str:
        """The way into a container: NVIDIA's container toolkit, or the kernel's render nodes."""
        return "nvidia" if self.cards[0].vendor == "nvidia" else "dri"

    @property
    def names(self) -> str:
        return ", ".join(card.name for card in self.cards)

    def values(self, host: Host) -> dict[str, str]:
        """What Compose is given. Inside the container the cards are numbered anew, so that all of them are meant."""
        return {
            "GPU": "1",
            "GPU_KIND": self.kind if self.every else "some",
            "GPU_FRAGMENT": ALL_CARDS if self.every else f"{_SOME_CARDS.parent.name}/{_SOME_CARDS.name}",
            "GPU_GROUP": str(host.render_group) if self.kind == "dri" else "",
            "GPU_NAMES": self.names,
            "KOBOLDCPP_BACKEND_RESOLVED": self.backend,
            "GPU_LAYERS_RESOLVED": str(self.layers),
            "TENSOR_SPLIT_RESOLVED": ",".join(map(str, self.split)) or "auto",
        }

    def write_reservation(self, host: Host) -> None:
        """The fragment for some of the cards: Compose can fill a list's items in, but not their number."""
        if not self.every:
            _SOME_CARDS.write_text(json.dumps(self.reservation(host), indent=1) + "\n", encoding="utf-8")

    def reservation(self, host: Host) -> dict[str, Any]:
        """The same as compose/gpu.yml has for all cards, for these alone."""
        if self.kind == "nvidia":
            ids = [str(card.index) for card in self.cards]
            device: Mapping[str, Any] = {"driver": "nvidia", "device_ids": ids, "capabilities": ["gpu"]}
            return {"services": {"some": {"deploy": {"resources": {"reservations": {"devices": [device]}}}}}}
        nodes = [card.node for card in self.cards]
        return {"services": {"some": {"devices": nodes, "group_add": [str(host.render_group)]}}}


def told(values: Mapping[str, str]) -> str:
    """What the last `make up` gave the engine, in words; "" on the CPU."""
    if not values.get("GPU"):
        return ""
    layers = values.get("GPU_LAYERS_RESOLVED", "")
    many = "as many layers as fit" if layers == str(ITS_CHOICE) else f"{layers} layers"
    return f"{many} on {values.get('GPU_NAMES')} ({values.get('KOBOLDCPP_BACKEND_RESOLVED')})"


def candidates(host: Host) -> tuple[Gpu, ...]:
    """The cards that GPU_DEVICES counts: NVIDIA's where there are any, else those with a render node of their own."""
    nvidia = tuple(card for card in host.gpus if card.vendor == "nvidia")
    if nvidia:
        return nvidia
    # A processor's own graphics has no memory to speak of, and is left out beside a real card.
    real = tuple(card for card in host.gpus if card.memory >= 2**30)
    return real or host.gpus


def named(settings: Settings, host: Host) -> tuple[Gpu, ...]:
    """Those of the candidates that GPU_DEVICES names; a number that is none of theirs gives nothing."""
    every = candidates(host)
    if settings["GPU_DEVICES"] == "all":
        return every
    wanted = {int(number) for number in settings["GPU_DEVICES"].split(",")}
    return tuple(card for card in every if card.index in wanted)


def backend(settings: Settings, cards: tuple[Gpu, ...], *, packages: bool) -> tuple[str, str]:
    """(the backend, why it is not the one that is set: "" where it is)."""
    chosen = settings["KOBOLDCPP_BACKEND"]
    if chosen in BACKENDS:
        return chosen, ""
    if cards[0].vendor != "nvidia":
        return "vulkan", "the card is none of NVIDIA's"
    if packages:
        return "vulkan", "CUDA's compiler is not among the packages"
    if min(card.driver for card in cards) < CUDA_DRIVER:
        return "vulkan", f"CUDA 12.8 wants the driver {_dotted(CUDA_DRIVER)}, this is {_dotted(cards[0].driver)}"
    return "cuda", "the card is NVIDIA's"


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version)) or "unknown"


def use(settings: Settings, host: Host, choice: Choice, model: Model) -> Use:
    """What the engine gets of cards that nothing is wrong with (see preflight_gpu)."""
    cards = named(settings, host)
    chosen, _ = backend(settings, cards, packages=choice.kind == "packages")
    every = cards == host.gpus
    if chosen == "clblast" and len(cards) > 1:
        # It computes on one card and takes the first that it sees.
        cards, every = (max(cards, key=lambda card: card.free),), False
    given_slots, given_layers = settings["ENGINE_SLOTS"], settings["GPU_LAYERS"]
    slots, layers = fitted(settings, cards, model, int(given_slots) if given_slots != "auto" else None)
    if given_layers != "auto":
        layers = int(given_layers)
    return Use(cards, chosen, layers, slots, split(settings, cards), every)


def split(settings: Settings, cards: tuple[Gpu, ...]) -> tuple[int, ...]:
    """Each card's share of the layers; nothing for a single one, or where a card does not tell its memory."""
    if len(cards) < 2:
        return ()
    if settings["TENSOR_SPLIT"] != "auto":
        return tuple(map(int, settings["TENSOR_SPLIT"].split(",")))
    return tuple(card.free // _SHARE for card in cards) if all(card.memory for card in cards) else ()


def fitted(settings: Settings, cards: tuple[Gpu, ...], model: Model, slots: int | None) -> tuple[int, int]:
    """(slots, layers) for the cards' free memory: with `slots` None the most that leave the whole model on them."""
    shape = model.shape
    if shape is None or not all(card.memory for card in cards):
        return slots or _MAX_SLOTS, ITS_CHOICE
    wishes = [slots] if slots else range(_MAX_SLOTS, 0, -1)
    layers = 0
    for wish in wishes:
        layers = fitting_layers(settings, cards, model, shape, wish)
        if layers == all_layers(shape):
            return wish, layers
    return wishes[-1], layers


def fitting_layers(settings: Settings, cards: tuple[Gpu, ...], model: Model, shape: Shape, slots: int) -> int:
    free, context, batch = [card.free for card in cards], settings.number("CONTEXT_SIZE"), settings["ENGINE_BATCH"]
    tokens = engine_values.batch("koboldcpp", gpu=True) if batch == "auto" else int(batch)
    # A projector lies on the first card as a whole; adapters are small, and counted there too.
    free[0] -= (model.projector.size if model.projector else 0) + sum(one.size for one in model.adapters)
    return layers_on_gpu(model.size, shape, free, context=context, slots=slots, batch=tokens)


def all_layers(shape: Shape) -> int:
    """The output counts as one more, as in koboldcpp and llama.cpp."""
    return shape.layers + 1
