"""Documents of every kind that is read, made on the spot, and some that nobody should read."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import docx
import openpyxl
from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFont
from pptx import Presentation
from pptx.util import Inches

ROWS = [("Port", "Protocol", "Purpose"), ("80", "tcp", "Redirects to TLS"), ("443", "tcp+udp", "HTTPS and HTTP/3")]
LONG_ROWS = [("Name", "Price", "Stock"), *((f"Item {at}", f"{at}.95", str(at * 7)) for at in range(60))]
FROM_WORDS = "The quick brown fox jumps over the lazy dog. "


def docx_file(path: Path) -> Path:
    made = docx.Document()
    made.core_properties.title = "Handbook of ports"
    made.add_heading("Firewall", 1)
    made.add_paragraph("Only these ports are open.")
    made.add_heading("List of ports", 2)
    made.add_paragraph("Table 1: Ports", style="Caption")
    table = made.add_table(rows=0, cols=3)
    for row in ROWS:
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text
    made.add_paragraph("First step", style="List Bullet")
    made.add_paragraph("Second step", style="List Bullet")
    made.save(str(path))
    return path


def pptx_file(path: Path) -> Path:
    made = Presentation()
    first = made.slides.add_slide(made.slide_layouts[1])
    first.shapes.title.text = "Opening hours"
    first.placeholders[1].text = "Monday to Friday\nClosed on Sunday"
    first.notes_slide.notes_text_frame.text = "Mention the holidays."
    second = made.slides.add_slide(made.slide_layouts[5])
    second.shapes.title.text = "Ports"
    table = second.shapes.add_table(len(ROWS), 3, Inches(1), Inches(2), Inches(6), Inches(2)).table
    for at, row in enumerate(ROWS):
        for column, text in enumerate(row):
            table.cell(at, column).text = text
    made.save(str(path))
    return path


def xlsx_file(path: Path, rows: Sequence[Sequence[object]] = LONG_ROWS) -> Path:
    made = openpyxl.Workbook()
    sheet = made.active
    assert sheet is not None
    sheet.title = "Prices"
    for row in rows:
        sheet.append(list(row))
    sheet.append([])
    sheet.append(["Discounts"])
    sheet.append(["From", "Share"])
    sheet.append([100, 0.125])
    sheet.cell(sheet.max_row, 2).number_format = "0.0%"
    made.create_sheet("Secret").sheet_state = "hidden"
    made.save(path)
    return path


_OASIS = "urn:oasis:names:tc:opendocument:xmlns"
_ODT = f"""<?xml version="1.0"?><office:document-content xmlns:office="{_OASIS}:office:1.0"
 xmlns:text="{_OASIS}:text:1.0" xmlns:table="{_OASIS}:table:1.0"><office:body><office:text>
 <text:h text:outline-level="1">Garden</text:h><text:p>Water<text:s text:c="2"/>the <text:span>roses</text:span>.
 </text:p><text:list><text:list-item><text:p>Rake</text:p><text:list><text:list-item><text:p>of wood</text:p>
 </text:list-item></text:list></text:list-item></text:list>
 <table:table>%s</table:table></office:text></office:body></office:document-content>"""


def odt_file(path: Path, content: str | None = None, manifest: str = "<manifest/>") -> Path:
    cell = "<table:table-cell><text:p>{}</text:p></table:table-cell>"
    lines = ("".join(cell.format(text) for text in row) for row in ROWS)
    rows = "".join(f"<table:table-row>{line}</table:table-row>" for line in lines)
    parts = {
        "mimetype": "application/vnd.oasis.opendocument.text",
        "content.xml": content or _ODT % rows,
        "META-INF/manifest.xml": manifest,
    }
    return zip_file(path, parts)


_CONTAINER = '<container><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
_PACKAGE = """<package xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>Two chapters</dc:title>
<dc:language>en</dc:language></metadata><manifest><item id="b" href="b%20two.xhtml" media-type="application/xhtml+xml"/>
<item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>
<spine><itemref idref="a"/><itemref idref="b"/></spine></package>"""


def epub_file(path: Path, chapter: str = "<h1>One</h1><p>It began.</p>") -> Path:
    parts = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": _CONTAINER,
        "OEBPS/book.opf": _PACKAGE,
        "OEBPS/a.xhtml": f"<html><body>{chapter}</body></html>",
        "OEBPS/b two.xhtml": "<html><body><h1>Two</h1><p>It ended.</p></body></html>",
    }
    return zip_file(path, parts)


def zip_file(path: Path, parts: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return path


def pdf_file(path: Path, *, password: str = "") -> Path:
    """Two pages: headings with an outline, a ruled table with its caption, code, running headers."""
    made = FPDF()
    made.set_title("Manual of the lamp")
    for number, name in enumerate(("Switching", "Cleaning"), 1):
        made.add_page()
        made.set_font("Helvetica", size=8)
        made.set_y(8)
        made.cell(text=f"Lamp Company, page {number}", new_x="LMARGIN", new_y="NEXT")
        made.start_section(name)
        made.set_y(40)
        made.set_font("Helvetica", "B", 18)
        made.cell(text=name, new_x="LMARGIN", new_y="NEXT")
        made.set_font("Helvetica", size=11)
        made.multi_cell(0, text=FROM_WORDS * 12, new_x="LMARGIN", new_y="NEXT")
        made.ln(8)
        if number == 1:
            made.cell(text="Table 1: Ports", new_x="LMARGIN", new_y="NEXT")
            with made.table() as table:
                for row in ROWS:
                    table.row(row)
        else:
            made.set_font("Courier", size=11)
            made.cell(text="if dirty:", new_x="LMARGIN", new_y="NEXT")
            made.cell(text="    wipe()", new_x="LMARGIN", new_y="NEXT")
    # The header is to repeat often enough to be known as one.
    made.add_page()
    made.set_font("Helvetica", size=8)
    made.set_y(8)
    made.cell(text="Lamp Company, page 3")
    if password:
        made.set_encryption(owner_password=password, user_password=password)
    made.output(str(path))
    return path


def columns_pdf(path: Path) -> Path:
    """A page in two columns, the left one to be read first."""
    made = FPDF()
    made.add_page()
    made.set_font("Helvetica", size=11)
    for left, word in ((10, "left"), (110, "right")):
        made.set_xy(left, 40)
        made.set_left_margin(left)
        made.multi_cell(80, text=" ".join(f"{word}{at}" for at in range(120)) + ".")
    made.output(str(path))
    return path


def booktabs_pdf(path: Path) -> Path:
    """A table as books set it: three horizontal rules and no vertical one."""
    made = FPDF()
    made.add_page()
    made.set_font("Helvetica", size=11)
    y = 60.0
    made.line(20, y, 150, y)
    for at, row in enumerate(LONG_ROWS[:8]):
        for x, text in zip((22, 72, 122), row, strict=True):
            made.text(x, y + 5, text)
        y += 7
        if at == 0:
            made.line(20, y, 150, y)
    made.line(20, y + 1, 150, y + 1)
    made.output(str(path))
    return path


def picture(text: str) -> Image.Image:
    made = Image.new("RGB", (1240, 700), "white")
    ImageDraw.Draw(made).multiline_text((80, 80), text, "black", ImageFont.load_default(44), spacing=20)
    return made


def scanned_pdf(path: Path, texts: Sequence[str]) -> Path:
    pages = [picture(text) for text in texts]
    pages[0].save(path, "PDF", save_all=True, append_images=pages[1:], resolution=150)
    return path


def figure_pdf(path: Path, text: str, figure: str) -> Path:
    made = FPDF()
    made.add_page()
    made.set_font("Helvetica", size=11)
    made.multi_cell(0, text=text)
    content = io.BytesIO()
    picture(figure).save(content, "PNG")
    made.image(content, x=20, y=100, w=120)
    made.output(str(path))
    return path


def zeros(path: Path, name: str, size: int, others: dict[str, str]) -> Path:
    """A ZIP with a part of `size` zeros, which takes a thousandth of that."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, text in others.items():
            archive.writestr(each, text)
        with archive.open(name, "w", force_zip64=True) as part:
            for _ in range(size >> 20):
                part.write(bytes(1 << 20))
    return path


