"""Chunks: nothing lost, nothing too large, and the document's own structure kept."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatproxy.core.chunking import MOST_READ, chunk
from chatproxy.core.knowledge import Block, Chunk, Document
from chatproxy.core.sentences import finer, sentences

WORD = re.compile(r"\w+|[^\w\s]")


def words(texts: Sequence[str]) -> list[int]:
    """Words and signs, with the two tokens that BERT's tokenizers put around a text."""
    return [len(WORD.findall(text)) + 2 for text in texts]


def characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def heading(level: int, text: str, anchor: str = "", page: int | None = None) -> Block:
    return Block("heading", text, level=level, anchor=anchor, page=page)


def text(count: int, word: str = "word") -> Block:
    return Block("text", " ".join([word] * (count - 1)) + f" {word}.")


def table(*rows: tuple[str, ...]) -> Block:
    return Block("table", "", rows=rows)


def chunked(*blocks: Block, title: str = "Manual", most: int = 50) -> list[Chunk]:
    return chunk(Document(title, blocks), words, most)


def follows(needle: str, haystack: str) -> bool:
    """Whether every character but spaces of `needle` stands in `haystack`, in this order."""
    rest = iter(haystack)
    return all(sign in rest for sign in needle if not sign.isspace())


# What a document may hold, in many scripts, with the signs that chunking itself writes.
WRITING = st.text(st.sampled_from("ab Zé.?! ,;\n|\\`#-:。！、漢字ไทยअ।\u00a0\U0001f600"), max_size=400)
CELLS = st.lists(st.text(st.sampled_from("ab 1|\\\n.。"), max_size=30), min_size=1, max_size=4).map(tuple)
BLOCKS = st.one_of(
    st.builds(Block, st.sampled_from(["text", "list", "code", "caption"]), WRITING),
    st.builds(heading, st.integers(1, 6), WRITING),
    st.builds(lambda rows: Block("table", "", rows=tuple(rows)), st.lists(CELLS, min_size=1, max_size=12)),
)
DOCUMENTS = st.builds(lambda title, blocks: Document(title, tuple(blocks)), WRITING, st.lists(BLOCKS, max_size=12))


@pytest.mark.parametrize("count", [words, characters])
@given(document=DOCUMENTS, most=st.integers(24, 220))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_is_lost_and_every_chunk_is_within_the_bound(count, document: Document, most: int) -> None:  # type: ignore[no-untyped-def]
    chunks = chunk(document, count, most, most + 36)
    said = "".join(each.text for each in chunks)
    wanted = "".join(block.text + "".join(cell for row in block.rows for cell in row) for block in document.blocks)
    assert follows(wanted, said)
    for at, each in enumerate(chunks):
        assert each.tokens == count([each.text])[0] <= most
        assert each.position == at
        assert each.text.strip()
        assert count([each.embedded])[0] <= most + 36


@given(written=WRITING)
def test_parted_texts_join_to_the_text_again(written: str) -> None:
    assert "".join(sentences(written)) == written
    assert "".join(finer(written)) == written


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("It ran. It fell! Why? Nobody knows.", ["It ran. ", "It fell! ", "Why? ", "Nobody knows."]),
        ("Dr. No met Mr. Bond at 3.14 p.m. today. He left.", ["Dr. No met Mr. Bond at 3.14 p.m. today. ", "He left."]),
        ('He said "Stop." Then he went.', ['He said "Stop." ', "Then he went."]),
        ("これはペンです。あれは本です。", ["これはペンです。", "あれは本です。"]),
        ("你好！你是谁？我是老师。", ["你好！", "你是谁？", "我是老师。"]),
        ("यह किताब है। वह कलम है।", ["यह किताब है। ", "वह कलम है।"]),
        ("ما اسمك؟ اسمي علي.", ["ما اسمك؟ ", "اسمي علي."]),
        ("Siehe z. B. Abb. 3. Danach folgt mehr.", ["Siehe z. B. Abb. 3. ", "Danach folgt mehr."]),
        ("one\n\ntwo", ["one\n\n", "two"]),
    ],
)
def test_sentences_end_where_readers_of_the_language_say(written: str, expected: list[str]) -> None:
    assert sentences(written) == expected


