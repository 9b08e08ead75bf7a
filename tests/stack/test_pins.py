"""`make pins` against a real registry: Debian's docker-registry on a loopback port, filled by Docker itself.

The checkout is a copy in which every image is taken from that registry, under its own name and tag.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from scripts.lib import apt, image_names
from scripts.lib.image_names import ImageName
from tests.bench.knowledge.packages import NoMaterial, unpacked
from tests.stack.conftest import Appliance, clean_copy, docker

pytestmark = pytest.mark.stack

CONFIGURATION = """\
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "{host}"}}
"""
PLATFORMS = ("linux/amd64", "linux/arm64")
INDEX = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"
# What `make up` does first with SOURCES=upstream, by the copy's own code.
BUILD = """
from scripts.lib import images, resolve, sources
images.build_foundation({
    "BASE_IMAGE": sources.official_base(), "CA_BUNDLE": resolve.ca_bundle({}), "PIP_INDEX_URL": "",
})
"""


class Registry:
    def __init__(self, host: str, folder: Path) -> None:
        self.host, self._folder = host, folder

    def put(self, image: ImageName, content: str) -> None:
        """The tag names an index of two platforms from here on, whose images hold a file `content`."""
        context = self._folder / "context"
        context.mkdir(exist_ok=True)
        (context / "Dockerfile").write_text("FROM scratch\nCOPY content /content\n")
        (context / "content").write_text(content)
        parts = []
        for platform in PLATFORMS:
            part = f"{image.repository}:{platform.rpartition('/')[2]}"
            docker("buildx", "build", "--quiet", "--load", "--platform", platform, "--tag", part, str(context))
            docker("push", "--quiet", part)
            docker("image", "rm", part)
            parts.append(part)
        docker("buildx", "imagetools", "create", "--tag", image.tagged, *parts)

    def digest(self, image: ImageName) -> str:
        """As the registry itself gives it, without Docker."""
        path = image.repository.removeprefix(f"{self.host}/")
        url = f"http://{self.host}/v2/{path}/manifests/{image.tag}"
        answer = requests.head(url, headers={"Accept": INDEX}, timeout=10)
        assert answer.status_code == 200 and answer.headers["Content-Type"] in INDEX
        return answer.headers["Docker-Content-Digest"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _program() -> Path:
    # Unpacked, not installed: that would leave a registry running on this machine.
    try:
        folder = unpacked("docker-registry")
    except NoMaterial:
        apt.update()
        folder = unpacked("docker-registry")
    return folder / "usr/bin/docker-registry"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """It has all that this checkout takes from registries, each with a content of its own."""
    folder = tmp_path_factory.mktemp("registry")
    host = f"127.0.0.1:{_free_port()}"
    (folder / "config.yml").write_text(CONFIGURATION.format(folder=folder / "store", host=host))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([_program(), "serve", folder / "config.yml"], stdout=log, stderr=log)
    try:
        end = time.monotonic() + 20
        while True:
            try:
                requests.get(f"http://{host}/v2/", timeout=1)
                break
            except requests.ConnectionError:
                assert process.poll() is None and time.monotonic() < end, (folder / "log").read_text()
                time.sleep(0.1)
        running = Registry(host, folder)
        for image in {place.image for place in image_names.places()}:
            running.put(ImageName(f"{host}/{image.repository}", image.tag), f"{image.repository}, one")
        yield running
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture
def checkout(registry: Registry, tmp_path: Path) -> Appliance:
    """All images are taken from the registry, by tag alone."""
    folder = clean_copy(tmp_path / "checkout")
    for place in reversed(image_names.places(folder)):
        file = folder / place.file
        text = image_names.read(file)
        image = ImageName(f"{registry.host}/{place.image.repository}", place.image.tag)
        file.write_text(f"{text[: place.start]}{image}{text[place.end :]}")
    return Appliance(folder)


def named(checkout: Appliance) -> set[ImageName]:
    return {place.image for place in image_names.places(checkout.folder)}


def texts(checkout: Appliance) -> dict[Path, bytes]:
    return {place.file: (checkout.folder / place.file).read_bytes() for place in image_names.places(checkout.folder)}


def built_from(image: ImageName, folder: Path) -> str:
    """What an image built on this one holds in the file `content`."""
    (folder / "Dockerfile").write_text(f"FROM {image}\n")
    docker("buildx", "build", "--quiet", "--output", f"type=local,dest={folder / 'built'}", str(folder))
    return (folder / "built" / "content").read_text()


def test_a_tag_that_moves_is_told_and_builds_take_what_is_pinned(
    checkout: Appliance, registry: Registry, tmp_path: Path
) -> None:
    before = texts(checkout)
    loose = checkout.make("pins", CHECK="1")
    assert loose.returncode != 0
    assert loose.stdout.count("pins.unpinned: ") == len(named(checkout)) == 4
    assert texts(checkout) == before

    done = checkout.make("pins")
    assert done.returncode == 0, done.stdout
    assert {(image.tagged, image.digest) for image in named(checkout)} == {
        (image.tagged, registry.digest(image)) for image in named(checkout)
    }
    assert len({image.digest for image in named(checkout)}) == 4
    pinned = texts(checkout)
    checked = checkout.make("pins", CHECK="1")
    assert checked.returncode == 0, checked.stdout
    (base,) = (image for image in named(checkout) if image.repository.endswith("/debian"))
    assert f"{base.tagged}: no digest -> {base.digest}" in done.stdout

    registry.put(base, "debian, two")
    newer = registry.digest(base)
    assert newer != base.digest
    assert built_from(ImageName(base.repository, base.tag), tmp_path) == "debian, two"
    assert built_from(base, tmp_path) == "debian, one"
    told = checkout.make("pins", CHECK="1")
    assert told.returncode != 0
    assert f"pins.moved: {base.tagged} is {newer} by now, and {base.digest} in images/base/Dockerfile:" in told.stdout
    assert told.stdout.count("pins.moved: ") == 1
    assert texts(checkout) == pinned

    renewed = checkout.make("pins")
    assert renewed.returncode == 0, renewed.stdout
    assert f"{base.tagged}: {base.digest} -> {newer}" in renewed.stdout
    assert ImageName(base.repository, base.tag, newer) in named(checkout)
    assert len(named(checkout)) == 4


def test_one_image_that_cannot_be_asked_about_leaves_all_as_they_were(checkout: Appliance, registry: Registry) -> None:
    mongo = checkout.folder / "images/mongo/Dockerfile"
    mongo.write_text(mongo.read_text().replace("/mongo:", "/mongo:0."))
    grafana = checkout.folder / "images/grafana/Dockerfile"
    grafana.write_text(grafana.read_text().replace(registry.host, f"127.0.0.1:{_free_port()}"))
    before = texts(checkout)
    done = checkout.make("pins")
    assert done.returncode != 0
    assert "pins.tag_missing: " in done.stdout and "images/mongo/Dockerfile:3" in done.stdout
    assert "pins.registry_silent: " in done.stdout and "connection refused" in done.stdout
    assert "nothing was changed" in done.stdout
    assert texts(checkout) == before


def test_a_digest_that_nobody_has_ends_the_build_by_its_name(checkout: Appliance, registry: Registry) -> None:
    assert checkout.make("pins").returncode == 0
    (base,) = (image for image in named(checkout) if image.repository.endswith("/debian"))
    nobodys = f"sha256:{'0' * 64}"
    for name in {place.file for place in image_names.places(checkout.folder)}:
        file = checkout.folder / name
        file.write_text(file.read_text().replace(base.digest, nobodys))
    done = subprocess.run(
        [sys.executable, "-c", BUILD],
        cwd=checkout.folder,
        env={**os.environ, "CI": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert f"{base.tagged}@{nobodys}: not found" in done.stderr
    assert "image.build_failed" in done.stderr
