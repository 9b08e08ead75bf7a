"""Reads what a koboldcpp.py understands, when the image is built: ``python3 -m entrypoint.describe``.

The answer is written as JSON (`Build.load` reads it). Reading is by syntax tree, nothing of the program is run; a
program that this cannot read ends the build, long before it could fail on an operator's machine.
"""

from __future__ import annotations

import argparse
import ast
import json
from pathlib import Path
from typing import Any

_NO_VALUE_ACTIONS = {"store_true", "store_false", "store_const", "append_const", "count", "help", "version"}
#: Without these the entrypoint cannot start any version.
_NEEDED = {"--model", "--port", "--host", "--contextsize", "--threads", "--multiuser", "--quiet", "--skiplauncher"}


def describe(source: str) -> dict[str, Any]:
    """koboldcpp's version and flags.

    Returns:
        ``{"version": "1.115.1", "flags": [{"names": ["--threads", "-t"], "arity": "1", "kind": "int", "choices": []},
        ...]}``. The arity is a number of values or argparse's ``?``, ``*``, ``+``.

    Raises:
        ValueError: there is no version, a flag that every version has is missing, or an arity is not readable.
    """
    tree = ast.parse(source)
    flags = [_flag(call) for call in ast.walk(tree) if isinstance(call, ast.Call) and _adds_flag(call)]
    missing = _NEEDED - {name for flag in flags for name in flag["names"]}
    if missing:
        raise ValueError(f"this koboldcpp.py declares no {', '.join(sorted(missing))}: its flags cannot be read")
    return {"version": _version(tree), "flags": flags}


def _version(tree: ast.Module) -> str:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "KcppVersion" for t in node.targets
        ):
            return str(ast.literal_eval(node.value))
    raise ValueError("this koboldcpp.py has no KcppVersion")


def _adds_flag(call: ast.Call) -> bool:
    named = isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"
    return named and any(name.startswith("-") for name in _names(call))


def _names(call: ast.Call) -> list[str]:
    return [word.value for word in call.args if isinstance(word, ast.Constant) and isinstance(word.value, str)]


def _flag(call: ast.Call) -> dict[str, Any]:
    options = {keyword.arg: keyword.value for keyword in call.keywords}
    kind = options.get("type")
    return {
        # The long form first: it is the one that the program's own help shows.
        "names": sorted(_names(call), key=lambda name: not name.startswith("--")),
        "arity": _arity(call, options.get("nargs"), options.get("action")),
        "kind": kind.id if isinstance(kind, ast.Name) and kind.id in ("int", "float") else "str",
        "choices": _choices(options.get("choices")),
    }


def _arity(call: ast.Call, nargs: ast.expr | None, action: ast.expr | None) -> str:
    if isinstance(action, ast.Constant) and action.value in _NO_VALUE_ACTIONS:
        return "0"
    if nargs is None:
        return "1"
    if isinstance(nargs, ast.Constant) and isinstance(nargs.value, (int, str)):
        return str(nargs.value)
    raise ValueError(f"the number of values of {_names(call)[0]} cannot be read")


def _choices(node: ast.expr | None) -> list[str]:
    """The allowed values where they are written out; an empty list where they are computed."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        return [str(number) for number in range(*(ast.literal_eval(bound) for bound in node.args))]
    if isinstance(node, (ast.List, ast.Tuple)):
        try:
            return [str(value) for value in ast.literal_eval(node)]
        except ValueError:
            return []
    return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=Path, help="koboldcpp.py")
    parser.add_argument("output", type=Path, help="the JSON file to write")
    parser.add_argument("--backend", required=True)
    arguments = parser.parse_args()
    build = {"backend": arguments.backend, **describe(arguments.program.read_text(encoding="utf-8"))}
    arguments.output.write_text(json.dumps(build, indent=1), encoding="utf-8")
    print(f"koboldcpp {build['version']} for {arguments.backend}: {len(build['flags'])} flags")


if __name__ == "__main__":
    main()
