"""Reading and merging `.env` files the way Docker Compose reads them.

One `NAME=value` a line, an `export ` in front allowed. Unquoted values end at ` #`; 'single quotes' are literal;
"double quotes" know the escapes \\n \\r \\t \\" \\\\ \\$. CRLF files and a byte order mark are accepted.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

_ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*=\s*(.*)$")
_DOUBLE_QUOTED = re.compile(r'^"((?:[^"\\]|\\.)*)"')
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def parse(text: str) -> dict[str, str]:
    """{name: value}; the last of several assignments wins, lines that are no assignment are passed over."""
    values = {}
    for line in text.lstrip("\ufeff").splitlines():
        match = None if line.lstrip().startswith("#") else _ASSIGNMENT.match(line)
        if match:
            values[match[1]] = _unquote(match[2].strip())
    return values


def _unquote(raw: str) -> str:
    if raw.startswith("'") and "'" in raw[1:]:
        return raw[1 : raw.index("'", 1)]
    quoted = _DOUBLE_QUOTED.match(raw)
    if quoted:
        return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), quoted[1], flags=re.DOTALL)
    return re.split(r"(?:^|\s)#", raw, maxsplit=1)[0].rstrip()


def stray_lines(text: str) -> list[tuple[int, str]]:
    """(line number, line) of what is neither blank, comment nor assignment."""
    numbered = enumerate(text.lstrip("\ufeff").splitlines(), start=1)
    return [
        (n, line) for n, line in numbered if line.strip() and line.lstrip()[0] != "#" and not _ASSIGNMENT.match(line)
    ]


def quote(value: str) -> str:
    """The value as it can stand after `NAME=`, read back unchanged by Compose and by `parse`."""
    if re.fullmatch(r"[A-Za-z0-9_./:,@%+=\[\]-]*", value):
        return value
    if "'" not in value and "\n" not in value:
        return f"'{value}'"
    escaped = re.sub(r'(["\\$])', r"\\\1", value).replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def render(values: Mapping[str, str], heading: str) -> str:
    comment = "".join(f"# {line}\n" for line in heading.splitlines())
    return comment + "".join(f"{name}={quote(value)}\n" for name, value in values.items())


def with_new_settings(current: str, example: str) -> tuple[str, list[str]]:
    """`current` with the settings it lacks appended from `example`, each with its comment, and their names.

    Nothing in `current` is touched: not the values, not their order, not the line ends.
    """
    known = parse(current)
    added: list[str] = []
    lines = ["# --- new in this version, with their defaults ---"]
    comment: list[str] = []
    for line in example.splitlines():
        match = None if line.startswith("#") else _ASSIGNMENT.match(line)
        if match and match[1] not in known:
            added.append(match[1])
            lines += [*comment, line]
        comment = [*comment, line] if line.startswith("#") else []
    if not added:
        return current, []
    newline = "\r\n" if "\r\n" in current else "\n"
    gap = "" if not current or current.endswith("\n") else newline
    return current + gap + newline + newline.join(lines) + newline, added


def with_values(current: str, values: Mapping[str, str], remark: str = "", mark: str = "") -> str:
    """`current` with these values, and above each the line `# remark` if there is one; all else stays byte for byte.

    The last assignment of a name is the one that counts, so that one is changed; what is not there is appended. A
    comment beginning with `mark` right above an assignment was written by an earlier call, and is replaced.
    """
    newline = "\r\n" if "\r\n" in current else "\n"
    lines = current.splitlines(keepends=True)
    told = [f"# {remark}{newline}"] if remark else []
    for name, value in values.items():
        pattern = re.compile(
            rf"^(\ufeff?\s*(?:export\s+)?{re.escape(name)}\s*=[ \t]*)(.*?)(\s+#.*)?(\r?\n?)$", re.DOTALL
        )
        found = [number for number, line in enumerate(lines) if pattern.match(line)]
        if not found:
            if lines and not lines[-1].endswith("\n"):
                lines[-1] += newline
            lines += [*told, f"{name}={quote(value)}{newline}"]
            continue
        at = found[-1]
        if parts := pattern.match(lines[at]):
            # Behind `NAME=` a comment may stand at once, in the value's place.
            comment = (f" {parts[2]}" if parts[2].startswith("#") else "") + (parts[3] or "")
            lines[at] = f"{parts[1]}{quote(value)}{comment}{parts[4]}"
        above = lines[at - 1] if at else ""
        lines[at - bool(mark and above.startswith(f"# {mark}")) : at] = told
    return "".join(lines)


def write_private(path: Path, text: str, *, follow: bool = True) -> None:
    """Put `text` at `path` with mode 0600 in one step: a reader finds the old file or the new one, never half.

    Where it is a link, the file that it leads to is written; whose it was, it stays, also where root writes. Without
    `follow`, for folders that others may write to, a link or another's file gives way to one of our own.
    """
    if follow:
        path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).chmod(0o600)
        if os.geteuid() == 0 and follow and path.exists():
            before = path.stat()
            os.chown(draft, before.st_uid, before.st_gid)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
