"""Models: those of the catalogue, the files that there are, and the memory that each would take.

The figures are those by which `make up` judges (core.fitting, and scripts/lib/sizing.py; a test holds them together).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chatproxy.core.fitting import Shape, need

CHAT = "chat"

MB = 1 << 20
# Everything but the engine with the embedding model loaded, and the system.
SERVICES, SYSTEM = 1360 * MB, 256 * MB
# Tokens of a prompt that llama.cpp reads in one go on a CPU (images/llamacpp/serve.py).
_BATCH = 64


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model tells about itself; "" and None for what it does not tell.

    `chat_template` is Jinja as Hugging Face writes it. `control` are its vocabulary's control tokens (GGUF's token type
    3), `user_defined` those of type 4. `adds_bos` tells whether the engine puts `bos` in front of a prompt, None where
    only the engine knows. `context_length` in tokens, as the model was trained. `shape` is what its memory is reckoned
    by.
    """

    architecture: str = ""
    context_length: int | None = None
    chat_template: str = ""
    bos: str = ""
    eos: str = ""
    adds_bos: bool | None = None
    control: tuple[str, ...] = ()
    user_defined: tuple[str, ...] = ()
    title: str = ""
    shape: Shape | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A model of the catalogue: `size` of its file in bytes, `context` in tokens as it was trained, 0 for unknown.

    `about`: the source has not told the size yet. `use` is chat, embedding or reranker; for the latter `file` is a
    folder, which is `there` or not. `files` are the quantisations by name. `projector` in bytes, 0 for none.
    """

    name: str
    title: str
    file: str
    size: int
    format: str
    context: int = 0
    licence: str = ""
    good_for: str = ""
    quantisation: str = ""
    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    about: bool = False
    shape: Shape | None = None
    projector: int = 0
    use: str = CHAT
    there: bool = False


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of weights. `facts` are None for a kind of file that tells nothing, with a `problem` for one that cannot
    be read, and while it is not `read` yet."""

    name: str
    size: int
    facts: ModelFacts | None = None
    problem: str = ""
    read: bool = True


class ModelShelf(Protocol):
    """The models that there are."""

    def catalogue(self) -> Sequence[Offer]:
        """Raises ConfigurationError for one that cannot be read."""
        ...

    def files(self) -> Sequence[ModelFile]:
        """Files of weights, by name; at once: what is new is read behind, and told by the next call."""
        ...

    def memory(self) -> int | None:
        """The machine's memory in bytes, None where nobody tells."""
        ...


def engine_need(size: int, shape: Shape | None, context: int, conversations: int = 1, projector: int = 0) -> int:
    """Bytes that an engine needs for weights of `size` bytes and so many conversations of `context` tokens."""
    return need(size, shape, context=context, slots=conversations, batch=_BATCH, projector=projector).total


def left_for_engine(memory: int) -> int:
    """Bytes that the other services and the system leave to the engine; may be negative."""
    return memory - SERVICES - SYSTEM
