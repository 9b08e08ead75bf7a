"""Volumes as earlier commits of this project have left them, with what those commits said is in there.

`COMMIT.tar.xz` holds what `make.py` found when it had used the appliance of that commit for a while:

    mongo/ chroma/ words/    the volumes' content (words/ only where the commit had a word index)
    secrets/                 .appliance/secrets: passwords that protect nothing but this data
    env                      .env as that commit makes it, with SOURCES=packages
    let-in.json              an API key and the like, in the clear: only their hashes are in the database

`COMMIT.json` is what that commit's own API gave back: what an upgrade has to keep.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# The oldest first. What each stands for, and why these: make.py.
COMMITS = ("780f2a4", "5483701", "b2862b1")
# A volume's name without its project, and the folder in the archive.
VOLUMES = {"mongo_data": "mongo", "chroma_data": "chroma", "words_data": "words"}
# The containers' user.
UID = 10001


@dataclass(frozen=True)
class LetIn:
    """With what one gets in. Empty where the commit had no such thing yet."""

    key: str
    site: str = ""
    admin: str = ""
    password: str = ""


@dataclass(frozen=True)
class Aged:
    """The volumes of one commit, in its short form."""

    commit: str

    @property
    def archive(self) -> Path:
        return HERE / f"{self.commit}.tar.xz"

    @cached_property
    def expected(self) -> dict[str, Any]:
        """What the commit's own API said; see make.py."""
        return dict(json.loads((HERE / f"{self.commit}.json").read_text(encoding="utf-8")))

    @cached_property
    def let_in(self) -> LetIn:
        return LetIn(**json.loads(self._files["let-in.json"]))

    @cached_property
    def _files(self) -> Mapping[str, bytes]:
        """What the archive holds beside the volumes."""
        with tarfile.open(self.archive) as tar:
            members = [member for member in tar if member.isfile() and not _of_volume(member.name)]
            return {member.name: _content(tar, member) for member in members}

    @property
    def secrets(self) -> dict[str, str]:
        """The files of .appliance/secrets, by name."""
        found = {Path(name).name: text for name, text in self._files.items() if name.startswith("secrets/")}
        return {name: text.decode("ascii") for name, text in found.items()}

    def unpack(self, folder: Path) -> None:
        """As scripts.lib.native.NativeStack keeps its data: `mongo`, `chroma`, `words` and `secrets` in `folder`."""
        with tarfile.open(self.archive) as tar:
            wanted = [each for each in tar if _of_volume(each.name) or each.name.split("/")[0] == "secrets"]
            # Not the owners of the containers' files: whoever runs the tests runs these services.
            tar.extractall(folder, wanted, filter="data")
        (folder / "secrets").chmod(0o700)


def fill_volumes(project: str, aged: Aged, checkout: Path) -> LetIn:
    """Make the volumes of the Compose project `project` and what belongs to them in a checkout; returns the way in.

    The volumes are the first generation's (`PROJECT_mongo_data` and so on), with Compose's labels, and may not be there
    yet. In the checkout .env, .appliance/secrets and the stamp of the sources are written over. Needs Docker, and root
    rights for the secrets' owner.
    """
    image = _docker("import", "-", given=_empty()).strip()
    try:
        for volume, folder in VOLUMES.items():
            if content := aged_volume(aged, folder):
                _fill(project, volume, image, content)
    finally:
        _docker("rmi", image)
    env = checkout / ".env"
    env.write_bytes(aged._files["env"])
    env.chmod(0o600)
    secrets = checkout / ".appliance" / "secrets"
    secrets.mkdir(parents=True, exist_ok=True)
    secrets.chmod(0o700)
    for name, text in aged.secrets.items():
        (secrets / name).write_text(text, encoding="ascii")
        (secrets / name).chmod(0o600)
        os.chown(secrets / name, UID, UID)
    stamps = checkout / ".appliance" / "stamps"
    stamps.mkdir(exist_ok=True)
    (stamps / "sources").write_text("packages", encoding="ascii")
    return aged.let_in


def aged_volume(aged: Aged, folder: str) -> bytes:
    """A tar of one volume's content, below `data/`, that of the containers' user; empty where there is none."""
    written, some = io.BytesIO(), False
    with tarfile.open(aged.archive) as tar, tarfile.open(fileobj=written, mode="w", format=tarfile.GNU_FORMAT) as out:
        for member in tar:
            first, _, rest = member.name.partition("/")
            if first != folder:
                continue
            some = True
            content = tar.extractfile(member)
            member.name = f"data/{rest}" if rest else "data"
            member.uid = member.gid = UID
            member.uname = member.gname = ""
            # A file with holes is read with its zeros.
            member.type = tarfile.REGTYPE if member.isfile() else member.type
            out.addfile(member, content)
    return written.getvalue() if some else b""


def _fill(project: str, volume: str, image: str, content: bytes) -> None:
    name = f"{project}_{volume}"
    labels = [f"--label=com.docker.compose.{key}={value}" for key, value in (("project", project), ("volume", volume))]
    _docker("volume", "create", *labels, name)
    # Never started: Docker itself unpacks into what would be mounted.
    container = _docker("create", "--mount", f"type=volume,source={name},target=/data", image, "none").strip()
    try:
        _docker("cp", "-", f"{container}:/", given=content)
    finally:
        _docker("rm", container)


def _docker(*words: str, given: bytes = b"") -> str:
    done = subprocess.run(["docker", *words], input=given, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"docker {words[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()


def _empty() -> bytes:
    written = io.BytesIO()
    tarfile.open(fileobj=written, mode="w").close()
    return written.getvalue()


def _of_volume(name: str) -> bool:
    return name.split("/")[0] in VOLUMES.values()


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file else b""
