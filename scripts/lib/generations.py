"""The volumes that hold the data, by generation: a restore and an upgrade fill new ones beside those in use.

Generation 1 is what `make up` makes on a blank machine: `chatbot_mongo_data`. Later ones have their number in the name:
`chatbot.2_mongo_data`. Which one is in use stands in .appliance/generation, and goes to Compose as DATA_NAME.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from scripts.lib import docker_daemon, paths
from scripts.lib.failure import Failure

# What docker-compose.yml names with DATA_NAME. Figures and Compose's own copies of settings are not data to lose.
VOLUMES = ("mongo_data", "chroma_data", "words_data", "caddy_data")
FILE = paths.STATE / "generation"
# Every appliance has it; nothing in it but a distribution's own tools.
_IMAGE = "chatbot-base:local"
# Hundreds of gigabytes on a slow disk.
_COPY_S = 6 * 3600.0


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


def bytes_of(data: str) -> int:
    """Bytes on the disk of a generation's volumes, which may be in use. Failure when they cannot be looked at."""
    there = left_of(data)
    if not there:
        return 0
    out = _inside([(name, f"/data/{name}", True) for name in there], "du", "-sk", "/data")
    return int(out.split()[0]) * 1024


def place(data: str) -> Path:
    """The folder of this host in which the volumes lie, or the nearest that this user may look at."""
    for name in left_of(data):
        status, out, _ = docker_daemon.ask("volume", "inspect", "--format", "{{.Mountpoint}}", name)
        if status == 0 and out.strip():
            return _seen(Path(out.strip()))
    return _seen(Path("/var/lib/docker"))


def _seen(folder: Path) -> Path:
    for each in (folder, *folder.parents):
        try:
            if each.exists():
                return each
        except PermissionError:
            continue
    return Path("/")


def copy(data: str, project: str, generation: int) -> None:
    """Copy the volumes whose names begin with `data`, which nothing may use meanwhile, into new ones.

    Owners, modes, times and holes stay; it is on the disk when this returns. Failure, the new ones gone again, where
    that cannot be done.
    """
    make(project, generation)
    new = data_name(project, generation)
    try:
        there = left_of(data)
        mounts = [(name, f"/from/{name.removeprefix(data)}", True) for name in there]
        mounts += [(name.replace(data, new, 1), f"/to/{name.removeprefix(data)}", False) for name in there]
        each = 'cp --archive --sparse=always "$one/." "/to/${one##*/}/" && sync --file-system "/to/${one##*/}"'
        # Where this is killed, it is ended by the project's label, as all containers are; it would hold the volumes.
        named = ("--name", f"{new}-copy", "--label", f"com.docker.compose.project={project}")
        _inside(mounts, "sh", "-c", f"for one in /from/*; do {each} || exit 1; done", options=named)
    except BaseException:
        docker_daemon.ask("rm", "--force", f"{new}-copy")
        remove(project, generation)
        raise


def _inside(mounts: Sequence[tuple[str, str, bool]], *command: str, options: Sequence[str] = ()) -> str:
    """Stdout of a command as root in a container with these volumes (name, place, read-only), and nothing else."""
    words = ["run", "--rm", *options, "--pull=never", "--network=none", "--read-only", "--user=0", "--cap-drop=ALL"]
    # Files of other users are read, made, and given back to them.
    words += [f"--cap-add={name}" for name in ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID")]
    words += ["--security-opt=no-new-privileges:true", f"--entrypoint={command[0]}"]
    for name, place, read_only in mounts:
        mode = ",readonly" if read_only else ""
        words += ["--mount", f"type=volume,source={name},target={place},volume-nocopy{mode}"]
    status, out, err = docker_daemon.ask(*words, _IMAGE, *command[1:], timeout=_COPY_S)
    if status != 0:
        last = (err.strip().splitlines() or ["no reason given"])[-1]
        hint = "free some space" if "No space left" in err else "`make doctor` looks closer"
        raise Failure("data.not_copied", f"{command[0]} of the data failed: {last[-300:]}", hint)
    return out


def remove(project: str, generation: int) -> None:
    """Take a generation's volumes away, data included; what a container still holds stays."""
    remove_named(data_name(project, generation))


def remove_named(data: str) -> None:
    """The same by what the volumes' names begin with."""
    docker_daemon.ask("volume", "rm", "--force", *(f"{data}_{name}" for name in VOLUMES))


def volume(project: str, generation: int, name: str) -> str:
    """The full name of one volume."""
    return f"{data_name(project, generation)}_{name}"
