"""Archives off this machine, by tools that know a hundred places: rclone or restic (BACKUP_REMOTE).

    rclone:REMOTE:PATH     each archive a file there, as rclone's own configuration reaches it; rotated by BACKUP_KEEP
    restic:REPOSITORY      each archive a snapshot with the tag chatbot-backup; made on first use, encrypted with the
                           password in BACKUP_PASSWORD_FILE, rotated by BACKUP_KEEP

Both verify what they sent by checksum. What they need to get in stands in their own configuration or in
BACKUP_REMOTE_ENV.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.lib import apt, backup_keep, dotenv, log, paths, shell
from scripts.lib.failure import Failure
from scripts.lib.settings import Settings

_TAG = "chatbot-backup"
_LIST_TIMEOUT_S = 300.0
_HINT = "mend what it says (its own configuration, or BACKUP_REMOTE_ENV), then `make backup` sends the next one"


@dataclass(frozen=True)
class Remote:
    """`tool` is rclone or restic, `place` what it calls the target."""

    tool: str
    place: str
    project: str
    keep: str
    password_file: str
    environment: Mapping[str, str]

    def send(self, archive: Path) -> None:
        """Copy it there. Failure backup.remote_failed: then it lies on this machine alone."""
        ensure(self.tool)
        if self.tool == "restic":
            self._send_by_restic(archive)
        else:
            self._send_by_rclone(archive)

    def rotate(self) -> None:
        """Away with what BACKUP_KEEP does not keep there. Failure where that is not allowed or does not work."""
        if self.tool == "restic":
            rules = backup_keep.as_restic(self.keep)
            # Snapshots are each of another file, so of one host and tag all together.
            group = (f"--host={self.project}", f"--tag={_TAG}", "--group-by=host,tags")
            if rules:
                self._logged([*self._restic(), "forget", *group, *rules, "--prune"], "rotating off-site", "remove")
            return
        for name in backup_keep.superfluous(self.project, self._listed(), self.keep):
            self._logged(["rclone", "deletefile", self._file(name)], f"removing {name} off-site", "remove")

    # --- rclone -----------------------------------------------------------------------------------------------------

    def _file(self, name: str) -> str:
        place = self.place.rstrip("/")
        return f"{place}{name}" if place.endswith(":") else f"{place}/{name}"

    def _send_by_rclone(self, archive: Path) -> None:
        words = ["rclone", "copyto", "--immutable", str(archive), self._file(archive.name)]
        self._logged(words, f"sending {archive.name} to {self.place}")
        if self._listed().get(archive.name) != archive.stat().st_size:
            fact = f"{archive.name} is not in {self.place} as it should be, although rclone had no complaint"
            raise Failure("backup.remote_failed", fact, _HINT)

    def _listed(self) -> dict[str, int]:
        words = ["rclone", "lsjson", "--files-only", "--no-modtime", "--no-mimetype", self.place]
        status, out, err = shell.capture(words, timeout=_LIST_TIMEOUT_S, env=self.environment)
        if status != 0:
            last = (err.strip().splitlines() or ["no reason given"])[-1]
            raise Failure("backup.remote_failed", f"rclone cannot list {self.place}: {last}", _HINT)
        return {str(entry["Name"]): int(entry["Size"]) for entry in json.loads(out)}

    # --- restic -----------------------------------------------------------------------------------------------------

    def _restic(self) -> list[str]:
        password = paths.ROOT / Path(self.password_file).expanduser()
        return ["restic", "--quiet", f"--repo={self.place}", f"--password-file={password}"]

    def _send_by_restic(self, archive: Path) -> None:
        status, _, err = shell.capture(
            [*self._restic(), "cat", "config"], timeout=_LIST_TIMEOUT_S, env=self.environment
        )
        if status != 0 and "Is there a repository" in err:
            log.info(f"making the restic repository {self.place}")
            self._logged([*self._restic(), "init"], "making the restic repository")
        elif status != 0:
            last = (err.strip().splitlines() or ["no reason given"])[-1]
            raise Failure("backup.remote_failed", f"restic cannot open {self.place}: {last}", _HINT)
        # A lock that a killed run left behind ends by itself after half an hour; those alone are removed here.
        self._logged([*self._restic(), "unlock"], "looking for locks that nobody holds")
        words = [*self._restic(), "backup", f"--host={self.project}", f"--tag={_TAG}", str(archive)]
        self._logged(words, f"sending {archive.name} to {self.place}")

    # --- both -------------------------------------------------------------------------------------------------------

    def _logged(self, words: Sequence[str], what: str, deed: str = "send") -> None:
        finding = "backup.remote_failed" if deed == "send" else "backup.remote_not_rotated"
        shell.logged(words, what=what, failure_id=finding, hint=_HINT, env=self.environment)


def ensure(*tools: str) -> None:
    """Install these of Debian's packages where the programs of that name are missing."""
    missing = [tool for tool in tools if not shell.which(tool)]
    if missing:
        log.step(f"installing {', '.join(missing)}")
        apt.update()
        apt.install(missing)


def named(wanted: Settings, project: str) -> Remote | None:
    """The one that the settings name; None for none. Failure where BACKUP_REMOTE_ENV cannot be read."""
    if not wanted["BACKUP_REMOTE"]:
        return None
    tool, _, place = wanted["BACKUP_REMOTE"].partition(":")
    environment: Mapping[str, str] = {}
    if wanted["BACKUP_REMOTE_ENV"]:
        file = paths.ROOT / Path(wanted["BACKUP_REMOTE_ENV"]).expanduser()
        try:
            environment = dotenv.parse(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            fact = f"BACKUP_REMOTE_ENV={file} cannot be read: {getattr(error, 'strerror', 'it is no text')}"
            raise Failure("backup.remote_env_unreadable", fact, "correct BACKUP_REMOTE_ENV in .env") from error
    return Remote(tool, place, project, wanted["BACKUP_KEEP"], wanted["BACKUP_PASSWORD_FILE"], environment)
