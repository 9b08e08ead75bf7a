"""Which passages are found for a question, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from chatproxy.core.passages import Explained, Hit, Passage
from chatproxy.core.ports import Reranker
from chatproxy.core.retrieval import Retrieval, Search, Thresholds, fused, least_cosine, merged
from chatproxy.core.types import Embedded
from chatproxy.errors import SearchUnavailable


@dataclass
class Shelf:
    """Implements Vectors, Words, PassageStore and Embedder over what a test says they find."""

    near: dict[str, list[Hit]] = field(default_factory=dict)
    named: dict[str, list[Hit]] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    chunks: int = 1000

    def embed(self, texts: Sequence[str]) -> Embedded:
        self.asked += texts
        return Embedded([[float(len(self.asked))] for _ in texts], None)

    def nearest(self, collection: str, vectors: Sequence[Sequence[float]], count: int) -> Sequence[Sequence[Hit]]:
        return [self.near.get(collection, [])[:count] for _ in vectors]

    def best(self, collection: str, text: str, count: int) -> Sequence[Hit]:
        self.words.append(text)
        return self.named.get(collection, [])[:count]

    def size(self, collection: str) -> int:
        return self.chunks

    def passages(self, ids: Sequence[str]) -> Mapping[str, Passage]:
        return {key: passage(key) for key in ids if key not in self.gone}


def passage(key: str) -> Passage:
    """ "a3" is the chunk at position 3 of document a."""
    return Passage(key, key[0], int(key[1:]), f"text of {key}", (f"Document {key[0]}",))


def find(shelf: Shelf, question: str = "How?", *, before: str = "", count: int = 5, within: str = "k") -> list[str]:
    found = Retrieval(shelf, shelf, shelf, shelf).find([within], question, count, before=before)
    return [item.id for item in found]


def hits(*ids: str, best: float = 0.9) -> list[Hit]:
    return [Hit(key, best - place / 100) for place, key in enumerate(ids)]


def test_what_both_searches_find_comes_first() -> None:
    shelf = Shelf({"k": hits("a1", "b1", "c1")}, {"k": hits("d1", "b1", "e1")})
    assert find(shelf)[0] == "b1"
    assert set(find(shelf)) == {"a1", "b1", "c1", "d1", "e1"}


def test_the_scores_of_words_have_no_scale_of_their_own() -> None:
    near = [Hit("a", 0.6), Hit("b", 0.58)]
    for scale in (0.01, 1.0, 1000.0):
        assert fused([Search(near, [Hit("b", 3 * scale), Hit("a", 1 * scale)])]) == ["b", "a"]


def test_a_much_nearer_meaning_comes_before_shared_words() -> None:
    assert fused([Search([Hit("a", 0.9), Hit("b", 0.4)], [Hit("b", 20.0)])]) == ["a", "b"]


def test_a_name_that_the_model_does_not_know_is_found_by_its_letters() -> None:
    near = [Hit(f"n{at}", 0.4 - at / 1000) for at in range(50)]
    assert fused([Search(near, [Hit("code", 12.0), Hit("n3", 1.0)])])[0] == "code"


def test_a_search_that_finds_nothing_leaves_the_other_its_order() -> None:
    assert fused([Search([], [Hit("b", 2.0), Hit("a", 1.0)])]) == ["b", "a"]
    assert fused([Search([Hit("b", 0.2), Hit("a", 0.1)], [])]) == ["b", "a"]
    assert fused([Search([], [])]) == []


def test_the_question_before_counts_less_than_the_one_asked() -> None:
    alone, behind = Search([Hit("a", 0.6), Hit("b", 0.5)], []), Search([Hit("b", 0.6), Hit("a", 0.5)], [], 0.5)
    assert fused([alone, behind]) == ["a", "b"]


def test_nothing_is_found_where_the_nearest_meaning_is_far() -> None:
    assert find(Shelf({"k": hits("a1", best=0.2)}, {"k": hits("a1", best=30.0)})) == []


def explain(shelf: Shelf, question: str = "How?", reranker: Reranker | None = None) -> Explained:
    return Retrieval(shelf, shelf, shelf, shelf, reranker).explain(["k"], question, 5)


def test_an_explanation_names_for_each_passage_what_has_found_it() -> None:
    shelf = Shelf({"k": hits("a1", "b1")}, {"k": [Hit("b1", 7.0), Hit("c1", 3.0)]})
    explained = explain(shelf)
    assert explained.relevant and explained.reached is not None and explained.needed is not None
    assert explained.reached >= explained.needed
    by_id = {seen.passage.id: (seen.cosine, seen.words, seen.relevance) for seen in explained.seen}
    assert by_id == {"a1": (0.9, None, None), "b1": (0.89, 7.0, None), "c1": (None, 3.0, None)}
    assert [seen.passage.id for seen in explained.seen] == find(shelf)


def test_an_explanation_of_nothing_shows_what_came_nearest() -> None:
    explained = explain(Shelf({"k": hits("a1", best=0.2)}))
    assert (explained.relevant, [seen.passage.id for seen in explained.seen]) == (False, ["a1"])
    assert explained.reached == pytest.approx(0.2) and explained.needed is not None and explained.needed > 0.2
    assert explain(Shelf()) == Explained((), False)


def test_an_explanation_goes_by_the_reranker_where_there_is_one() -> None:
    shelf = Shelf({"k": hits("a1", "b1")})
    explained = explain(shelf, reranker=Reader(a1=0.02, b1=0.8))
    assert [(seen.passage.id, seen.relevance) for seen in explained.seen] == [("b1", 0.8)]
    assert (explained.relevant, explained.reached, explained.needed) == (True, 0.8, 0.1)
    refused = explain(shelf, reranker=Reader(a1=0.02, b1=0.01))
    assert not refused.relevant and [seen.relevance for seen in refused.seen] == [0.02, 0.01]


def test_a_code_that_the_best_passage_names_is_found_from_afar() -> None:
    shelf = Shelf({"k": hits("a1", best=0.3)}, {"k": hits("a1", best=30.0)})
    assert find(shelf, "What does a1 mean in the texts?") == []
    assert find(shelf, "What is a1?") == ["a1"]


def test_words_that_every_question_has_are_not_searched_for() -> None:
    shelf = Shelf({"k": hits("a1")})
    for question in ("How do I cancel order E-12?", "Who are you?"):
        find(shelf, question)
    assert shelf.words == ["cancel order e 12", "Who are you?"]


def test_stop_words_bring_nothing_nearer() -> None:
    assert find(Shelf({"k": hits("a1", best=0.3)}), "What of it?") == []


def test_only_the_collections_asked_for_are_searched() -> None:
    shelf = Shelf({"k": hits("a1"), "secret": hits("s1")}, {"secret": hits("s2")})
    assert find(shelf) == ["a1"]
    assert find(shelf, within="unknown") == []


def test_without_collections_or_question_nothing_is_asked() -> None:
    shelf = Shelf({"k": hits("a1")})
    assert Retrieval(shelf, shelf, shelf, shelf).find([], "How?", 5) == []
    assert find(shelf, "  ") == []
    assert shelf.asked == []


def test_a_follow_up_is_searched_alone_and_behind_its_question() -> None:
    shelf = Shelf({"k": hits("a1")})
    find(shelf, "And on Sundays?", before="When are you open?")
    assert shelf.asked == ["And on Sundays?", "When are you open?\nAnd on Sundays?"]


def test_a_long_question_speaks_for_itself() -> None:
    shelf = Shelf({"k": hits("a1")})
    question = "Please tell me which documents I have to bring along when I want to return something"
    find(shelf, question, before="When are you open?")
    assert shelf.asked == [question]


def test_neighbours_become_one_passage_in_the_documents_order() -> None:
    joined = merged([passage("a3"), passage("b1"), passage("a2")], 5)
    assert [(item.id, item.position) for item in joined] == [("a2", 2), ("b1", 1)]
    assert joined[0].text == "text of a2\n\ntext of a3"


def test_chunks_apart_in_one_document_stay_apart() -> None:
    assert [item.id for item in merged([passage("a3"), passage("a5")], 5)] == ["a3", "a5"]


def test_a_neighbour_of_a_kept_passage_is_taken_also_when_the_count_is_full() -> None:
    assert [item.text for item in merged([passage("a1"), passage("a2"), passage("b1")], 1)] == [
        "text of a1\n\ntext of a2"
    ]


def test_a_neighbour_far_down_the_list_is_not_worth_its_place() -> None:
    assert [item.text for item in merged([passage("a1"), passage("b1"), passage("a2")], 1)] == ["text of a1"]


def test_a_passage_does_not_grow_along_its_document() -> None:
    joined = merged([passage(f"a{at}") for at in (4, 3, 5, 2, 6)], 3)
    assert [item.text.count("text of") for item in joined] == [3, 1, 1]


def test_neighbours_of_another_section_stay_apart() -> None:
    under = replace(passage("a2"), path=("Document a", "Prices"))
    elsewhere = replace(passage("a2"), anchor="prices")
    assert len(merged([passage("a1"), under], 5)) == len(merged([passage("a1"), elsewhere], 5)) == 2


def test_chunks_that_are_gone_meanwhile_are_left_out() -> None:
    assert find(Shelf({"k": hits("a1", "b1")}, gone=frozenset({"a1"}))) == ["b1"]


class Reader:
    """Implements Reranker by a table; without one there is none. `error` is raised instead."""

    def __init__(self, error: Exception | None = None, **relevance: float) -> None:
        self.error, self.table, self.read = error, relevance, list[str]()

    def relevance(self, question: str, texts: Sequence[str]) -> Sequence[float] | None:
        if self.error:
            raise self.error
        if not self.table:
            return None
        self.read += texts
        return [self.table.get(text.rpartition(" ")[2], 0.0) for text in texts]


def test_a_reranker_has_the_last_word() -> None:
    shelf = Shelf({"k": hits("a1", "b1", "c1", best=0.2)})
    reader = Reader(c1=0.9, a1=0.4, b1=0.05)
    found = Retrieval(shelf, shelf, shelf, shelf, reader, Thresholds(relevance=0.1)).find(["k"], "How?", 5)
    assert [(item.id, item.score) for item in found] == [("c1", 0.9), ("a1", 0.4)]
    assert reader.read[0] == "Document a\ntext of a1"


def test_a_reranker_reads_the_best_twenty() -> None:
    shelf = Shelf({"k": hits(*(f"a{2 * place}" for place in range(30)))})
    reader = Reader(a0=0.9, a58=1.0)
    found = Retrieval(shelf, shelf, shelf, shelf, reader).find(["k"], "How?", 5)
    assert len(reader.read) == 20
    assert [item.id for item in found] == ["a0"]


def test_without_its_reranker_a_search_goes_by_rank_and_cosine(caplog: pytest.LogCaptureFixture) -> None:
    near = Shelf({"k": hits("a1", "b1", best=0.9)})
    far = Shelf({"k": hits("a1", best=0.2)})
    for reader in (Reader(), Reader(SearchUnavailable("reranker: no answer within 5 s"))):
        found = Retrieval(near, near, near, near, reader).find(["k"], "How?", 5)
        assert [(item.id, item.score) for item in found] == [("a1", 0.9), ("b1", 0.89)]
        assert Retrieval(far, far, far, far, reader).find(["k"], "How?", 5) == []
    assert [record.message for record in caplog.records] == ["not reranked: reranker: no answer within 5 s"] * 2


def test_words_alone_are_searched_while_there_are_no_vectors() -> None:
    assert find(Shelf({}, {"k": hits("a1", "b1", best=9.0)})) == ["a1", "b1"]


@pytest.mark.parametrize(("chunks", "kept"), [(1, True), (10, True), (100, True), (1000, False), (10**6, False)])
def test_the_more_chunks_there_are_the_nearer_the_nearest_must_be(chunks: int, kept: bool) -> None:
    shelf = Shelf({"k": hits("a1", best=0.4)}, chunks=chunks)
    assert (find(shelf, "Which unheard-of thing?") == ["a1"]) is kept


def test_no_collection_is_too_large_for_a_near_passage() -> None:
    assert least_cosine(0) == least_cosine(1)
    assert least_cosine(10**9) == 0.5
