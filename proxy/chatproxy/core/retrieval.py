"""Finding the passages that answer a question.

    question -> [nearest vectors | best by words] -> fused by score -> texts -> reranked -> relevant? -> merged

Dense search finds what means the same, lexical search what is called the same (names, numbers, error codes). Their
scores are added, on one scale: ranks alone do not tell a clear best hit from one among many alike (Bruch, Gai, Ingber:
An Analysis of Fusion Functions for Hybrid Retrieval, TOIS 2023; `make bench ONLY=knowledge` agrees). A follow-up
question ("and on Sundays?") is searched twice, alone and behind the question before it: that costs one more vector, not
a model's call.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from chatproxy.core.passages import Explained, Hit, Passage, Seen
from chatproxy.core.ports import Embedder, PassageStore, Reranker, Vectors, Words
from chatproxy.core.stop_words import telling
from chatproxy.errors import ChatProxyError

_log = logging.getLogger(__name__)

# How many candidates each search contributes, and how many of them a reranker reads.
_CANDIDATES = 50
_RERANKED = 20
# What the best hit by words counts beside a cosine. Up to 0.3 it makes little difference to questions in sentences; the
# more, the surer are names and codes found that the embedding model does not know.
_WORDS_WEIGHT = 0.15
# So much less near may be what the best passage says in the question's own words: error codes, names, other subjects
# than the embedding model was trained on.
_SHARED_WORDS = 0.2
_INFLECTED = 3  # letters that forms of one word differ by at its end, and the fewest that they share
_COSINE_OF_ONE, _COSINE_PER_TENFOLD, _MOST_COSINE = 0.14, 0.105, 0.5
# What a search for the follow-up with the question before it counts beside the one for the follow-up alone.
_CONTEXT_WEIGHT = 0.5
# Questions of more words than this say themselves what they are about.
_LONGEST_FOLLOW_UP = 12
# Chunks of one section, so far from the better one, are told with it as one passage.
_NEIGHBOUR = 1
# For each passage wanted, so many chunks are looked at: of those further down none is worth its place in the prompt.
_LOOKED_AT = 2


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What counts as relevant: a cosine where nothing reranks, else the reranker's relevance. From 0 to 1.

    `cosine` is what the nearest meaning must come to where the best passage has none of the question's own words; where
    it has all of them, `_SHARED_WORDS` less. None: as many chunks as are searched ask for, see `least_cosine`.
    """

    cosine: float | None = None
    relevance: float = 0.1


def least_cosine(chunks: int) -> float:
    """The cosine from which a passage is relevant, where it is the nearest of so many.

    The more chunks there are, the nearer is the nearest to a question about something else: the best of many draws. Of
    50 such questions nine in ten stay below 0.22 among 10 chunks drawn from Python's documentation, 0.32 among 100, and
    0.43 among the 941 of `make bench ONLY=knowledge`; of those about the documents 97 in 100 lie above. The upper bound
    keeps questions of a large site answered.
    """
    return min(_MOST_COSINE, _COSINE_OF_ONE + _COSINE_PER_TENFOLD * math.log10(max(1, chunks)))


@dataclass(frozen=True, slots=True)
class Search:
    """What was found for one text: hits by cosine, hits by words, and what the text counts."""

    near: Sequence[Hit]
    named: Sequence[Hit]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class _Judged:
    """All candidates, best first, those of them that are relevant, and why; scores by chunk."""

    passages: Sequence[Passage]
    relevant: Sequence[Passage]
    reached: float | None = None
    needed: float | None = None
    cosines: Mapping[str, float] = field(default_factory=dict)
    words: Mapping[str, float] = field(default_factory=dict)
    relevances: Mapping[str, float] = field(default_factory=dict)


