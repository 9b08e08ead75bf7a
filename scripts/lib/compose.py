"""Docker Compose, always called with the same files, names and values."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from scripts.lib import docker_daemon, paths, resolve, settings, shell
from scripts.lib.failure import Failure
from scripts.lib.shell import Piped

_PS_ATTEMPTS = 10
# Which volumes and secrets are used: an earlier version may not have resolved them.
_PLACES_OF_DATA = ("DATA_NAME", "SECRETS_DIR")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


# Services that are there under some settings only, by the profile that brings them.
PROFILES = {"engine": "engine", "wireguard": "wireguard", "prometheus": "monitoring", "grafana": "grafana"}


@dataclass(frozen=True)
class Container:
    """One line of `docker compose ps`. health is "" before the first check."""

    id: str
    service: str
    name: str
    state: str
    health: str
    exit_code: int
    status: str

    @property
    def well(self) -> bool:
        # Every service has a health check: no word from it yet is no "healthy".
        return self.state == "running" and self.health == "healthy"


@dataclass(frozen=True)
class Compose:
    """The appliance as Compose sees it. `gpu` adds docker-compose.gpu.yml; the files are .env and what came of it."""

    project: str
    gpu: bool = False
    env_file: Path = paths.ENV_FILE
    resolved: Path = paths.RESOLVED_ENV

    def command(self, *arguments: str) -> list[str]:
        files = ["docker-compose.yml", *(["docker-compose.gpu.yml"] if self.gpu else [])]
        options = ["--project-name", self.project, "--project-directory", str(paths.ROOT)]
        options += [part for name in files for part in ("-f", str(paths.ROOT / name))]
        for env_file in (self.env_file, self.resolved):
            options += ["--env-file", str(env_file)]
        return docker_daemon.docker("compose", *options, *arguments)

    def environment(self) -> Mapping[str, str | None]:
        """What Compose must not see: for it a variable of the shell outranks what `make up` resolved and wrote down."""
        return dict.fromkeys([*settings.SETTINGS, *_PLACES_OF_DATA, *resolve.earlier(self.resolved)])

    def ask(self, *arguments: str, timeout: float = 60) -> tuple[int, str, str]:
        return shell.capture(self.command(*arguments), timeout=timeout, env=self.environment())

    def config(self) -> dict[str, Any]:
        """The whole configuration with every value filled in."""
        status, out, err = self.ask("config", "--format", "json")
        if status != 0:
            last = (err.strip().splitlines() or ["no reason given"])[-1]
            raise Failure(
                "compose.invalid",
                f"Docker Compose refuses the configuration: {last}",
                "correct .env, or the file it names",
            )
        parsed: dict[str, Any] = json.loads(out)
        return parsed

    def containers(self) -> list[Container]:
        """All containers of the appliance, stopped ones included, by service name."""
        for _ in range(_PS_ATTEMPTS):
            status, out, err = self.ask("ps", "--all", "--format", "json", timeout=30)
            if status == 0 or "No such container" not in err:
                break
            # One was replaced between Compose's listing it and its looking at it; the next listing has the new one.
            time.sleep(0.3)
        if status != 0:
            raise Failure(
                "docker.no_answer", f"docker compose ps failed: {err.strip()[-200:]}", "`make doctor` looks closer"
            )
        return sorted((_container(entry) for entry in entries(out)), key=lambda container: container.service)

    def run_in(self, service: str, command: Sequence[str], timeout: float = 60) -> tuple[int, str, str]:
        """Run a command inside a running service."""
        return self.ask("exec", "-T", service, *command, timeout=timeout)

    def feed(self, service: str, command: Sequence[str], given: BinaryIO, timeout: float) -> tuple[int, str, str]:
        """Run a command inside a running service, with a file as its stdin."""
        words = self.command("exec", "-T", service, *command)
        return shell.capture(words, timeout=timeout, env=self.environment(), given=given)

    def follow(self, service: str, command: Sequence[str]) -> Iterator[str]:
        """The lines that a command inside a running service prints, as they come."""
        words = self.command("exec", "-T", service, *command)
        yield from shell.lines(words, env=self.environment())

    def pull(self, service: str, command: Sequence[str]) -> AbstractContextManager[Piped]:
        """A command inside a running service, whose stdout is read as bytes while it runs; its stdin is `held`."""
        return shell.piped(self.command("exec", "-T", service, *command), env=self.environment(), held=True)

    def beside(self, service: str, volume: str, command: Sequence[str]) -> AbstractContextManager[Piped]:
        """The same in a container of its own, of a service's image: without network, and with nothing but a volume.

        The service itself may be stopped. `volume` is called as in docker-compose.yml, and lies at /from, read-only.
        """
        config = self.config()
        name, image = config["volumes"][volume]["name"], config["services"][service]["image"]
        if docker_daemon.ask("volume", "inspect", name)[0] != 0:
            # `docker run` would make an empty one.
            raise Failure("volume.missing", f"the volume {name} is not there", "`make up` makes it")
        limits = ("--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges:true")
        mount = f"--mount=type=volume,source={name},target=/from,readonly,volume-nocopy"
        words = ("run", "--rm", "--pull=never", *limits, mount, f"--entrypoint={command[0]}", image, *command[1:])
        return shell.piped(docker_daemon.docker(*words))

    def logs(self, service: str, lines: int) -> list[str]:
        _, out, err = self.ask("logs", "--no-color", "--no-log-prefix", "--tail", str(lines), service, timeout=20)
        # Services draw for terminals: colours, and lines that erase themselves.
        return [plain for line in (out + err).splitlines() if (plain := _ESCAPES.sub("", line).strip())]


def entries(text: str) -> list[dict[str, Any]]:
    """Objects of Compose's JSON output: one a line since 2.21, one array before."""
    text = text.strip()
    if text.startswith("["):
        array: list[dict[str, Any]] = json.loads(text)
        return array
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def _container(entry: Mapping[str, Any]) -> Container:
    return Container(
        id=str(entry.get("ID", "")),
        service=str(entry.get("Service", "")),
        name=str(entry.get("Name", "")),
        state=str(entry.get("State", "")),
        health=str(entry.get("Health", "")),
        exit_code=int(entry.get("ExitCode", 0)),
        status=str(entry.get("Status", "")),
    )


def settings_gone() -> Failure | None:
    """What to say where an appliance was set up, and the settings that it was set up by are not here any more."""
    values = resolve.earlier()
    if not values or paths.ENV_FILE.is_file():
        return None
    fact = f".env is gone, and {values.get('COMPOSE_PROJECT_NAME', 'the appliance')} was set up by it"
    way = "tar --extract --to-stdout --file=ARCHIVE settings/.env > .env"
    hint = f"take it out of the newest backup (`make backups`): {way}"
    return Failure("settings.gone", fact, f"{hint}; or `make up ACCEPT=settings.gone` begins with the defaults")


def current() -> Compose:
    """The appliance as the last `make up` left it. Failure when there was none, or its settings are gone."""
    values = resolve.earlier()
    if not values:
        raise Failure(
            "appliance.not_set_up",
            "nothing is set up in this folder, or .appliance/resolved.env is gone",
            "run `make up`",
        )
    if gone := settings_gone():
        raise gone
    docker_daemon.ensure_running()
    return Compose(values.get("COMPOSE_PROJECT_NAME", "chatbot"), gpu=values.get("GPU") == "1")