def test_a_chunk_knows_title_headings_anchor_and_page_of_its_start() -> None:
    (only,) = chunked(
        heading(1, "Install"), heading(3, "On Debian", anchor="debian", page=7), Block("text", "Run apt.", page=8)
    )
    assert only.path == ("Manual", "Install", "On Debian")
    assert (only.anchor, only.page, only.position) == ("debian", None, 0)
    assert only.text == "# Install\n\n### On Debian\n\nRun apt."
    assert only.embedded == f"Manual > Install > On Debian\n{only.text}"


def test_the_pieces_of_a_long_section_have_their_own_pages() -> None:
    blocks = [Block("text", text(40).text, page=page) for page in (3, 4, 5)]
    chunks = chunked(heading(2, "Long", anchor="long", page=3), *blocks)
    assert [(each.page, each.anchor) for each in chunks] == [(3, "long"), (4, "long"), (5, "long")]


def test_a_heading_that_repeats_the_title_stands_once_in_the_path() -> None:
    assert chunked(heading(1, "Manual"), heading(2, "Use"), text(3))[0].path == ("Manual", "Use")


def test_large_sections_are_parted_at_their_heading() -> None:
    chunks = chunked(heading(2, "A"), text(20), heading(2, "B"), text(20))
    assert [each.path[-1] for each in chunks] == ["A", "B"]


def test_a_small_section_does_not_cross_a_strong_heading_to_join_a_large_one() -> None:
    assert len(chunked(heading(2, "A"), text(3), heading(2, "B"), text(25))) == 2


def test_small_sections_share_a_chunk_and_keep_their_headings() -> None:
    (only,) = chunked(heading(2, "A"), text(3), heading(2, "B"), text(3))
    assert only.text == "## A\n\nword word word.\n\n## B\n\nword word word."


def test_sections_below_level_two_are_merged_up_to_the_bound() -> None:
    sections = [block for name in "ABCD" for block in (heading(3, name), text(15))]
    assert [each.path[-1] for each in chunked(*sections)] == ["A", "C"]


def test_a_heading_never_ends_a_chunk() -> None:
    blocks = [block for size in (30, 44, 49, 48, 60, 90) for block in (heading(2, f"Of {size}"), text(size))]
    for each in chunked(*blocks):
        assert not each.text.splitlines()[-1].startswith("#")


def test_a_table_that_fits_is_whole_with_its_caption() -> None:
    blocks = Block("caption", "Table 1: Ports"), table(("Port", "Use"), ("80", "a|b"), ("443", "TLS"))
    (only,) = chunked(*blocks)
    assert only.text == "Table 1: Ports\n| Port | Use |\n| --- | --- |\n| 80 | a\\|b |\n| 443 | TLS |"


def test_a_long_table_repeats_caption_and_header_above_each_stretch_of_rows() -> None:
    rows = [(f"k{at}", f"value {at}") for at in range(40)]
    chunks = chunked(Block("caption", "Ports"), table(("Key", "Value"), *rows), most=80)
    assert len(chunks) > 3
    for each in chunks:
        assert each.text.startswith("Ports\n| Key | Value |\n| --- | --- |\n| k")
    said = "\n".join(each.text for each in chunks)
    assert all(f"| {key} | {value} |" in said for key, value in rows)


def test_a_row_too_large_for_its_header_becomes_lines_with_the_columns_names() -> None:
    names = tuple(f"column {at}" for at in range(20))
    chunks = chunked(table(names, tuple(f"cell {at}" for at in range(20))), most=60)
    said = "\n".join(each.text for each in chunks)
    assert "column 7: cell 7\n" in said
    assert chunks[0].text.startswith("column 0 | column 1 | column 2")


