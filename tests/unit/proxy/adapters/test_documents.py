"""Documents of every kind, read as the worker reads them: in the real child process, with its limits."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from chatproxy.adapters.documents import Documents
from chatproxy.core.chunking import chunk
from chatproxy.core.knowledge import Block, Document
from tests.unit.proxy.adapters import document_files as files


def parse(path: Path, media_type: str = "") -> Document:
    return Documents().parse(path, media_type, path.name)


def written(tmp_path: Path, name: str, content: str | bytes) -> Document:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return parse(path)


def told(document: Document) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in document.blocks]


def table_of(document: Document) -> Block:
    (found,) = [block for block in document.blocks if block.kind == "table"]
    return found


def test_docx_keeps_headings_captions_tables_and_lists(tmp_path: Path) -> None:
    document = parse(files.docx_file(tmp_path / "ports.docx"))
    assert document.title == "Handbook of ports"
    assert told(document) == [
        ("heading", "Firewall"),
        ("text", "Only these ports are open."),
        ("heading", "List of ports"),
        ("caption", "Table 1: Ports"),
        ("table", ""),
        ("list", "- First step\n- Second step"),
    ]
    assert [block.level for block in document.blocks if block.kind == "heading"] == [1, 2]
    assert list(table_of(document).rows) == files.ROWS


def test_pptx_gives_each_slide_its_page_with_notes_and_tables(tmp_path: Path) -> None:
    document = parse(files.pptx_file(tmp_path / "talk.pptx"))
    assert told(document) == [
        ("heading", "Opening hours"),
        ("list", "- Monday to Friday\n- Closed on Sunday"),
        ("text", "Notes: Mention the holidays."),
        ("heading", "Ports"),
        ("table", ""),
    ]
    assert [block.page for block in document.blocks] == [1, 1, 1, 2, 2]
    assert list(table_of(document).rows) == files.ROWS


def test_xlsx_gives_each_stretch_of_rows_a_table_under_its_sheet(tmp_path: Path) -> None:
    document = parse(files.xlsx_file(tmp_path / "prices.xlsx"))
    assert [block.kind for block in document.blocks] == ["heading", "table", "caption", "table"]
    assert list(document.blocks[1].rows) == files.LONG_ROWS
    assert document.blocks[3].rows == (("From", "Share"), ("100", "12.5%"))
    assert document.warnings == ("the hidden sheet “Secret” was left out",)


def test_xlsx_is_read_beyond_the_size_that_it_states(tmp_path: Path) -> None:
    path = files.xlsx_file(tmp_path / "right.xlsx")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    parts[sheet] = re.sub(r'<dimension ref="[^"]*"', '<dimension ref="A1:C1"', parts[sheet])
    document = parse(files.zip_file(tmp_path / "wrong.xlsx", parts))
    assert list(document.blocks[1].rows) == files.LONG_ROWS


def test_odt_keeps_headings_nested_lists_and_tables(tmp_path: Path) -> None:
    document = parse(files.odt_file(tmp_path / "garden.odt"))
    assert told(document) == [
        ("heading", "Garden"),
        ("text", "Water  the roses."),
        ("list", "- Rake\n  - of wood"),
        ("table", ""),
    ]
    assert list(table_of(document).rows) == files.ROWS


def test_epub_is_read_in_the_order_of_its_spine(tmp_path: Path) -> None:
    document = parse(files.epub_file(tmp_path / "book.epub"))
    assert (document.title, document.language) == ("Two chapters", "en")
    assert [text for _, text in told(document)] == ["One", "It began.", "Two", "It ended."]


def test_pdf_keeps_headings_tables_code_and_pages_and_drops_what_repeats(tmp_path: Path) -> None:
    document = parse(files.pdf_file(tmp_path / "lamp.pdf"))
    assert document.title == "Manual of the lamp"
    assert [block.kind for block in document.blocks] == [
        "heading",
        "text",
        "caption",
        "table",
        "heading",
        "text",
        "code",
    ]
    assert [block.page for block in document.blocks] == [1, 1, 1, 1, 2, 2, 2]
    assert document.blocks[0].text == "Switching"
    assert document.blocks[1].text == (files.FROM_WORDS * 12).strip()
    assert list(table_of(document).rows) == files.ROWS
    assert document.blocks[-1].text == "if dirty:\n    wipe()"


def test_pdf_in_columns_is_read_column_by_column(tmp_path: Path) -> None:
    text = " ".join(block.text for block in parse(files.columns_pdf(tmp_path / "two.pdf")).blocks)
    expected = [f"left{at}" for at in range(120)] + [f"right{at}" for at in range(120)]
    assert re.findall(r"\w+", text) == expected


def test_a_table_with_horizontal_rules_alone_has_its_columns(tmp_path: Path) -> None:
    document = parse(files.booktabs_pdf(tmp_path / "book.pdf"))
    assert list(table_of(document).rows) == files.LONG_ROWS[:8]


def test_a_short_section_beside_a_long_one_is_not_lost(tmp_path: Path) -> None:
    long = "".join(f"<p>Paragraph {at} of the long section says something at some length.</p>" for at in range(40))
    page = f"""<html><body><div class=docnav><a href=a>Previous page</a> <a href=b>Next page</a></div><div id=book>
    <h2>Front ends</h2><p>There are two of these front ends, and both of them are described below.</p>
    <div class=section><h3>First</h3>{long}</div>
    <div class=section><h3>Second</h3><p>This one is told in no more than a single sentence.</p></div></div>
    </body></html>"""
    texts = [block.text for block in written(tmp_path, "ends.html", page).blocks]
    assert texts[0] == "Front ends"
    assert texts[-1] == "This one is told in no more than a single sentence."
    assert len(texts) == 45


PAGE = """<!doctype html><html lang="de-AT"><head><title>Anfahrt – Gasthof</title>
<link rel="canonical" href="https://gasthof.example/anfahrt"></head><body>
<nav><ul><li><a href="/">Start</a></li></ul></nav>
<main><div class="breadcrumbs">Start / Anfahrt</div><h1 id="anfahrt">Anfahrt</h1><p>Mit dem Zug<br>oder zu Fuß.</p>
<a name="bus"></a><h2>Bus</h2><p>Linie <b>7</b>, alle <code>20</code> Minuten.</p>
<section id="auto"><h2>Auto<a class="headerlink" href="#auto">¶</a></h2><p>Ausfahrt Süd.</p></section>
<h3><a href="#preise">#</a> Preise</h3>
<table id="t"><caption>Preise</caption><tr><th>Zimmer</th><th colspan=2>Nacht</th></tr>
<tr><td rowspan=2>Eins</td><td>60</td><td>mit | Bad</td></tr><tr><td>50</td><td>ohne</td></tr></table>
<ol><li>Klingeln<ul><li>zweimal</li></ul></li><li>Warten</li></ol>
<pre>ssh  gast@haus
  ls</pre><p style="display:none">Versteckt</p><script>alert(1)</script></main>
