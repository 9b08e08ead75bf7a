"""Tokens as the embedding model counts them: its own tokenizer, from the embeddings service, run here without torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer

from chatproxy.adapters.calls import CallFailed, Service
from chatproxy.adapters.embeddings import EmbeddingsFailure
from chatproxy.adapters.remembered import Remembered

_TIMEOUT_S = 30.0
# A model that is exchanged under a running worker is noticed within minutes; the file has half a megabyte.
_LASTS_S = 600.0
# What the library makes of a text, some hundred bytes for each token, is thrown away at once: only a slice of all texts
# has it at a time.
_MOST_TEXTS, _MOST_CHARACTERS = 256, 200_000


class TokenCounts:
    """Implements core.knowledge_ports.TokenCounter. Thread-safe."""

    def __init__(self, url: str) -> None:
        self._service = Service(url)
        self._known = Remembered(self._ask, lasts_s=_LASTS_S)

    def count(self, texts: Sequence[str]) -> list[int]:
        """See core.knowledge_ports.TokenCounter. Raises EmbeddingsFailure."""
        tokenizer, _ = self._known.get()
        return [
            len(each.ids)
            for few in _slices(texts)
            for each in tokenizer.encode_batch_fast(few, add_special_tokens=False)
        ]

    def most_read(self) -> int:
        """See core.knowledge_ports.TokenCounter. Raises EmbeddingsFailure."""
        return self._known.get()[1]

    def _ask(self) -> tuple[Tokenizer, int]:
        try:
            answer = self._service.get("/v1/tokenizer", timeout_s=_TIMEOUT_S)
            tokenizer = Tokenizer.from_str(json.dumps(answer["tokenizer"]))
            most = int(answer["max_length"]) - tokenizer.num_special_tokens_to_add(is_pair=False)
        except CallFailed as error:
            raise EmbeddingsFailure(f"embeddings: {error}") from None
        except (KeyError, TypeError, ValueError):
            raise EmbeddingsFailure("embeddings: the answer holds no tokenizer") from None
        except Exception as error:  # `tokenizers` raises nothing narrower for a file that it cannot use
            raise EmbeddingsFailure(f"embeddings: the tokenizer cannot be used: {error}") from None
        # A model's file has it cut and fill up texts, which would count alike.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer, most


def _slices(texts: Sequence[str]) -> Iterator[list[str]]:
    """All texts, a few at a time; one that is longer than all of these may be comes alone."""
    few, held = list[str](), 0
    for text in texts:
        if few and (len(few) == _MOST_TEXTS or held + len(text) > _MOST_CHARACTERS):
            yield few
            few, held = [], 0
        few.append(text)
        held += len(text)
    if few:
        yield few
