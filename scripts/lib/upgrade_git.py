"""The checkout as git knows it: which version is wanted, what it brings, and what of the operator's own is in its way.

Nothing here changes a file of the checkout but `go_to`.
"""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from scripts.lib import paths, shell
from scripts.lib.failure import Failure

# A slow line, and a history that grew for a year.
_FETCH_S = 600.0
_LOCAL_S = 120.0
_SHOWN = 5


@dataclass(frozen=True)
class Version:
    """A commit: its full id, the day it was made (YYYY-MM-DD), and the first line of what it says of itself."""

    commit: str
    day: str
    title: str

    def __str__(self) -> str:
        return f"{self.commit[:10]} of {self.day}: {self.title}"


class Repository:
    """One checkout. Every method raises Failure where git refuses."""

    def __init__(self, folder: Path = paths.ROOT) -> None:
        self.folder = folder

    def check(self) -> None:
        """Failure `upgrade.no_git` or `upgrade.unfinished` where no version could be gone to from here."""
        status, out, err = self._ask("rev-parse", "--show-toplevel")
        if status == 127:
            raise Failure("upgrade.no_git", "git is not installed", "apt-get install git")
        if status != 0 or Path(out.strip()).resolve() != self.folder.resolve():
            fact = f"{self.folder} is no checkout of git: {err.strip() or 'another folder is'}"
            hint = "clone the new version elsewhere, then there: make restore FROM= the newest of `make backups`"
            raise Failure("upgrade.no_git", fact, hint)
        if self._git("ls-files", "--unmerged").strip():
            fact = "a merge in this checkout is not finished"
            raise Failure("upgrade.unfinished", fact, "`git status` shows it: finish it, or `git merge --abort`")
        hidden = self._hidden()
        if hidden:
            fact = f"git has been told not to look at {', '.join(hidden[:_SHOWN])}, so edits there could not be kept"
            hint = f"git update-index --no-assume-unchanged --no-skip-worktree {shlex.join(hidden)}"
            raise Failure("upgrade.hidden_files", fact, hint)

    def _hidden(self) -> list[str]:
        """Files whose changes git does not show; what a sparse checkout leaves out is not there to be changed."""
        flagged = (line.partition(" ") for line in self._names("ls-files", "-v", "-z"))
        names = [name for flag, _, name in flagged if flag.islower() or flag == "S"]
        return [name for name in names if os.path.lexists(self.folder / name)]

    def current(self) -> Version:
        """The version that is checked out."""
        return self.version("HEAD")

    def version(self, name: str) -> Version:
        """What a branch, tag or commit stands for. Failure `upgrade.unknown` where there is none of that name."""
        status, out, _ = self._ask("log", "-1", "--format=%H%n%cs%n%s", f"{name}^{{commit}}", "--")
        if status != 0:
            fact = f"there is no branch, tag or commit {name} in this checkout"
            raise Failure("upgrade.unknown", fact, "`git branch --all` and `git tag` list what there is")
        commit, day, *title = out.splitlines()
        return Version(commit, day, title[0] if title else "")

    def fetch(self, wanted: str) -> Version:
        """Have git get what is new where this checkout came from; the version `wanted`, or "" for the branch's newest.

        Failure `upgrade.no_home`, `upgrade.fetch_failed` or `upgrade.unknown`.
        """
        status, out, _ = self._ask("rev-parse", "--abbrev-ref", "--symbolic-full-name", "@{upstream}")
        upstream = out.strip() if status == 0 else ""
        home = upstream.partition("/")[0] or next(iter(self._git("remote").split()), "")
        if not home and not wanted:
            fact = "this checkout does not know where it came from"
            raise Failure("upgrade.no_home", fact, "`git remote add origin ADDRESS`, or name a version: TO=branch")
        if home:
            status, _, err = self._ask("fetch", "--quiet", "--force", "--tags", home, timeout=_FETCH_S)
            if status != 0:
                last = (err.strip().splitlines() or ["no reason given"])[-1]
                fact = f"git could not fetch from {home}: {last}"
                raise Failure("upgrade.fetch_failed", fact, "nothing was changed; try again when it can be reached")
        if wanted:
            return self._named(wanted, home)
        if not upstream:
            fact = "no branch with a home is checked out, so which version comes next is not known"
            raise Failure("upgrade.no_home", fact, f"name one: TO={home}/main, or a tag")
        return self.version(upstream)

    def _named(self, wanted: str, home: str) -> Version:
        """A branch is meant as it is at home: the one here may be as old as this checkout."""
        status, _, _ = self._ask("rev-parse", "--verify", "--quiet", f"refs/remotes/{home}/{wanted}")
        return self.version(f"{home}/{wanted}" if home and status == 0 else wanted)

    def check_newer(self, old: Version, new: Version) -> None:
        """Failure unless `new` has everything that `old` has."""
        if self._is_within(old.commit, new.commit):
            return
        if self._is_within(new.commit, old.commit):
            fact = f"{new} is older than what is checked out, and cannot read data of a newer version"
            hint = (
                "the way back: `git checkout` that version, then `make restore FROM=` a backup that it, "
                "or an older one, has made; `make backups` lists them"
            )
            raise Failure("upgrade.older", fact, hint)
        own = self._git("log", "--format=%h %s", f"{new.commit}..{old.commit}").splitlines()
        fact = f"this checkout has {len(own)} commits that {new.commit[:10]} lacks: {'; '.join(own[:_SHOWN])}"
        hint = "bring both together on a branch (`git merge` in another clone), and name that: TO=branch"
        raise Failure("upgrade.apart", fact, hint)

    def _is_within(self, one: str, other: str) -> bool:
        status, _, err = self._ask("merge-base", "--is-ancestor", one, other)
        if status not in (0, 1):
            raise _refused("merge-base", err)
        return status == 0

    def titles(self, old: Version, new: Version) -> list[str]:
        """The first lines of all commits between the two, newest first; merges bring what stands there already."""
        return self._git("log", "--no-merges", "--format=%s", f"{old.commit}..{new.commit}").splitlines()

    def changed(self, old: Version, new: Version) -> list[str]:
        """The files in which they differ."""
        return self._names("diff", "--name-only", "--no-renames", "-z", old.commit, new.commit)

    def file(self, version: Version, name: str) -> str:
        """A file's text in a version; "" where that has none."""
        status, out, _ = self._ask("show", f"{version.commit}:{name}")
        return out if status == 0 else ""

    def edited(self) -> list[str]:
        """Files of the version that the operator has changed or removed."""
        return self._names("diff", "--name-only", "--no-renames", "-z", "HEAD")

    def keep_edits(self, patch: Path) -> None:
        """Write what was changed in them into a file that `git apply` takes, byte for byte."""
        plain = ("--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/")
        patch.touch(mode=0o600)
        self._git("diff", "--binary", "--full-index", *plain, f"--output={patch}", "HEAD")

    def names(self, commit: str) -> set[str]:
        """All files of a version."""
        return set(self._names("ls-tree", "-r", "--name-only", "-z", "--full-tree", commit))

    def indexed(self) -> set[str]:
        """All files that git has taken, also those that were added by hand."""
        return set(self._names("ls-files", "-z"))

    def conflicted(self) -> list[str]:
        """Files in which an edit and a version meet."""
        return self._names("diff", "--name-only", "--diff-filter=U", "-z")

    def mark(self, branch: str, commit: str) -> None:
        """Give a commit the name of a branch, so that git never throws it away."""
        self._git("update-ref", f"refs/heads/{branch}", commit)

    def own_files(self) -> list[str]:
        """Everything in this folder that is no part of the version, what git is told to ignore included.

        Of a folder without any file of the version's there is its own name alone, with a slash behind it.
        """
        return self._names("ls-files", "--others", "--directory", "-z")

    def in_the_way(self, new: Version) -> list[str]:
        """The operator's own files whose places `new` wants for files of its own."""
        added = self._names("diff", "--name-only", "--no-renames", "--diff-filter=A", "-z", "HEAD", new.commit)
        tracked = self.indexed()
        places = {place for name in added for place in (Path(name), *Path(name).parents)}
        taken = {str(place) for place in places if str(place) not in tracked and _is_file(self.folder / place)}
        # git removes a whole folder that lies where a file goes, and a link that lies where a folder goes.
        taken |= {name for name in added if self._is_own_folder(name, tracked)}
        folders = {parent for name in tracked for parent in Path(name).parents}
        return sorted(taken | {str(each) for each in folders if (self.folder / each).is_symlink()})

    def _is_own_folder(self, name: str, tracked: set[str]) -> bool:
        place = self.folder / name
        if not place.is_dir() or place.is_symlink():
            return False
        inside = (Path(here, each) for here, _, names in os.walk(place) for each in names)
        return any(str(path.relative_to(self.folder)) not in tracked for path in inside)

    def go_to(self, commit: str) -> None:
        """Have every file of the version as `commit` has it; a branch that is checked out goes along.

        What was edited in them is gone: the caller has it. Locks that a killed git has left are removed: the caller
        knows that they were its own.
        """
        branch = self._ask("symbolic-ref", "--quiet", "HEAD")[1].strip()
        for locked in ("index", "HEAD", "ORIG_HEAD", *([branch] if branch else [])):
            self.place(f"{locked}.lock").unlink(missing_ok=True)
        self._git("reset", "--quiet", "--hard", commit)

    def place(self, name: str) -> Path:
        """Where something of git's own lies: in a checkout of `git worktree` .git is a file."""
        return (self.folder / self._git("rev-parse", "--git-path", name).removesuffix("\n")).resolve()

    def apply(self, patch: Path, *words: str) -> list[str]:
        """Apply a patch; returns the lines in which git says why not, none where it went well."""
        if not patch.stat().st_size:
            return []
        status, out, err = self._ask("apply", *words, str(patch))
        return [] if status == 0 else (err or out).strip().splitlines()

    def made_by(self, patch: Path) -> list[str]:
        """The files that a patch brings anew: those that it names and that this version does not have."""
        tracked = self.indexed()
        return [name for name in self.touched_by(patch) if name not in tracked]

    def touched_by(self, patch: Path) -> list[str]:
        """The files that a patch names."""
        if not patch.stat().st_size:
            return []
        return [entry.split("\t", 2)[-1] for entry in self._names("apply", "--numstat", "-z", str(patch))]

    def _names(self, *words: str) -> list[str]:
        # A name need not be text: its bytes come through as they are, as Python's own functions take them.
        return [name for name in self._git(*words, errors="surrogateescape").split("\0") if name]

    def _git(self, *words: str, errors: str = "replace") -> str:
        status, out, err = self._ask(*words, errors=errors)
        if status != 0:
            raise _refused(words[0], err)
        return out

    def _ask(self, *words: str, timeout: float = _LOCAL_S, errors: str = "replace") -> tuple[int, str, str]:
        # Of a folder that belongs to somebody else git tells nothing unless it is named as safe; nobody is here to be
        # asked for a password; what a shell set for another repository is not meant.
        options = ["-c", f"safe.directory={self.folder}", "-c", "diff.noprefix=false", "-C", str(self.folder)]
        env = {"GIT_TERMINAL_PROMPT": "0", "GIT_DIR": None, "GIT_WORK_TREE": None, "GIT_INDEX_FILE": None}
        return shell.capture(["git", *options, *words], timeout=timeout, env=env, errors=errors)


def copy(folder: Path, version: Version, target: Path) -> Repository:
    """A checkout of `version` in the new folder `target`, which shares the history of `folder`."""
    source = Repository(folder)
    # Not by `git clone`: a shallow checkout would hand over only what its own branches name, not what was fetched. And
    # without hooks and filters of the operator's own; no file of it is written into the source's .git.
    status, _, err = shell.capture(["git", "init", "--quiet", "--template=", str(target)], timeout=_LOCAL_S)
    if status != 0:
        raise _refused("init", err)
    (target / ".git" / "objects" / "info").mkdir(parents=True, exist_ok=True)
    alternates = target / ".git" / "objects" / "info" / "alternates"
    alternates.write_text(f"{source.place('objects')}\n", encoding="utf-8")
    if source.place("shallow").exists():
        shutil.copyfile(source.place("shallow"), target / ".git" / "shallow")
    made = Repository(target)
    made.go_to(version.commit)
    return made


def _is_file(path: Path) -> bool:
    return path.is_symlink() or path.is_file()


def _refused(verb: str, err: str) -> Failure:
    last = (err.strip().splitlines() or ["no reason given"])[-1]
    return Failure("upgrade.git_failed", f"git {verb} failed: {last}", "`git status` in this folder shows more")