<footer>Impressum</footer></body></html>"""


def test_html_gives_main_content_with_anchors_tables_lists_and_code(tmp_path: Path) -> None:
    document = written(tmp_path, "anfahrt.html", PAGE)
    assert (document.title, document.language) == ("Anfahrt", "de-AT")
    assert document.canonical == "https://gasthof.example/anfahrt"
    assert told(document) == [
        ("heading", "Anfahrt"),
        ("text", "Mit dem Zug\noder zu Fuß."),
        ("heading", "Bus"),
        ("text", "Linie 7, alle 20 Minuten."),
        ("heading", "Auto"),
        ("text", "Ausfahrt Süd."),
        ("heading", "Preise"),
        ("caption", "Preise"),
        ("table", ""),
        ("list", "1. Klingeln\n  - zweimal\n2. Warten"),
        ("code", "ssh  gast@haus\n  ls"),
    ]
    anchors = [block.anchor for block in document.blocks if block.kind == "heading"]
    assert anchors == ["anfahrt", "bus", "auto", "preise"]
    assert table_of(document).rows == (
        ("Zimmer", "Nacht", "Nacht"),
        ("Eins", "60", "mit | Bad"),
        ("Eins", "50", "ohne"),
    )


def test_a_page_without_main_is_freed_of_what_stands_around_its_content(tmp_path: Path) -> None:
    menu = "".join(f'<li><a href="/{at}">Menu entry {at}</a></li>' for at in range(30))
    story = "".join(
        f"<h2 id='s{at}'>Part {at}</h2><p>In part {at} the keeper of the lighthouse writes a long letter home, "
        f"because the sea was calm and the evening long, and nobody had come by for {at} weeks.</p>"
        for at in range(6)
    )
    page = f"""<html><head><title>Letters</title></head><body><div id=top><ul>{menu}</ul></div>
    <div id=wrap><div id=text><h1>Letters home</h1>{story}</div>
    <div class="sidebar"><p>Subscribe to our paper today and get one month for free, dear reader!</p></div></div>
    <div id=bottom><p>Copyright by nobody</p></div></body></html>"""
    document = written(tmp_path, "letters.html", page)
    said = " ".join(block.text for block in document.blocks)
    assert all(f"for {at} weeks" in said for at in range(6))
    assert "Menu entry" not in said
    assert "Subscribe" not in said
    assert [block.anchor for block in document.blocks if block.level == 2] == [f"s{at}" for at in range(6)]


def test_markdown_keeps_front_matters_title_tables_and_fences(tmp_path: Path) -> None:
    text = "---\ntitle: Quick start\n---\n# Begin\n\nDo *this*.\n\n```sh\nmake up\n```\n\n| a | b |\n|---|---|\n"
    text += "| 1 | 2 |\n"
    document = written(tmp_path, "start.md", text)
    assert document.title == "Quick start"
    assert told(document) == [("heading", "Begin"), ("text", "Do this."), ("code", "make up"), ("table", "")]
    assert table_of(document).rows == (("a", "b"), ("1", "2"))


def test_plain_text_has_paragraphs_and_underlined_headings(tmp_path: Path) -> None:
    document = written(tmp_path, "notes.txt", "Title\n=====\n\nOne\nline.\n\nPart\n----\nTwo.\n\n---\n")
    assert told(document) == [
        ("heading", "Title"), ("text", "One\nline."), ("heading", "Part"), ("text", "Two."), ("text", "---")
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_text_is_read_in_the_encoding_that_it_has(tmp_path: Path, encoding: str) -> None:
    text = "Grüße aus Köln: schöne Mädchen übten fleißig, während draußen Bäche flossen.\n" * 5
    content = text.encode(encoding)
    if encoding == "utf-16-le":
        content = b"\xff\xfe" + content
    (block,) = written(tmp_path, "gruss.txt", content).blocks
    assert block.text == text.strip("\n")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_is_one_table_whatever_its_delimiter(tmp_path: Path, delimiter: str) -> None:
    lines = (delimiter.join(f'"{cell}"' for cell in row) for row in files.ROWS)
    assert list(table_of(written(tmp_path, "ports.csv", "\n".join(lines))).rows) == files.ROWS


def test_the_bytes_tell_more_than_a_wrong_name(tmp_path: Path) -> None:
    path = files.docx_file(tmp_path / "really.pdf")
    assert Documents().parse(path, "application/pdf", "really.pdf").title == "Handbook of ports"


def test_a_text_that_begins_like_a_picture_or_speaks_of_pdf_is_a_text(tmp_path: Path) -> None:
    assert told(written(tmp_path, "cars.txt", "BM is short for bench mark.")) == [
        ("text", "BM is short for bench mark.")
    ]
    assert told(written(tmp_path, "format.md", "Files begin with %PDF-1.7.")) == [
        ("text", "Files begin with %PDF-1.7.")
    ]


def test_a_page_is_read_in_the_charset_that_its_server_named(tmp_path: Path) -> None:
    path = tmp_path / "page"
    path.write_bytes("<html><body><main><p>Добрый день</p></main></body></html>".encode("koi8-r"))
    (block,) = Documents().parse(path, "text/html; charset=koi8-r", "page").blocks
    assert block.text == "Добрый день"


def test_notes_in_asides_are_content_and_other_asides_are_not(tmp_path: Path) -> None:
    page = "<main><p>One.</p><aside class='starlight-aside'>Mind the gap.</aside><aside>Buy this!</aside></main>"
    document = written(tmp_path, "a.html", f"<html><body>{page}</body></html>")
    assert told(document) == [("text", "One."), ("text", "Mind the gap.")]


def test_a_sidebar_is_content_where_it_is_not_made_of_links(tmp_path: Path) -> None:
    told_aside = '<div class="sidebar"><p>Back to basics: <a href="/x">what</a> a route is and does.</p></div>'
    links = '<div class="sidebar"><a href="/1">Other posts</a> <a href="/2">Even more of them</a></div>'
    document = written(tmp_path, "a.html", f"<html><body><main><p>One.</p>{told_aside}{links}</main></body></html>")
    assert told(document) == [("text", "One."), ("text", "Back to basics: what a route is and does.")]


def test_cells_of_a_long_sheet_stay_whole_in_its_chunks(tmp_path: Path) -> None:
    document = parse(files.xlsx_file(tmp_path / "prices.xlsx"))
    chunks = chunk(document, lambda texts: [len(re.findall(r"\w+|[^\w\s]", text)) for text in texts], 120)
    rows = "\n".join(each.text for each in chunks)
    assert all(f"| {' | '.join(row)} |" in rows for row in files.LONG_ROWS)
    assert all("| Name | Price | Stock |" in each.text for each in chunks if "| Item" in each.text)