def test_code_is_whole_where_it_fits_and_else_parted_between_lines() -> None:
    (whole,) = chunked(Block("code", "def f():\n    return 1"))
    assert whole.text == "```\ndef f():\n    return 1\n```"
    parted = chunked(Block("code", "\n".join(f"call({at}, x)" for at in range(40))))
    assert len(parted) > 2
    for each in parted:
        assert re.fullmatch(r"```\n(call\(\d+, x\)\n)+```", each.text)


def test_code_with_a_fence_of_its_own_gets_a_longer_one() -> None:
    assert chunked(Block("code", "```\nx\n```"))[0].text.startswith("````\n")


def test_a_long_paragraph_is_parted_between_sentences() -> None:
    chunks = chunked(Block("text", "One two three four five six seven. " * 20))
    assert all(each.text.rstrip().endswith("seven.") and each.text.startswith("One") for each in chunks)


def test_a_word_that_is_one_token_but_endless_is_parted() -> None:
    chunks = chunk(Document("", (Block("text", "A" * 100_000),)), words, 220)
    assert max(len(each.text) for each in chunks) <= 220 * 16


def test_a_path_longer_than_a_quarter_of_the_bound_keeps_its_ends() -> None:
    headings = [heading(level, f"{name} " * 15) for level, name in enumerate("abcdef", 1)]
    each = chunk(Document("The title", (*headings, text(200))), words)[-1]
    assert each.path[0] == "The title"
    assert each.path[-1].startswith("f f f")
    assert words([each.embedded])[0] <= MOST_READ


def test_the_digest_ignores_case_spacing_and_unicode_form() -> None:
    one, other = (Chunk(said, (), "", None, 0, 1) for said in ("Café  AU lait", "cafe\u0301\nau lait"))
    assert one.digest == other.digest
    assert len(one.digest) == 32
    assert one.digest != Chunk("Tea", (), "", None, 0, 1).digest


def test_an_empty_document_has_no_chunks() -> None:
    assert chunk(Document("T", (Block("text", " \n"), table(("", "")))), words) == []


def test_tokens_are_counted_many_at_a_time() -> None:
    calls = 0

    def counting(texts: Sequence[str]) -> list[int]:
        nonlocal calls
        calls += 1
        return words(texts)

    blocks = [block for at in range(500) for block in (heading(2, f"Part {at}"), text(90))]
    assert len(chunk(Document("T", tuple(blocks)), counting)) == 500
    assert calls < 10


ENDLESS = " ".join(f"word{at}" for at in range(20_000))


@pytest.mark.parametrize(
    "block",
    [
        Block("text", ENDLESS),
        Block("text", ENDLESS.replace(" ", "")),
        Block("list", ENDLESS),
        Block("code", ENDLESS),
        Block("code", "`" * 20_000),
        Block("caption", ENDLESS),
        heading(1, ENDLESS),
        table(("Name", "Text"), ("a", ENDLESS)),
        table(("Name", ENDLESS), ("a", "b")),
        table(("Name", "Text"), *((f"word{at}", "more words") for at in range(5_000))),
        Block("table", ENDLESS, rows=(("Name", "Text"), ("a", "b"))),
    ],
    ids=lambda block: f"{block.kind}-{len(block.rows)}",
)
def test_what_is_clearly_too_long_is_parted_and_never_counted(block: Block) -> None:
    """To count a text takes memory, some hundred bytes a token."""
    longest = 0

    def counting(texts: Sequence[str]) -> list[int]:
        nonlocal longest
        longest = max(longest, *map(len, texts))
        return words(texts)

    chunks = chunk(Document("Manual", (block,)), counting)
    assert longest <= 220 * 16
    assert max(each.tokens for each in chunks) <= 220
