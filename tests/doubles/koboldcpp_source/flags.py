"""flags.tsv as tables: which flags a version has, and a program text that declares them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSIONS = ("1.74", "1.76", "1.106.2", "1.115.1")

#: argparse lets at most one of these through, as koboldcpp's own parser does.
_EXCLUSIVE = {"--usecublas", "--usecuda", "--usevulkan", "--useclblast", "--usecpu", "--noblas"}


@dataclass(frozen=True)
class Row:
    """One line of flags.tsv."""

    names: tuple[str, ...]
    arity: str
    kind: str
    choices: tuple[str, ...]
    since: str
    until: str | None

    def is_in(self, version: str) -> bool:
        return _key(self.since) <= _key(version) and (self.until is None or _key(version) < _key(self.until))


def _key(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def flag_rows() -> list[Row]:
    lines = Path(__file__).with_name("flags.tsv").read_text(encoding="utf-8").splitlines()
    rows = []
    for line in lines:
        if line and not line.startswith("#"):
            names, arity, kind, choices, since, *until = line.split("\t")
            split = tuple(choices.split(",")) if choices else ()
            rows.append(Row(tuple(names.split(",")), arity, kind, split, since, until[0] if until else None))
    return rows


def table(version: str, backend: str = "cpu") -> dict[str, Any]:
    """The version's flags as the image's build.json holds them."""
    flags = [
        {"names": list(row.names), "arity": row.arity, "kind": row.kind, "choices": list(row.choices)}
        for row in flag_rows()
        if row.is_in(version)
    ]
    return {"backend": backend, "version": version, "flags": flags}


def parser_source(version: str) -> str:
    """A program text that makes `parser`, which takes what the version's own parser takes."""
    lines = [
        "import argparse",
        f"KcppVersion = {version!r}",
        "parser = argparse.ArgumentParser()",
        "group = parser.add_mutually_exclusive_group()",
    ]
    for row in flag_rows():
        if not row.is_in(version):
            continue
        options = _options(row)
        owner = "group" if _EXCLUSIVE & set(row.names) else "parser"
        lines.append(f"{owner}.add_argument({', '.join(map(repr, row.names))}, {options})")
    lines += ["parser.add_argument('model_param', nargs='?')", "parser.add_argument('port_param', nargs='?', type=int)"]
    return "\n".join(lines) + "\n"


def _options(row: Row) -> str:
    if row.arity == "0":
        return "action='store_true'"
    options = [f"type={row.kind}"]
    if row.arity != "1":
        options.append(f"nargs={int(row.arity) if row.arity.isdigit() else row.arity!r}")
    if row.choices:
        values: list[Any] = [int(c) for c in row.choices] if row.kind == "int" else list(row.choices)
        options.append(f"choices={values!r}")
    return ", ".join(options)
