"""A koboldcpp.py is read as its own parser would be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from images.koboldcpp.entrypoint.build import Build
from images.koboldcpp.entrypoint.describe import describe
from tests.doubles.koboldcpp_source import VERSIONS, parser_source, table

ROOT = Path(__file__).resolve().parents[4]
NEEDED = """
for name in ("--model", "--port", "--host", "--contextsize", "--threads", "--multiuser"): pass
p.add_argument("--model"); p.add_argument("--port"); p.add_argument("--host"); p.add_argument("--contextsize")
p.add_argument("--threads"); p.add_argument("--multiuser"); p.add_argument("--quiet"); p.add_argument("--skiplauncher")
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_reads_every_flag_of_a_version(version: str) -> None:
    found = describe(parser_source(version))
    assert found["version"] == version

    def known(flags: list[dict[str, object]]) -> list[tuple[object, ...]]:
        return sorted((sorted(flag["names"]), flag["arity"], flag["kind"], flag["choices"]) for flag in flags)  # type: ignore[call-overload]

    assert known(found["flags"]) == known(table(version)["flags"])


def test_reads_ranges_and_passes_over_computed_choices() -> None:
    source = f"KcppVersion = '9'\n{NEEDED}"
    source += "g.add_argument('-d', '--device', type=int, choices=range(0, 3), nargs=2)\n"
    source += "g.add_argument('--mode', type=check(int, 0, 32), choices=modes)\n"
    source += "g.add_argument('place', nargs='?')\n"
    flags = {flag["names"][0]: flag for flag in describe(source)["flags"]}
    assert flags["--device"] == {"names": ["--device", "-d"], "arity": "2", "kind": "int", "choices": ["0", "1", "2"]}
    assert flags["--mode"] == {"names": ["--mode"], "arity": "1", "kind": "str", "choices": []}
    assert "place" not in flags


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("print()", "declares no --contextsize"),
        (NEEDED, "no KcppVersion"),
        (NEEDED + "p.add_argument('--odd', nargs=count)", "--odd"),
    ],
)
def test_a_source_that_cannot_be_read_ends_the_build(source: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        describe(source)


def test_writes_what_the_entrypoint_loads(tmp_path: Path) -> None:
    program, output = tmp_path / "koboldcpp.py", tmp_path / "build.json"
    program.write_text(parser_source("1.76"))
    command = [sys.executable, "-m", "entrypoint.describe", str(program), str(output), "--backend", "openblas"]
    subprocess.run(command, cwd=ROOT / "images" / "koboldcpp", check=True, capture_output=True)
    build = Build.load(output)
    assert (build.version, build.backend) == ("1.76", "openblas")
    assert build.has("--usecublas") and not build.has("--smartcache")