def lying_zip(path: Path, name: str, size: int, others: dict[str, str]) -> Path:
    """The same with a directory that says that the part has 100 bytes."""
    zeros(path, name, size, others)
    content = path.read_bytes()
    directory = content.rindex(b"PK\x01\x02")
    path.write_bytes(content[: directory + 24] + (100).to_bytes(4, "little") + content[directory + 28 :])
    return path


def nested_flate_pdf(path: Path, size: int) -> Path:
    """A page whose content, packed twice, unpacks to `size` bytes of drawing."""
    squeeze = zlib.compressobj(9)
    once = b"".join([squeeze.compress(b"0 0 m 1 1 l S\n" * 75_000) for _ in range(size >> 20)]) + squeeze.flush()
    packed = zlib.compress(once, 9)
    return raw_pdf(path, packed, b"/Filter [/FlateDecode /FlateDecode]")


def raw_pdf(path: Path, content: bytes, filters: bytes = b"", media: bytes = b"0 0 612 792") -> Path:
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[" + media + b"]/Contents 4 0 R/Resources<<>>>>",
        b"<</Length %d %s>>stream\n%s\nendstream" % (len(content), filters, content),
    ]
    written, places = b"%PDF-1.7\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"xref\n0 5\n0000000000 65535 f \n%strailer<</Size 5/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        table,
        len(written),
    )
    path.write_bytes(written + end)
    return path
