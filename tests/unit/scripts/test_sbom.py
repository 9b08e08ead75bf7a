"""Every image has its bill of materials, and it names what the image's pins and Dockerfile name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import audit, paths, sbom
from scripts.lib.failure import Failure


def purls(name: str, **bom: Any) -> set[str]:
    return {one["purl"] for one in sbom.complete(name, sbom.IMAGES[name], bom)["components"]}


def test_every_image_has_one() -> None:
    folders = {path.parent.name for path in paths.IMAGES.glob("*/Dockerfile")}
    assert {image.folder for image in sbom.IMAGES.values()} == folders


def test_every_images_pins_are_in_it() -> None:
    """What a Dockerfile installs from a requirements.txt, and no other file's."""
    for name, image in sbom.IMAGES.items():
        installs = "pip-install --require-hashes" in (paths.IMAGES / image.folder / "Dockerfile").read_text()
        assert bool(image.pins) == (installs and name != "mongo-upstream"), name


def test_what_stands_below_is_part_of_it() -> None:
    base = sbom.complete("base", sbom.IMAGES["base"], {})["components"]
    (official,) = [one["purl"] for one in base if one["type"] == "container"]
    assert official.partition("?")[0] == "pkg:docker/debian@bookworm-slim"
    assert purls("prometheus") == {
        official,
        "pkg:deb/debian/ca-certificates?distro=bookworm",
        "pkg:deb/debian/prometheus?distro=bookworm",
        "pkg:deb/debian/python3?distro=bookworm",
    }
    assert {purl.partition("?")[0] for purl in purls("mongo-upstream")} == {"pkg:docker/mongo@8.0.17"}


def test_the_engine_from_source_is_named_by_its_commit() -> None:
    commits = {line.split("\t")[2] for line in (paths.IMAGES / "koboldcpp" / "pins.tsv").read_text().splitlines()[3:]}
    assert purls("koboldcpp") >= {f"pkg:github/lostruins/koboldcpp@{commit}" for commit in commits}


def test_pythons_packages_stay_and_the_rest_is_told_as_incomplete() -> None:
    flask = {"type": "library", "name": "flask", "purl": "pkg:pypi/flask@3.1.3", "bom-ref": "requirements-L1"}
    bom = sbom.complete("proxy", sbom.IMAGES["proxy"], {"bomFormat": "CycloneDX", "components": [flask]})
    assert bom["components"][0] == flask
    assert bom["metadata"]["component"]["name"] == "chatbot-proxy"
    assert bom["compositions"][0]["aggregate"] == "incomplete"


def test_torch_is_asked_for_although_it_has_no_checksum(tmp_path: Path) -> None:
    asked: list[str] = []

    def run(words: list[str], timeout: float) -> tuple[int, str, str]:
        if words[0].endswith("cyclonedx-py"):
            asked.append(Path(words[-1]).read_text())
        return 0, json.dumps({"components": []}), ""

    written = sbom.write(audit.Tools(Path("/nowhere"), run), tmp_path)
    assert len(written) == len(asked) == len(sbom.IMAGES)
    assert sum("torch==" in text for text in asked) == 1


def test_what_the_schema_refuses_is_a_failure(tmp_path: Path) -> None:
    def run(words: list[str], timeout: float) -> tuple[int, str, str]:
        return (1, "", "base.cdx.json: no such field") if words[1] == "-c" else (0, "{}", "")

    with pytest.raises(Failure) as failure:
        sbom.write(audit.Tools(Path("/nowhere"), run), tmp_path)
    assert failure.value.id == "sbom.invalid"