class Retrieval:
    """Implements core.ports.Passages."""

    def __init__(
        self,
        vectors: Vectors,
        words: Words,
        store: PassageStore,
        embedder: Embedder,
        reranker: Reranker | None = None,
        thresholds: Thresholds = Thresholds(),
    ) -> None:
        self._vectors, self._words, self._store = vectors, words, store
        self._embedder, self._reranker, self._thresholds = embedder, reranker, thresholds

    def find(self, collections: Sequence[str], question: str, count: int, *, before: str = "") -> Sequence[Passage]:
        """See core.ports.Passages."""
        return merged(self._judged(collections, question, before).relevant, count)

    def explain(self, collections: Sequence[str], question: str, count: int) -> Explained:
        """See core.ports.Passages."""
        judged = self._judged(collections, question, "")
        groups = grouped(judged.relevant or judged.passages, count)
        seen = tuple(
            Seen(
                joined(group),
                _best(judged.cosines, group),
                _best(judged.words, group),
                _best(judged.relevances, group),
            )
            for group in groups
        )
        return Explained(seen, bool(judged.relevant), judged.reached, judged.needed)

    def _judged(self, collections: Sequence[str], question: str, before: str) -> _Judged:
        if not collections or not question.strip():
            return _Judged((), ())
        asked = [(question, 1.0)]
        if before and len(question.split()) <= _LONGEST_FOLLOW_UP:
            asked.append((f"{before}\n{question}", _CONTEXT_WEIGHT))
        embedded = self._embedder.embed([text for text, _ in asked]).vectors
        nearest = [self._vectors.nearest(collection, embedded, _CANDIDATES) for collection in collections]
        searches: list[Search] = []
        cosines: dict[str, float] = {}
        for at, (text, weight) in enumerate(asked):
            near = [hit for hits in nearest for hit in hits[at]]
            named = [hit for name in collections for hit in self._words.best(name, _told(text), _CANDIDATES)]
            searches.append(Search(near, named, weight))
            for hit in near:
                cosines[hit.id] = max(hit.score, cosines.get(hit.id, -1.0))
        ranked = fused(searches)
        found = self._store.passages(ranked[:_CANDIDATES])
        passages = [replace(found[key], score=cosines.get(key, 0.0)) for key in ranked if key in found]
        together = asked[-1][0]
        judged = self._reranked(together, passages) or self._by_nearness(together, passages, cosines, collections)
        scores = {hit.id: hit.score for search in reversed(searches) for hit in search.named}
        return replace(judged, cosines=cosines, words=scores)

    def _reranked(self, question: str, passages: Sequence[Passage]) -> _Judged | None:
        """None where nothing reranks, or cannot at the moment."""
        if not self._reranker or not passages:
            return None
        read = passages[:_RERANKED]
        try:
            scores = self._reranker.relevance(question, [_whole(passage) for passage in read])
        except ChatProxyError as error:
            _log.warning("not reranked: %s", error)
            return None
        if scores is None:
            return None
        scored = sorted(zip(scores, read, strict=True), key=lambda pair: -pair[0])
        ordered = [replace(passage, score=score) for score, passage in scored]
        needed = self._thresholds.relevance
        relevant = [passage for passage in ordered if passage.score >= needed]
        relevances = {passage.id: passage.score for passage in ordered}
        return _Judged(ordered, relevant, max(scores, default=None), needed, relevances=relevances)

    def _by_nearness(
        self, question: str, passages: Sequence[Passage], cosines: Mapping[str, float], collections: Sequence[str]
    ) -> _Judged:
        """All, or none: words alone are shared by questions about anything, so the nearest meaning decides."""
        if not cosines:  # the vectors are being made anew: then there is nothing but words
            return _Judged(passages, passages)
        shared = _shared(question, _whole(passages[0])) if passages else 0.0
        nearest = max(cosines.values())
        needed = self._thresholds.cosine
        if needed is None:
            needed = least_cosine(sum(self._words.size(name) for name in collections))
        reached = nearest + _SHARED_WORDS * shared
        return _Judged(passages, passages if reached >= needed else (), reached, needed)


def fused(searches: Sequence[Search]) -> list[str]:
    """The ids of all hits, by the weighted sum of cosine and BM25 score, the latter as a share of its search's best.

    What only words have found is taken to be as near as the farthest of the nearest.
    """
    sums = {hit.id: 0.0 for search in searches for hit in (*search.near, *search.named)}
    for search in searches:
        cosines = {hit.id: hit.score for hit in search.near}
        named = {hit.id: hit.score for hit in search.named}
        farthest, best = min(cosines.values(), default=0.0), max(named.values(), default=0.0) or 1.0
        for key in sums:
            by_words = _WORDS_WEIGHT * named.get(key, 0.0) / best
            sums[key] += search.weight * (cosines.get(key, farthest) + by_words)
    return sorted(sums, key=lambda key: (-sums[key], key))


def merged(passages: Sequence[Passage], count: int) -> list[Passage]:
    """The best `count`, each with its neighbours of the same section that are good as well, in the document's order."""
    return [joined(group) for group in grouped(passages, count)]


def grouped(passages: Sequence[Passage], count: int) -> list[list[Passage]]:
    """What `merged` makes its passages of: the best chunk first in each."""
    groups: list[list[Passage]] = []
    for passage in passages[: count * _LOOKED_AT]:
        near = next((group for group in groups if _adjacent(passage, group[0])), None)
        if near is not None:
            near.append(passage)
        elif len(groups) < count:
            groups.append([passage])
    return groups


def _adjacent(one: Passage, other: Passage) -> bool:
    same_section = (one.document_id, one.path, one.anchor) == (other.document_id, other.path, other.anchor)
    return same_section and abs(one.position - other.position) <= _NEIGHBOUR


def _best(scores: Mapping[str, float], group: Sequence[Passage]) -> float | None:
    return max((scores[passage.id] for passage in group if passage.id in scores), default=None)


def joined(group: Sequence[Passage]) -> Passage:
    """Chunks that follow one another as one passage."""
    in_order = sorted(group, key=lambda passage: passage.position)
    first = in_order[0]
    text = "\n\n".join(passage.text for passage in in_order)
    return replace(first, text=text, score=max((passage.score for passage in group), default=-math.inf))


def _whole(passage: Passage) -> str:
    return " > ".join(passage.path) + "\n" + passage.text


def _told(question: str) -> str:
    """A question without the words that say nothing of its subject."""
    return " ".join(telling(_words(question))) or question


def _shared(question: str, text: str) -> float:
    """The share of the question's telling words that a text holds in some form."""
    asked, said = telling(list(dict.fromkeys(_words(question)))), set(_words(text))
    return sum(any(_alike(word, other) for other in said) for word in asked) / len(asked) if asked else 0.0


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _alike(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    return short == long or (long.startswith(short) and len(short) >= _INFLECTED >= len(long) - len(short))
