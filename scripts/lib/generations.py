"""The volumes that hold the data, by generation: a restore fills new ones beside those in use.

Generation 1 is what `make up` makes on a blank machine: `chatbot_mongo_data`. Later ones have their number in the name:
`chatbot.2_mongo_data`. Which one is in use stands in .appliance/generation, and goes to Compose as DATA_NAME.
"""

from __future__ import annotations

import re
from pathlib import Path

from scripts.lib import docker_daemon, paths
from scripts.lib.failure import Failure

# What docker-compose.yml names with DATA_NAME. Figures and Compose's own copies of settings are not data to lose.
VOLUMES = ("mongo_data", "chroma_data", "words_data", "caddy_data")
FILE = paths.STATE / "generation"


def current(file: Path = FILE) -> int:
    """The generation in use. Failure where the file that says so is damaged: a guess would show other data."""
    try:
        return int(file.read_text(encoding="ascii"))
    except FileNotFoundError:
        return 1
    except (OSError, ValueError) as error:
        hint = f"`docker volume ls` shows what there is; write the number of yours into {file}"
        raise Failure("data.generation_unknown", f"{file} does not name a generation of volumes", hint) from error


def write(number: int, file: Path) -> None:
    """Make the file that says which generation is in use."""
    file.write_text(f"{number}\n", encoding="ascii")


def data_name(project: str, generation: int) -> str:
    """What the names of a generation's volumes begin with."""
    return project if generation == 1 else f"{project}.{generation}"


def numbers(project: str, listed: str) -> list[int]:
    """The generations of which there are volumes, from the output of `docker volume ls`; the project's own only."""
    names = "|".join(VOLUMES)
    wanted = re.compile(rf"{re.escape(project)}(?:\.(\d+))?_(?:{names})")
    found = {int(match[1] or 1) for line in listed.splitlines() if (match := wanted.fullmatch(line.strip()))}
    return sorted(found)


def existing(project: str) -> list[int]:
    """The generations of which there are volumes. Failure when Docker does not say."""
    return numbers(project, "\n".join(_volumes()))


def with_data(project: str, listed: str) -> list[int]:
    """Those of `numbers` that hold conversations."""
    return numbers(project, "\n".join(line for line in listed.split() if line.endswith("_mongo_data")))


def left_of(data: str) -> list[str]:
    """Those volumes that are there and whose names begin with this. Failure when Docker does not say."""
    return sorted({f"{data}_{name}" for name in VOLUMES} & set(_volumes()))


def _volumes() -> list[str]:
    status, out, err = docker_daemon.ask("volume", "ls", "--format", "{{.Name}}")
    if status != 0:
        raise Failure(
            "docker.no_answer", f"docker volume ls failed: {err.strip()[-200:]}", "`make doctor` looks closer"
        )
    return out.split()


def unused(project: str) -> int:
    """The number of the next one. Failure when Docker does not say which there are."""
    return max(existing(project), default=0) + 1


def make(project: str, generation: int) -> None:
    """Empty volumes, labelled so that Compose takes them for the project's own. None of them may be there yet."""
    if generation in existing(project):
        fact = f"volumes named {data_name(project, generation)}_... are there already"
        raise Failure("data.generation_exists", fact, "try again: the next number is taken")
    for name in VOLUMES:
        labels = {"project": project, "volume": name}
        words = [part for key, value in labels.items() for part in ("--label", f"com.docker.compose.{key}={value}")]
        status, _, err = docker_daemon.ask("volume", "create", *words, volume(project, generation, name))
        if status != 0:
            # None of them was there before, so these are the ones that were just made.
            remove(project, generation)
            fact = f"the volume {volume(project, generation, name)} could not be made: {err.strip()[-200:]}"
            raise Failure("docker.refused", fact, "`make doctor` looks closer")


def remove(project: str, generation: int) -> None:
    """Take a generation's volumes away, data included; what a container still holds stays."""
    remove_named(data_name(project, generation))


def remove_named(data: str) -> None:
    """The same by what the volumes' names begin with."""
    docker_daemon.ask("volume", "rm", "--force", *(f"{data}_{name}" for name in VOLUMES))


def volume(project: str, generation: int, name: str) -> str:
    """The full name of one volume."""
    return f"{data_name(project, generation)}_{name}"
