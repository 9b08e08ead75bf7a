"""Image names, taken apart, and found in Dockerfiles and Compose files."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.lib import image_names, paths
from scripts.lib.failure import Failure
from scripts.lib.image_names import ImageName

DIGEST = f"sha256:{'0123456789abcdef' * 4}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mongo", ImageName("mongo")),
        ("debian:bookworm-slim", ImageName("debian", "bookworm-slim")),
        (f"mongo:8.0.17@{DIGEST}", ImageName("mongo", "8.0.17", DIGEST)),
        (f"nvidia/cuda@{DIGEST}", ImageName("nvidia/cuda", "", DIGEST)),
        ("127.0.0.1:5000/debian:12", ImageName("127.0.0.1:5000/debian", "12")),
        ("registry.example:5000/a/b__c", ImageName("registry.example:5000/a/b__c")),
        ("[::1]:5000/a:1", ImageName("[::1]:5000/a", "1")),
    ],
)
def test_a_name_is_taken_apart_and_put_together_again(text: str, expected: ImageName) -> None:
    assert ImageName.parse(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    ["", "Debian:12", "${X}", "mongo:${V}", "mongo@", "mongo:8@sha256:abc", f"mongo:8@{DIGEST}0", "a b", "mongo:8\n"],
)
def test_what_is_none_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="no image's name"):
        ImageName.parse(text)


DOCKERFILE = """\
# ARG OLD_IMAGE=old:1
ARG BASE_IMAGE=debian:bookworm-slim
ARG KIND=cpu
ARG UNUSED=redis:7
FROM --platform=linux/amd64 ${BASE_IMAGE} AS runtime-cpu
ARG BASE_IMAGE=never:1
FROM $BASE_IMAGE AS builder
COPY --chown=1:1 --from=runtime-cpu /a /a
COPY --from=0 /a /a
COPY --from=busybox:1.36 /bin/sh /sh
RUN --mount=type=cache,target=/x \\
    --mount=type=bind,from=alpine:3.20,source=/,target=/y \\
    rsync --from=nowhere:1 a b
FROM scratch
FROM chatbot-base:local
from registry.example:5000/own/python:3.11@{digest} as last
FROM runtime-${KIND}
""".replace("{digest}", DIGEST)


def checkout(folder: Path, dockerfile: str = DOCKERFILE, compose: str = "") -> Path:
    for name, text in {"images/one/Dockerfile": dockerfile, "compose/one.yml": compose}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    return folder


def test_a_dockerfiles_images_are_found_where_they_are_written(tmp_path: Path) -> None:
    found = image_names.places(checkout(tmp_path))
    assert [(str(place), str(place.image)) for place in found] == [
        ("images/one/Dockerfile:2", "debian:bookworm-slim"),
        ("images/one/Dockerfile:10", "busybox:1.36"),
        ("images/one/Dockerfile:12", "alpine:3.20"),
        ("images/one/Dockerfile:16", f"registry.example:5000/own/python:3.11@{DIGEST}"),
    ]
    for place in found:
        assert DOCKERFILE[place.start : place.end] == str(place.image)


def test_line_ends_of_windows_move_nothing(tmp_path: Path) -> None:
    text = DOCKERFILE.replace("\n", "\r\n")
    found = image_names.places(checkout(tmp_path, text))
    assert len(found) == 4
    assert [text[place.start : place.end] for place in found] == [str(place.image) for place in found]


def test_a_compose_files_images_are_found(tmp_path: Path) -> None:
    compose = """\
services:
  one:
    # image: old:1, ${OLD_IMAGE:-old:1}
    image: chatbot-one:local
    build: {args: {A: "${BASE_IMAGE:-debian:12}", B: "${KIND:-cpu}", C: "${C_IMAGE:-chatbot-x:local}"}}
  two:
    image: "redis:7"  # as it comes
  three:
    image: ${OTHER_IMAGE:-alpine:3}
  four:
    image: chatbot-${ENGINE:-koboldcpp}:local
"""
    found = image_names.places(checkout(tmp_path, "FROM scratch\n", compose))
    assert [(str(place), str(place.image)) for place in found] == [
        ("compose/one.yml:5", "debian:12"),
        ("compose/one.yml:7", "redis:7"),
        ("compose/one.yml:9", "alpine:3"),
    ]


@pytest.mark.parametrize(
    "dockerfile",
    [
        "ARG V=8\nFROM mongo:${V}\n",
        "FROM ${NOWHERE}\n",
        "ARG KIND=gpu\nFROM debian:12 AS run-cpu\nFROM run-${KIND}\n",
        'ARG BASE_IMAGE="debian:12"\nFROM ${BASE_IMAGE}\n',
    ],
)
def test_a_name_that_no_digest_fits_behind_is_no_silent_gap(tmp_path: Path, dockerfile: str) -> None:
    with pytest.raises(Failure) as failure:
        image_names.places(checkout(tmp_path, dockerfile))
    assert failure.value.id == "pins.no_name"
    assert "images/one/Dockerfile:" in failure.value.fact


def test_a_name_without_a_tag_is_told(tmp_path: Path) -> None:
    with pytest.raises(Failure) as failure:
        image_names.places(checkout(tmp_path, "FROM debian\n"))
    assert (failure.value.id, failure.value.fact) == (
        "pins.no_tag",
        "images/one/Dockerfile:1 takes debian without a tag",
    )
    assert image_names.places(checkout(tmp_path, f"FROM debian@{DIGEST}\n"))


def test_this_checkouts_own_are_known() -> None:
    """What is taken from registries, and where the same one stands it has the same digest."""
    by_name: dict[str, set[str]] = {}
    for place in image_names.places():
        by_name.setdefault(place.image.repository, set()).add(str(place.image))
    assert set(by_name) == {"debian", "grafana/grafana", "mongo", "nvidia/cuda"}
    assert all(len(names) == 1 for names in by_name.values()), by_name
    named = {str(place.file) for place in image_names.places()}
    assert "compose/engine.yml" in named
    # Each Dockerfile that does not stand on an image built here names at least one.
    for file in paths.IMAGES.glob("*/Dockerfile"):
        if "_IMAGE=" in file.read_text():
            assert str(file.relative_to(paths.ROOT)) in named
