"""README stays true: a setting, route, make target or finding that it does not name fails here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from chatproxy.settings import OPTIONS
from scripts.lib.settings import SETTINGS
from tests.unit.proxy.routes import console_routes, routes

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
ROUTE_ARGUMENT = re.compile(r"<(?:\w+:)?(\w+)>")


def _documented_settings() -> set[str]:
    return set(re.findall(r"^\| `([A-Z0-9_]+)`", README, re.MULTILINE))


def _proxy_environment() -> set[str]:
    fragment = yaml.safe_load((ROOT / "compose" / "proxy.yml").read_text())
    return set(fragment["services"]["proxy"]["environment"])


def test_the_settings_table_names_every_setting_and_no_other() -> None:
    assert _documented_settings() == set(SETTINGS)


def test_the_proxy_knows_every_variable_that_compose_gives_it() -> None:
    assert _proxy_environment() <= {option.variable for option in OPTIONS} | {"TMPDIR"}  # the last is Python's own


def test_every_variable_in_the_compose_files_is_set_somewhere() -> None:
    """A name in `${...}` is the operator's setting or something that `make up` resolves: a typo stays empty."""
    files = [ROOT / "docker-compose.yml", ROOT / "docker-compose.gpu.yml", *(ROOT / "compose").glob("*.yml")]
    used = {name for file in files for name in re.findall(r"\$\{([A-Z0-9_]+)", file.read_text())}
    resolving = "".join(
        (ROOT / "scripts" / "lib" / name).read_text() for name in ("resolve.py", "gpus.py", "restoring.py")
    )
    resolved = set(re.findall(r'"([A-Z_]+)":', resolving))
    assert used - {"COMPOSE_PROJECT_NAME"} <= set(SETTINGS) | resolved


def test_env_example_holds_every_setting_with_its_default() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z0-9_]+=", line))
    assert given == {name: setting.default for name, setting in SETTINGS.items()}


def _targets() -> list[str]:
    return re.findall(r"^([a-z][a-z-]*):.*?##", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("target", _targets())
def test_every_make_target_is_documented(target: str) -> None:
    assert f"`make {target}" in README


def test_readme_names_no_target_that_is_not_there() -> None:
    assert set(re.findall(r"`make ([a-z-]+)", README)) <= set(_targets())


def test_every_route_is_documented() -> None:
    for method, rule in routes():
        shown = ROUTE_ARGUMENT.sub("ID", rule).rstrip("/") or "/"
        assert re.search(rf"^\| `[A-Z, |]*{method}[A-Z, |]* {re.escape(shown)}`", README, re.MULTILINE), (
            f"{method} {shown}"
        )


def test_every_route_of_the_console_is_documented() -> None:
    table = README.partition("\n## The console\n")[2].partition("\n## ")[0]
    for method, rule in console_routes():
        shown = ROUTE_ARGUMENT.sub("ID", rule).rstrip("/") or "/"
        one = rf"`[A-Z, ]*{method}[A-Z, ]* {re.escape(shown)}`"
        assert re.search(rf"^\| (?:`[^|]*, )?{one}", table, re.MULTILINE), f"{method} {shown}"


def _shown_tree() -> str:
    return next(block for block in README.split("```")[1::2] if "chatproxy/" in block)


@pytest.mark.parametrize("folder", ["images", "compose", "scripts", "tests"])
def test_the_tree_shows_every_folder_and_file(folder: str) -> None:
    for path in sorted((ROOT / folder).iterdir()):
        if not path.name.startswith((".", "__")) and path.name not in ("artifacts", "requirements.in"):
            assert path.name in _shown_tree(), f"{path.relative_to(ROOT)} is missing in README's tree"


@pytest.mark.parametrize("package", ["proxy/chatproxy", "scripts/lib"])
def test_the_tree_shows_every_module(package: str) -> None:
    for path in sorted((ROOT / package).rglob("*.py")):
        shown = path.name if not path.stem.startswith("preflight_") else path.stem.removeprefix("preflight")
        if path.name != "__init__.py":
            assert shown in _shown_tree(), f"{path.relative_to(ROOT)} is missing in README's tree"
