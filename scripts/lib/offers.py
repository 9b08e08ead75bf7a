"""What each model would take from this machine and give on it: the figures of `make models`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.lib import engine_values, gpus, paths, shapes, sizing, weights
from scripts.lib.failure import Failure
from scripts.lib.host import Gpu, Host
from scripts.lib.models import AUTO, CHAT, WEIGHTS, Model
from scripts.lib.reckoning import Shape, active_bytes, parameters, tokens_per_second
from scripts.lib.settings import Settings

FITS, SMALLER, TOO_LARGE = "fits", "fits with a smaller context", "does not fit"
BROKEN = "no whole model file: download it again"
# Slower than this is slower than people read.
READING_SPEED = 5.0
# Bytes of weights that one core multiplies in a second, however fast the memory is: SmolLM2 135M in Q4_1 (98 MB) gave
# 113 tokens/s on two cores with AVX2.
_PER_CORE = 5_500_000_000
# Below this many tokens a question with passages has no room.
LEAST_CONTEXT = 1024


@dataclass(frozen=True)
class Machine:
    """What counts: bytes of memory for the engine, bytes per second at which it is read, and cards (none = the CPU)."""

    left: int
    bandwidth: int
    cards: tuple[Gpu, ...] = ()


@dataclass(frozen=True)
class Offer:
    """A model on this machine. need in bytes at `context` tokens and `slots`; layers on the cards, of all_layers.

    tokens_s is the most that memory and cores allow to one visitor, None where that is not known: on a card.
    """

    model: Model
    here: bool
    need: int
    fits: str
    context: int
    slots: int
    tokens_s: float | None = None
    layers: int = 0
    all_layers: int = 0
    best: bool = False

    @property
    def usable(self) -> bool:
        return self.fits == FITS and (self.tokens_s is None or self.tokens_s >= READING_SPEED)


def reckon(
    settings: Settings, host: Host, machine: Machine, catalog: Mapping[str, Model], engine: str, folder: Path
) -> list[Offer]:
    """All models for chat: of the catalogue, its quantisations that are here, and other files in models/."""
    found = [_offer(model, settings, host, machine, engine) for model in _candidates(host, catalog, folder)]
    return _with_best([_judged(offer, folder) for offer in found], bool(machine.cards))


def _candidates(host: Host, catalog: Mapping[str, Model], folder: Path) -> list[Model]:
    meant = []
    known = set()
    for model in catalog.values():
        known |= {weights.file for weights in model.files.values()} | {adapter.file for adapter in model.adapters}
        known |= {model.projector.file} if model.projector else set()
        if model.use != CHAT:
            continue
        here = [label for label, weights in model.files.items() if weights.file in host.model_files]
        labels = [model.quantisation, *(label for label in here if label != model.quantisation)]
        meant += [model.quantised(label) for label in labels]
    for file, size in host.model_files.items():
        if file not in known and file.lower().endswith(WEIGHTS):
            meant.append(Model(Path(file).stem, Path(file).stem, file, size, AUTO))
    return [_as_here(model, host, folder) for model in meant]


def _as_here(model: Model, host: Host, folder: Path) -> Model:
    if model.file not in host.model_files:
        return model
    return replace(model, size=host.model_files[model.file], shape=shapes.shape(folder / model.file) or model.shape)


def _offer(model: Model, settings: Settings, host: Host, machine: Machine, engine: str) -> Offer:
    context, here = settings.number("CONTEXT_SIZE"), model.file in host.model_files
    if machine.cards and model.shape:
        return _on_cards(model, model.shape, settings, machine, here)
    batch = engine_values.batch(engine, gpu=False, vision=model.projector is not None)
    if settings["ENGINE_BATCH"] != "auto":
        batch = settings.number("ENGINE_BATCH")
    memory = machine.left + sizing.SERVICES + sizing.SYSTEM
    auto = settings["ENGINE_SLOTS"] == "auto"
    slots = sizing.slots(engine, False, model, context, batch, memory) if auto else settings.number("ENGINE_SLOTS")
    need = sizing.engine_need(model, context, slots, batch, engine)
    fits, tried = (FITS if need.total <= machine.left else TOO_LARGE), context
    while fits == TOO_LARGE and tried > LEAST_CONTEXT:
        tried = max(LEAST_CONTEXT, tried // 2)
        if sizing.engine_need(model, tried, 1 if auto else slots, batch, engine).total <= machine.left:
            fits = SMALLER
    speed = tokens_per_second(active_bytes(model.size, model.shape), min(machine.bandwidth, host.cores * _PER_CORE))
    return Offer(model, here, need.total, fits, tried if fits == SMALLER else context, slots, speed)


def _judged(offer: Offer, folder: Path) -> Offer:
    """The offer, or that its file is here and no model: what its size would promise counts for nothing."""
    path = folder / offer.model.file
    if not offer.here or shapes.shape(path):
        return offer
    try:
        weights.check(path)
    except (Failure, OSError):
        return replace(offer, fits=BROKEN, tokens_s=None)
    return offer


def _on_cards(model: Model, shape: Shape, settings: Settings, machine: Machine, here: bool) -> Offer:
    given = settings["ENGINE_SLOTS"]
    slots, layers = gpus.fitted(settings, machine.cards, model, int(given) if given != "auto" else None)
    whole, context = gpus.all_layers(shape), settings.number("CONTEXT_SIZE")
    need = sizing.engine_need(model, context, slots, engine_values.batch("llamacpp", gpu=True)).total
    fits = FITS if layers >= whole or layers == gpus.ITS_CHOICE else TOO_LARGE
    return Offer(model, here, need, fits, context, slots, None, layers, whole)


def _with_best(offers: Sequence[Offer], on_cards: bool) -> list[Offer]:
    """The largest of those that are advised and fast enough is the best; on a small machine any that fits."""
    advised = [offer for offer in offers if offer.model.advised and offer.usable]
    fitting = [offer for offer in offers if offer.fits == FITS and offer.model.source is not None]
    chosen = max(advised, key=_weights, default=None) or max(fitting, key=lambda o: o.tokens_s or 0, default=None)
    return [replace(offer, best=offer is chosen) for offer in offers]


def _weights(offer: Offer) -> int:
    return parameters(offer.model.shape) if offer.model.shape else offer.model.size


def why(offer: Offer, machine: Machine) -> str:
    """Why the best one is."""
    if machine.cards:
        return f"the largest of those advised that is on {', '.join(card.name for card in machine.cards)} as a whole"
    if offer.model.advised and offer.usable:
        return f"the largest of those advised that fits and gives {READING_SPEED:g} tokens/s or more, as people read"
    return f"none of those advised fits and gives {READING_SPEED:g} tokens/s; this one is the fastest that fits"


def for_retrieval(catalog: Mapping[str, Model], folder: Path = paths.MODELS) -> list[tuple[Model, bool]]:
    """(a model for embedding or reranking, whether its folder is here)."""
    return [(model, (folder / model.file).is_dir()) for model in catalog.values() if model.use != CHAT]
