"""A stranger finds their room from the tree alone: the fixed top level, one file per verb, one fragment per service."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
FIXED = {"images", "compose", "proxy", "models", "scripts", "tests"}
FIXED |= {"docker-compose.yml", "docker-compose.gpu.yml", "Makefile", "README.md"}
# What tools look for at the top and nowhere else.
FOR_TOOLS = {
    "LICENSE",
    ".env.example",
    ".gitignore",
    ".dockerignore",
    ".ci",
    "pyproject.toml",
    ".yamllint",
    ".hadolint.yaml",
}
# A screenful of screens. What grows past it wants to be two modules.
LONGEST_MODULE = 340


def _tracked() -> list[Path]:
    """Files that git has or would take, so that what only this machine made does not count."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [Path(name) for name in listed if (ROOT / name).exists()]


def _is_python(path: Path) -> bool:
    if path.suffix:
        return path.suffix == ".py"
    return path.parts[0] == "scripts" and (ROOT / path).read_bytes().startswith(b"#!/usr/bin/env python3")


def test_the_top_level_is_the_fixed_one() -> None:
    top = {path.parts[0] for path in _tracked()}
    assert top >= FIXED
    assert top - FIXED <= FOR_TOOLS


def test_no_module_outgrows_a_readers_patience() -> None:
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in _tracked() if _is_python(path)}
    assert {str(path): length for path, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_every_command_is_executable_and_says_what_it_does() -> None:
    for path in _tracked():
        if path.parts[0] == "scripts" and len(path.parts) == 2 and path.name != "__init__.py":
            assert os.access(ROOT / path, os.X_OK), f"{path} is not executable"
            assert (ROOT / path).read_text().startswith("#!"), f"{path} names no interpreter"


def test_the_compose_file_includes_one_fragment_per_service() -> None:
    included = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["include"]
    for fragment in included:
        services = yaml.safe_load((ROOT / fragment).read_text())["services"]
        assert list(services) == [Path(fragment).stem]


def test_every_service_that_is_built_here_has_its_image_folder() -> None:
    folders = {path.parts[1] for path in _tracked() if path.parts[0] == "images" and path.name == "Dockerfile"}
    knowledge, admin = {"chroma", "embeddings", "worker"}, {"wireguard", "grafana", "prometheus"}
    assert folders == {"base", "bench", "caddy", "fetch", "koboldcpp", "llamacpp", "mongo", "proxy", *knowledge, *admin}
