"""What every reader of a kind of document is given, and what they share."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

# Of the whole time, the share that may go by before pictures are left unread: text comes first.
_SHARE_FOR_PICTURES = 0.7


@dataclass(slots=True)
class Reading:
    """One document being read. `warnings` collects what could not be, `pictures` counts those that were."""

    path: Path
    name: str
    media_type: str = ""
    ocr_languages: str = "eng"
    wall_s: float = 300.0
    memory: int = 512 << 20
    warnings: list[str] = field(default_factory=list)
    pictures: int = 0
    _began: float = field(default_factory=time.monotonic)

    @property
    def stem(self) -> str:
        """A title where the document has none: its file's name, in words."""
        return Path(self.name or self.path.name).stem.replace("_", " ").strip()

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix.lower()

    def seconds_for_pictures(self) -> float:
        return self.wall_s * _SHARE_FOR_PICTURES - (time.monotonic() - self._began)

    def warn(self, words: str) -> None:
        if words not in self.warnings:
            self.warnings.append(words)


def even_rows(rows: list[list[str]]) -> tuple[tuple[str, ...], ...]:
    """Rows of one width, those and the columns without a word left out; () where fewer than one is left."""
    width = max(map(len, rows), default=0)
    padded = [[" ".join(cell.split()) for cell in row] + [""] * (width - len(row)) for row in rows]
    kept = [row for row in padded if any(row)]
    columns = [at for at in range(width) if any(row[at] for row in kept)]
    return tuple(tuple(row[at] for at in columns) for row in kept)
