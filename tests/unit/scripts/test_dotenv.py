"""`.env` is the operator's file: read as Compose reads it, added to, never rewritten."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from scripts.lib import dotenv


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=plain", "plain"),
        ("A = spaced ", "spaced"),
        ("export A=exported", "exported"),
        ("A=", ""),
        ("A=# nothing but a comment", ""),
        ("A=value # a comment", "value"),
        ("A=pass#word", "pass#word"),
        ("A='single # quoted $HOME'", "single # quoted $HOME"),
        ("A='quoted' # comment", "quoted"),
        ('A="double # quoted"', "double # quoted"),
        (r'A="a \"word\" and a \\ and\ttab"', 'a "word" and a \\ and\ttab'),
        (r'A="costs \$5"', "costs $5"),
        ("A=python koboldcpp.py --threads 8 MODEL", "python koboldcpp.py --threads 8 MODEL"),
        ("A=a=b=c", "a=b=c"),
        ("A='never closed", "'never closed"),
        ("A=grüße", "grüße"),
        ("A=carriage\r", "carriage"),
    ],
)
def test_a_line_is_read_as_compose_reads_it(line: str, value: str) -> None:
    assert dotenv.parse(line) == {"A": value}


def test_comments_blanks_and_byte_order_marks_are_passed_over_and_the_last_value_wins() -> None:
    text = "\ufeffA=1\r\n# B=2\r\n\r\n  # C=3\r\nA=4\r\n"
    assert dotenv.parse(text) == {"A": "4"}


def test_lines_that_mean_nothing_are_named() -> None:
    assert dotenv.stray_lines("A=1\n# fine\n\nDOMAIN chat.example.org\n") == [(4, "DOMAIN chat.example.org")]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "plain",
        "two words",
        "$HOME",
        "it's",
        'say "hi"',
        'it\'s $5 "now" \\ ',
        "a#b",
        "a # b",
        "two\nlines",
        "grüße",
    ],
)
def test_what_is_quoted_reads_back_unchanged(value: str) -> None:
    assert dotenv.parse(f"A={dotenv.quote(value)}\n") == {"A": value}


def test_rendered_values_read_back() -> None:
    values = {"A": "1", "B": "two words", "C": ""}
    text = dotenv.render(values, "made by a test\nsecond line")
    assert text.startswith("# made by a test\n# second line\n")
    assert dotenv.parse(text) == values


EXAMPLE = "# what A is\nA=1\n\n# what NEW is,\n# in two lines\nNEW=default\nB=2\n"


def test_a_new_setting_is_appended_with_its_comment_and_nothing_else_moves() -> None:
    mine = "B='my own # value'\nA=9\nMINE=kept\n"
    text, added = dotenv.with_new_settings(mine, EXAMPLE)
    assert added == ["NEW"]
    assert text.startswith(mine)
    assert "# what NEW is,\n# in two lines\nNEW=default\n" in text
    assert dotenv.parse(text) == {"B": "my own # value", "A": "9", "MINE": "kept", "NEW": "default"}


def test_adding_twice_adds_once() -> None:
    once, _ = dotenv.with_new_settings("A=1", EXAMPLE)
    assert dotenv.with_new_settings(once, EXAMPLE) == (once, [])


def test_windows_line_ends_stay() -> None:
    text, added = dotenv.with_new_settings("A=9\r\nB=8", EXAMPLE)
    assert added == ["NEW"]
    assert text.startswith("A=9\r\nB=8\r\n")
    assert "\n" not in text.replace("\r\n", "")
    assert dotenv.parse(text)["B"] == "8"


def test_a_private_file_is_private_and_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "deep" / ".env"
    dotenv.write_private(file, "A=1\r\n")
    dotenv.write_private(file, "A=2\r\n")
    assert file.read_bytes() == b"A=2\r\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == [".env"]


def test_a_private_file_that_is_a_link_stays_one_and_its_file_stays_its_owners(tmp_path: Path) -> None:
    kept = tmp_path / "kept.env"
    kept.write_text("A=1\n")
    if os.geteuid() == 0:
        os.chown(kept, 1234, 2345)
    owner = (kept.stat().st_uid, kept.stat().st_gid)
    link = tmp_path / ".env"
    link.symlink_to("kept.env")
    dotenv.write_private(link, "A=2\n")
    assert link.is_symlink() and kept.read_text() == "A=2\n"
    assert (kept.stat().st_uid, kept.stat().st_gid) == owner and kept.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [".env", "kept.env"]
