"""Names of images, `repository:tag@sha256:...`, and where Dockerfiles and Compose files take one from a registry."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.lib import paths
from scripts.lib.failure import Failure

# github.com/distribution/reference has the grammar; of digests only SHA-256 is in use. A port's colon is told from a
# tag's by the slash that follows it.
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::\d+)?/"
_NAME = re.compile(
    rf"((?:{_HOST})?{_PART}(?:/{_PART})*)(?::(\w[\w.-]{{0,127}}))?(?:@(sha256:[0-9a-f]{{64}}))?", re.ASCII
)
# What is built here, as chatbot-base:local, is in no registry.
_OWN = "chatbot-"

_INSTRUCTION = re.compile(r"(?im)^[ \t]*(ARG|FROM|COPY|RUN)[ \t]+((?:.*\\\r?\n)*[^\r\n]*)")
_ARGUMENT = re.compile(r"(\w+)=(\S+)\s*")
_TAKES = {
    "FROM": re.compile(r"(?i)^(?:--platform=\S+\s+)?(\S+)(?:\s+AS\s+(\S+))?\s*$"),
    "COPY": re.compile(r"--from=(\S+)"),
    "RUN": re.compile(r"--mount=\S*?\bfrom=([^\s,]+)"),
}
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
# `image:` of a service, and what Compose gives an argument like BASE_IMAGE where no setting does.
_COMPOSED = re.compile(r"(?m)^[ \t]*image:[ \t]*[\"']?([^\s\"'#$]+)|\$\{\w+_IMAGE:-([^}\s]+)\}")


@dataclass(frozen=True)
class ImageName:
    """`repository` with its registry, where that is not Docker's hub; `tag` and `digest` are "" where there is none.

    Where there is a digest, Docker takes what that names, and reads past the tag.
    """

    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> ImageName:
        """Raises ValueError for what is no name, one with half a digest included."""
        match = _NAME.fullmatch(text)
        if not match:
            raise ValueError(f"{text!r} is no image's name")
        repository, tag, digest = match.groups(default="")
        return cls(repository, tag, digest)

    @property
    def tagged(self) -> str:
        """The name without the digest."""
        return f"{self.repository}:{self.tag}" if self.tag else self.repository

    def __str__(self) -> str:
        return f"{self.tagged}@{self.digest}" if self.digest else self.tagged


@dataclass(frozen=True)
class Place:
    """Where an image is named: in `file`, relative to the checkout, from character `start` on. Lines count from 1."""

    file: Path
    line: int
    start: int
    image: ImageName

    @property
    def end(self) -> int:
        return self.start + len(str(self.image))

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def places(root: Path = paths.ROOT) -> list[Place]:
    """Every image from a registry that the Dockerfiles and Compose files of a checkout name.

    Failure `pins.no_name` for one that no digest can be written behind, as one put together out of arguments, and
    `pins.no_tag` for one that says neither which tag nor which digest.
    """
    found: list[Place] = []
    for file in sorted(root.glob("images/*/Dockerfile")):
        found += _places(file, root, _in_dockerfile)
    for file in sorted([*root.glob("compose/*.yml"), *root.glob("docker-compose*.yml")]):
        found += _places(file, root, _in_compose)
    return found


def read(file: Path) -> str:
    """Its text with line ends as they are, so that offsets hold and what is written back differs in nothing else."""
    return file.read_bytes().decode("utf-8")


def _places(file: Path, root: Path, reader: Callable[[str], Iterator[tuple[int, str]]]) -> Iterator[Place]:
    text = read(file)
    for start, name in reader(text):
        line = text.count("\n", 0, start) + 1
        where = f"{file.relative_to(root)}:{line}"
        try:
            image = ImageName.parse(name)
        except ValueError:
            fact = f"{where} takes an image by {name}, and no digest can be written behind that"
            raise Failure("pins.no_name", fact, "name it whole, as name:1.2, in one ARG or in FROM itself") from None
        if not image.tag and not image.digest:
            raise Failure("pins.no_tag", f"{where} takes {name} without a tag", "write which is meant, as name:1.2")
        yield Place(file.relative_to(root), line, start, image)


def _in_dockerfile(text: str) -> Iterator[tuple[int, str]]:
    """(offset, name) of what stages stand on or take files from, each once; not what is itself a stage."""
    arguments: dict[str, tuple[int, str]] = {}
    stages = {"scratch"}
    begun = False
    told: set[int] = set()
    for found in _INSTRUCTION.finditer(text):
        word, rest, at = found[1].upper(), found[2], found.start(2)
        if word == "ARG":
            # Behind the first FROM they belong to a stage, and cannot name what one stands on.
            given = None if begun else _ARGUMENT.fullmatch(rest)
            if given:
                arguments[given[1]] = at + given.start(2), given[2]
            continue
        for match in _TAKES[word].finditer(rest):
            variable = _VARIABLE.fullmatch(match[1])
            start, name = arguments.get(variable[1] if variable else "", (at + match.start(1), match[1]))
            filled = _VARIABLE.sub(lambda each: arguments.get(each[1], (0, each[0]))[1], name)
            if filled not in stages and not filled.isdigit() and not filled.startswith(_OWN) and start not in told:
                told.add(start)
                yield start, name
            if word == "FROM":
                begun = True
                stages.add(match[2] or "scratch")


def _in_compose(text: str) -> Iterator[tuple[int, str]]:
    for found in _COMPOSED.finditer(text):
        group = 1 if found[1] else 2
        line = text[text.rfind("\n", 0, found.start()) + 1 :].lstrip()
        if not line.startswith("#") and not found[group].startswith(_OWN):
            yield found.start(group), found[group]
