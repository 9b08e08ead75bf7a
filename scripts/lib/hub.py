"""What the model hub tells of a repository, through the hub's own library; only the fetch image has that.

The library finds commits, files, sizes and checksums, and says where a file lies. The bytes come by
scripts.lib.download: the library's own download checks a file's size alone, and starts over after a break where it
takes the hub's newer storage.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar

import httpx2
from huggingface_hub import HfApi, hf_hub_url, set_client_factory
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented, not in its __all__

from scripts.lib.download import Expected
from scripts.lib.failure import Failure

T = TypeVar("T")
_ATTEMPTS = 5
# Seconds of silence; the library's own client would wait for ever.
_TIMEOUT_S = 20.0
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# What the library raises over answers of another kind than it knows.
_NONSENSE = (AttributeError, KeyError, TypeError)
_TOKEN_HINT = "accept its licence on its page there, and name a file with your access token in MODEL_TOKEN_FILE"  # noqa: S105 - a hint


@dataclass(frozen=True)
class Remote:
    """A file of a repository at one commit; `blob` is git's id of it, `sha256` is known of large files alone."""

    repository: str
    commit: str
    path: str
    size: int
    sha256: str
    blob: str

    @property
    def expected(self) -> Expected:
        """What it has to be once it is here."""
        return Expected(self.size, self.sha256, "" if self.sha256 else self.blob)


class Hub:
    """Asks the hub. Every method raises Failure: `model.gated`, `model.source_gone`, `model.source_unreachable`."""

    def __init__(  # nosec B107 - empty: without a token
        self, token: str = "", endpoint: str | None = None, pause: Callable[[float], None] = time.sleep
    ) -> None:
        """`endpoint` is another hub's address; None = HF_ENDPOINT, else the library's own."""
        set_client_factory(lambda: httpx2.Client(follow_redirects=True, timeout=_TIMEOUT_S))
        # False: no token that happens to lie in somebody's home folder.
        self._token: str | bool = token or False
        self._api = HfApi(endpoint=endpoint or None, token=self._token)
        self._pause = pause

    def commit(self, repository: str, revision: str) -> str:
        """The commit that a branch or tag means now."""
        if _COMMIT.fullmatch(revision):
            return revision
        info = self._ask(repository, lambda: self._api.model_info(repository, revision=revision))
        if not _COMMIT.fullmatch(str(info.sha)):
            raise Failure("model.source_gone", f"the hub tells no commit of {repository}", "try again later")
        return str(info.sha)

    def files(self, repository: str, commit: str, paths: Sequence[str]) -> list[Remote]:
        """These files, in this order."""
        told = self._ask(repository, lambda: self._api.get_paths_info(repository, list(paths), revision=commit))
        found = {remote.path: remote for remote in self._remotes(repository, commit, told)}
        for path in paths:
            if path not in found:
                fact = f"{repository} has no file {path} any more (commit {commit[:12]})"
                raise Failure("model.source_gone", fact, "choose another model, or name its new place in the catalogue")
        return [found[path] for path in paths]

    def tree(self, repository: str, commit: str) -> list[Remote]:
        """All of its files."""
        told = self._ask(
            repository, lambda: list(self._api.list_repo_tree(repository, recursive=True, revision=commit))
        )
        return self._remotes(repository, commit, told)

    def url(self, remote: Remote) -> str:
        """Where the file is asked for; that answer leads on to where it lies."""
        return hf_hub_url(remote.repository, remote.path, revision=remote.commit, endpoint=self._api.endpoint)

    def headers(self) -> dict[str, str]:
        """What to send along: the library's name, and the token where there is one."""
        return build_hf_headers(token=self._token)

    def _remotes(self, repository: str, commit: str, told: Iterable[object]) -> list[Remote]:
        files = [item for item in told if isinstance(item, RepoFile)]
        for file in files:
            parts = PurePosixPath(file.path).parts
            if file.path.startswith("/") or ".." in parts or not parts:
                raise Failure("model.source_gone", f"{repository} names a file {file.path!r}", "do not use it")
        remotes = [
            Remote(repository, commit, file.path, file.size, file.lfs.sha256 if file.lfs else "", file.blob_id)
            for file in files
        ]
        for remote in remotes:
            _check(remote)
        return remotes

    def _ask(self, repository: str, question: Callable[[], T]) -> T:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return question()
            except (HfHubHTTPError, HFValidationError, httpx2.HTTPError, OSError, ValueError, *_NONSENSE) as error:
                failure = _told(repository, error)
                if attempt == _ATTEMPTS or not _may_pass(error):
                    raise failure from error
            self._pause(min(2.0**attempt, 15.0))
        raise AssertionError("unreachable")


def _check(remote: Remote) -> None:
    """Failure where sizes and checksums are none: they become names of files here, and bounds of what is fetched."""
    known = _SHA256.fullmatch(str(remote.sha256)) if remote.sha256 else _COMMIT.fullmatch(str(remote.blob))
    least = 1 if remote.sha256 else 0
    if not known or not isinstance(remote.size, int) or remote.size < least:
        fact = f"{remote.repository} tells no size and checksum of {remote.path}"
        raise Failure("model.source_gone", fact, "do not use it")


def _may_pass(error: Exception) -> bool:
    """Whether it may go well the next time."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in (408, 425, 429) or error.response.status_code >= 500
    return isinstance(error, (httpx2.HTTPError, OSError))


def _told(repository: str, error: Exception) -> Failure:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
    if isinstance(error, GatedRepoError) or (status == 403 and not isinstance(error, DisabledRepoError)):
        return Failure("model.gated", f"{repository} is given only to who has accepted its licence", _TOKEN_HINT)
    if isinstance(error, (RepositoryNotFoundError, RevisionNotFoundError, DisabledRepoError, HFValidationError)):
        what = "this revision" if isinstance(error, RevisionNotFoundError) else "it"
        fact = f"the model hub has no repository {repository}, or not {what} any more (it answered {status})"
        return Failure("model.source_gone", fact, f"choose another model; if it is private: {_TOKEN_HINT}")
    if status == 401:
        return Failure("model.gated", "the model hub does not take the token", "renew the one in MODEL_TOKEN_FILE")
    if status == 404:
        return Failure("model.source_gone", f"the model hub knows nothing of {repository}", "choose another model")
    reason = f"it answered {status}" if status else (str(error).splitlines() or [type(error).__name__])[0]
    hint = (
        "is it reachable from here? Run the command again, what has arrived is kept; or set HF_ENDPOINT to a mirror; "
        "or copy the file into models/ yourself"
    )
    return Failure("model.source_unreachable", f"the model hub does not tell about {repository}: {reason}", hint)
