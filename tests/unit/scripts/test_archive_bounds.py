"""Archives with far more members than any, and with numbers that nobody could reckon with."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.lib import archive
from tests.unit.scripts.test_archive import members, refused, write

_UNCOUNTABLE = ["1e400", "-1", "9" * 19, "9" * 5000, '"12"', "null", "true", "{}"]


@pytest.mark.parametrize(
    "collections", [*(f'{{"a": {{"documents": 1, "bytes": {number}}}}}' for number in _UNCOUNTABLE), "[]", '{"a": 1}']
)
def test_numbers_that_cannot_be_reckoned_with_are_refused(tmp_path: Path, collections: str) -> None:
    data = f'{{"collections": {collections}}}'.encode()
    assert refused(write(tmp_path / "forged.tar", {**members(), "data/data.json": data})) == "backup.broken"


def test_a_list_in_lists_without_end_is_refused(tmp_path: Path) -> None:
    deep = {**members(), "data/data.json": b"[" * 100_000}
    assert refused(write(tmp_path / "deep.tar", deep)) == "backup.broken"


def test_a_hundred_thousand_members_are_read_in_seconds(tmp_path: Path) -> None:
    content = {**members(), **{f"caddy/certificates/{number}": b"x" for number in range(100_000)}}
    found = archive.verify(write(tmp_path / "many.tar", content))
    assert len(found.members()) == len(content) + 1
