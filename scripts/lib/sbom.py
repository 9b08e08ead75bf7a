"""What each image is made of, out of its pins, as CycloneDX 1.6: Python's packages, Debian's, images and sources.

Debian's packages come without a version: the release is their pin, and what its archive has on the day of the build
goes in. The list is of what is named, not of what that brings along, and says so (`compositions`).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from scripts.lib import audit, dockerfiles, paths, pip_settings
from scripts.lib.failure import Failure
from scripts.lib.image_names import ImageName

FOLDER = paths.STATE / "sbom"
_OWN_BASE = "chatbot-base:local"
_VALIDATE = """
import pathlib, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
for name in sys.argv[1:]:
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(pathlib.Path(name).read_text("utf-8"))
    if error:
        sys.exit(f"{name}: {error}")
"""


@dataclass(frozen=True)
class Image:
    """Folder in images/, `target` where its Dockerfile has several, `pins` of Python's packages from the top."""

    folder: str
    target: str = ""
    pins: str = ""


def _with_pins(folder: str) -> Image:
    return Image(folder, pins=f"images/{folder}/requirements.txt")


IMAGES: dict[str, Image] = {
    "base": Image("base", target="runtime"),
    "bench": _with_pins("bench"),
    "caddy": _with_pins("caddy"),
    "chroma": _with_pins("chroma"),
    "embeddings": _with_pins("embeddings"),
    "fetch": _with_pins("fetch"),
    "grafana": Image("grafana"),
    "koboldcpp": Image("koboldcpp"),
    "llamacpp": _with_pins("llamacpp"),
    "mongo-packages": Image("mongo", target="packages", pins="images/mongo/requirements.txt"),
    "mongo-upstream": Image("mongo", target="upstream"),
    "prometheus": Image("prometheus"),
    "proxy": Image("proxy", pins="proxy/requirements.txt"),
    "wireguard": _with_pins("wireguard"),
    "worker": Image("worker", pins="proxy/requirements-worker.txt"),
}


def write(tools: audit.Tools, folder: Path = FOLDER) -> list[Path]:
    """One file per image. Failure `sbom.invalid` where CycloneDX's own schema refuses one."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, image in IMAGES.items():
            file = folder / f"{name}.cdx.json"
            bom = complete(name, image, _of_pins(tools, image, Path(scratch)))
            file.write_text(json.dumps(bom, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            written.append(file)
    status, _, complaint = tools.run([str(tools.folder / "python"), "-c", _VALIDATE, *map(str, written)], timeout=120)
    if status != 0:
        raise Failure("sbom.invalid", (complaint.strip().splitlines() or ["no reason given"])[-1][:300])
    return written


def _of_pins(tools: audit.Tools, image: Image, scratch: Path) -> dict[str, Any]:
    """cyclonedx-py's own document, of names and versions alone: their checksums are in the pins, beside it."""
    pins = audit.pins_of((paths.ROOT / image.pins).read_text("utf-8")) if image.pins else ()
    if image.folder == "embeddings":
        pins = (*pins, ("torch", pip_settings.torch_version()))
    listed = scratch / "requirements.txt"
    listed.write_text("".join(f"{name}=={version}\n" for name, version in pins), encoding="utf-8")
    words: list[str | Path] = [
        "requirements",
        "--output-reproducible",
        "--schema-version",
        "1.6",
        "--output-format",
        "JSON",
        listed,
    ]
    bom: dict[str, Any] = tools.report("cyclonedx-py", *words)
    return bom


def complete(name: str, image: Image, bom: Mapping[str, Any]) -> dict[str, Any]:
    """The document of Python's packages with all else that the image has been given by name."""
    dockerfile = paths.IMAGES / image.folder / "Dockerfile"
    shipped = dockerfiles.shipped(dockerfile.read_text("utf-8"), image.target)
    other = _base(shipped.base) + [_debian(package) for package in shipped.packages]
    if image.folder == "koboldcpp":
        other += _engines((paths.IMAGES / "koboldcpp" / "pins.tsv").read_text("utf-8"))
    about = {"type": "container", "name": f"chatbot-{name}", "bom-ref": f"chatbot-{name}"}
    known = list(bom.get("components", ()))
    return {
        **bom,
        "metadata": {**bom.get("metadata", {}), "component": about},
        "components": known + sorted(other, key=lambda one: str(one["bom-ref"])),
        "dependencies": [],
        "compositions": [{"aggregate": "incomplete", "assemblies": [about["bom-ref"]]}],
    }


def _base(image: str) -> list[dict[str, str]]:
    """The image that it stands on; of our own base all that is in that."""
    if image != _OWN_BASE:
        name = ImageName.parse(image)
        # As BuildKit writes it into its own provenance: what was asked for, and which one that is.
        which = f"?digest={name.digest}" if name.digest else ""
        version = f"@{quote(name.tag)}" if name.tag else ""
        return [_component("container", name.repository, name.tag, f"pkg:docker/{name.repository}{version}{which}")]
    base = dockerfiles.shipped((paths.IMAGES / "base" / "Dockerfile").read_text("utf-8"), "runtime")
    return _base(base.base) + [_debian(package) for package in base.packages]


def _debian(package: str) -> dict[str, str]:
    return _component("library", package, "", f"pkg:deb/debian/{quote(package)}?distro=bookworm")


def _engines(pins: str) -> list[dict[str, str]]:
    """koboldcpp at the commits that its backends are built from."""
    rows = [line.split("\t") for line in pins.splitlines() if line and not line.startswith("#")]
    found = {commit: version for _, version, commit in rows}
    return [
        _component("application", "koboldcpp", version, f"pkg:github/lostruins/koboldcpp@{commit}")
        for commit, version in found.items()
    ]


def _component(kind: str, name: str, version: str, purl: str) -> dict[str, str]:
    given = {"type": kind, "name": name, "purl": purl, "bom-ref": purl}
    return {**given, "version": version} if version else given
