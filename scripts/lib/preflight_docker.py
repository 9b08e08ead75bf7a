"""Checks of Docker: what is there, what will be installed, what has to be mended by hand."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.lib import generations
from scripts.lib.docker_install import MIN_COMPOSE, MIN_ENGINE
from scripts.lib.findings import ERROR, INFO, Finding
from scripts.lib.preflight_machine import SUPPORTED
from scripts.lib.situation import Situation


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def engine(s: Situation) -> Iterator[Finding]:
    host = s.host
    installable = (host.os_id, host.os_version) in SUPPORTED
    if not host.docker_engine or not host.docker_cli:
        level = INFO if installable else ERROR
        hint = (
            "`make up` installs the distribution's own"
            if installable
            else "install Docker Engine, then `make up` again"
        )
        yield Finding("docker.missing", level, "Docker Engine is not installed", hint)
    elif not host.docker_answers:
        yield Finding("docker.stopped", INFO, "Docker is installed and not running", "`make up` starts it")
    elif host.engine_version < MIN_ENGINE:
        fact = f"Docker Engine {_dotted(host.engine_version)} is too old, {_dotted(MIN_ENGINE)} is the least"
        yield Finding("docker.too_old", ERROR, fact, "upgrade Docker Engine")


def plugins(s: Situation) -> Iterator[Finding]:
    host = s.host
    installable = (host.os_id, host.os_version) in SUPPORTED
    level = INFO if installable else ERROR
    hint = "`make up` installs it" if installable else "install it beside your Docker Engine"
    if not host.compose_version:
        yield Finding("compose.missing", level, "Docker Compose v2 is not installed", hint)
    elif host.compose_version < MIN_COMPOSE:
        fact = f"Docker Compose {_dotted(host.compose_version)} is too old, {_dotted(MIN_COMPOSE)} is the least"
        yield Finding("compose.too_old", level, fact, "`make up` puts a newer one beside it" if installable else hint)
    if not host.buildx_version:
        yield Finding("buildx.missing", level, "Docker's buildx plugin is not installed", hint)


def project(s: Situation) -> Iterator[Finding]:
    """Two checkouts of one project name would replace each other's containers and share their data."""
    host, name = s.host, s.settings.project
    if host.elsewhere:
        fact = f"the project {name} runs from {' and '.join(host.elsewhere)}"
        hint = "set COMPOSE_PROJECT_NAME, HTTP_PORT and HTTPS_PORT in .env of this checkout, or run `make down` there"
        yield Finding("project.elsewhere", ERROR, fact, f"{hint} first")
    elif host.locked_out:
        fact = f"the volume {name}_mongo_data holds data made with other secrets than this checkout would make"
        hint = (
            "put .appliance/secrets of the checkout that made it here, or choose another COMPOSE_PROJECT_NAME in .env, "
            f"or `docker volume rm {name}_mongo_data` if nobody needs the data"
        )
        yield Finding("project.secrets_missing", ERROR, fact, hint)
    elif host.stored and host.generation not in host.stored:
        there = ", ".join(generations.data_name(name, number) for number in host.stored)
        fact = (
            f"{generations.FILE} names the volumes {generations.data_name(name, host.generation)}_..., which are not "
            f"there, and there are those of {there}"
        )
        hint = (
            f"empty ones would be made: write {host.stored[-1]}, or the number of yours, into {generations.FILE}; or "
            "`make restore FROM=...`; or choose another COMPOSE_PROJECT_NAME in .env"
        )
        yield Finding("data.generation_missing", ERROR, fact, hint)
