"""The proxy's one direction: who may import whom. Nothing calls back upward, web and adapters never meet."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "proxy" / "chatproxy"

# Layer -> what of the package it may import. `errors` may be imported by all and imports nothing itself.
ALLOWED = {
    "wsgi": ("settings", "app"),
    "__main__": ("commands",),
    "commands": (
        "findings",
        "settings",
        "parts",
        "core",
        "admins_commands",
        "data_commands",
        "model_commands",
        "trial_commands",
        "sources_commands",
        "worker",
    ),
    "findings": (),
    "model_commands": ("building", "findings", "settings", "core"),
    "trial_commands": ("parts", "findings", "settings"),
    "admins_commands": ("findings", "settings", "parts", "core"),
    # A composition root too: of what is carried away and brought back.
    "data_commands": ("building", "findings", "settings", "core", "adapters"),
    "sources_commands": ("findings", "settings", "parts", "core"),
    "app": ("settings", "console_app", "parts", "web", "core"),
    "console_app": ("building", "parts", "web"),
    "parts": ("building", "settings", "core", "adapters"),
    "building": ("settings", "core", "adapters"),
    # A second composition root: of what only its image has the libraries for.
    "worker": ("building", "settings", "core", "adapters"),
    "settings": ("setting_kinds",),
    "setting_kinds": (),
    "errors": (),
    "web": ("web", "core"),
    "adapters": (
        *("adapters", "core.ports", "core.types", "core.access", "core.passages", "core.fitting", "core.warm_ports"),
        # A crawler's types and its decisions, which need nothing of the web.
        *("core.boundary", "core.crawling", "core.frontier", "core.knowledge", "core.urls"),
        *("core.knowledge_ports", "core.models", "core.sources", "core.engine_pages"),
        # What the console keeps and looks for.
        *("core.added_rules", "core.admin_ports", "core.archive"),
        # What is carried away by a backup.
        *("core.carried", "core.carried_ports"),
        # What is measured, to be kept and told.
        *("core.condition", "core.measures", "core.tally", "core.working"),
        # What has a retention.
        "core.expiry",
    ),
    "core": ("core",),
}
# The core is plain Python: no web framework, no driver. Small pure libraries only.
CORE_LIBRARIES = {"ada_url", "email_validator", "itsdangerous", "jinja2"}


def _modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def _layer(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(module: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of every import, those inside functions too; `from a import b` gives `a.b`."""
    inside = ("chatproxy", *module.relative_to(PACKAGE).parts[:-1]) if PACKAGE in module.parents else ()
    for node in ast.walk(ast.parse(module.read_text(), str(module))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(inside[: len(inside) - node.level + 1]) + "." if node.level else ""
            yield from ((node.lineno, f"{base}{node.module or ''}.{alias.name}") for alias in node.names)


def _within(name: str, allowed: str) -> bool:
    return name == allowed or name.startswith(allowed + ".")


def violations(module: Path) -> list[str]:
    layer = _layer(module)
    if layer == "__init__":
        layer = "errors"  # the package's own __init__ holds nothing that needs anything
    found = []
    for line, name in _imports(module):
        where = f"{module.relative_to(PACKAGE)}:{line}"
        if _within(name, "chatproxy"):
            inner = name.removeprefix("chatproxy").strip(".").replace("..", ".")
            if not inner or _within(inner, "errors"):
                continue
            if not any(_within(inner, allowed) for allowed in ALLOWED[layer]):
                found.append(f"{where}: {layer} may not import {inner}")
        elif layer == "core" and name.split(".")[0] not in sys.stdlib_module_names | CORE_LIBRARIES:
            found.append(f"{where}: core may not import {name}")
    return found


@pytest.mark.parametrize("module", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(module: Path) -> None:
    assert violations(module) == []


def test_every_layer_of_the_package_has_a_rule() -> None:
    assert {_layer(module) for module in _modules()} - {"__init__"} <= set(ALLOWED)


def _pinned() -> set[str]:
    pins = [ROOT / "tests" / "requirements.txt", *ROOT.glob("proxy/requirements*.txt")]
    pins += ROOT.glob("images/*/requirements.txt")
    pins.append(ROOT / "images" / "embeddings" / "requirements.in")  # torch alone has no one checksum
    return {_plain(name) for file in pins for name in re.findall(r"^([\w.-]+)==", file.read_text(), re.MULTILINE)}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_library_that_a_test_imports_is_pinned() -> None:
    """What was once installed by hand is there on one machine only."""
    own = {"chatproxy", "images", "scripts", "tests"} | sys.stdlib_module_names
    installed = packages_distributions()
    pinned = _pinned()
    missing = set()
    for module in sorted((ROOT / "tests").rglob("*.py")):
        for line, name in _imports(module):
            top = name.split(".")[0]  # empty for a neighbour (`from . import x`)
            if top and top not in own and not {_plain(each) for each in installed.get(top, ())} & pinned:
                missing.add(f"{module.relative_to(ROOT)}:{line}: {top}")
    assert missing == set()


def test_the_rule_finds_what_it_forbids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    for name, text in {
        "core/a.py": "from chatproxy.adapters import mongo\nimport flask\nfrom ..web import chat\n",
        "web/b.py": "import chatproxy.adapters.mongo\n",
        "adapters/c.py": "from chatproxy.core.answer import Answering\nfrom chatproxy.core.types import Message\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert len(violations(tmp_path / "core/a.py")) == 3
    assert len(violations(tmp_path / "web/b.py")) == 1
    assert len(violations(tmp_path / "adapters/c.py")) == 1


def test_the_proxy_needs_none_of_the_workers_libraries() -> None:
    """Its image does not have them."""

    def named(file: str) -> set[str]:
        return {_plain(name) for name in re.findall(r"^([\w.-]+)==", (ROOT / "proxy" / file).read_text(), re.MULTILINE)}

    only_workers = named("requirements-worker.in") - named("requirements.txt")
    modules = sorted(
        top for top, names in packages_distributions().items() if {_plain(n) for n in names} & only_workers
    )
    assert "tokenizers" in modules
    program = f"import sys; sys.modules.update(dict.fromkeys({modules})); import chatproxy.commands, chatproxy.app"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "proxy", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
