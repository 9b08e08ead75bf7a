"""Another model under running conversations: questions wait while the engine is exchanged, or the old one comes back.

    held        nobody new is admitted; who comes waits in the queue; answers in progress are finished
    exchanged   the engine's container starts with the new model, and has to say a few words
    taken over  .env names the new model; who waits is sent away for a moment, and the proxy starts with it
    or back     the old engine starts again with the old values, and the hold ends

Whatever kills this in between, the hold ends by itself, and `make up` applies what .env says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from scripts.lib import dotenv, log, paths, resolve, services, settings
from scripts.lib.download import error_is_no_space
from scripts.lib.failure import Failure

# A hold's length, and how often it is renewed: a command that was killed holds up nobody for long.
LEASE_S = 120
_RENEW_S = 30.0
# Answers in progress may take so long to be finished, as when the proxy is stopped.
DRAIN_S = 180.0
_POLL_S = 0.5
_TELL_EVERY_S = 10.0
# Loading a large model from a slow disk goes on while it reads its first prompt.
TRIAL_TIMEOUT_S = 600.0
_BEFORE = paths.STATE / "before-model.env"


class Appliance(Protocol):
    """What is needed of Compose."""

    def run_in(self, service: str, command: Sequence[str], timeout: float = 60) -> tuple[int, str, str]: ...


Start = Callable[[str], None]
Look = Callable[[], "Mapping[str, Any] | None"]


class Switch:
    """One change of model. `start` has Compose apply a service's present values and waits until it is healthy; `look`
    asks /readyz. `env_file`, `resolved` and `before` are where .env, resolved.env and the old one's copy lie."""

    def __init__(
        self,
        appliance: Appliance,
        start: Start,
        look: Look,
        *,
        env_file: Path = paths.ENV_FILE,
        resolved: Path = paths.RESOLVED_ENV,
        before: Path = _BEFORE,
        drain_s: float = DRAIN_S,
    ) -> None:
        self._appliance, self._start, self._look = appliance, start, look
        self._env_file, self._resolved, self._before = env_file, resolved, before
        self._drain_s = drain_s

    def check(self, values: Mapping[str, str]) -> str:
        """The prompt format that the proxy takes for the model. Failure where it could not start with it."""
        words = [f"--file={values['MODEL_PATH_RESOLVED']}", f"--format={values['PROMPT_FORMAT_RESOLVED']}"]
        return self._command("check-model", *words, f"--name={values['MODEL_NAME']}").strip()

    def run(self, old: Mapping[str, str], new: Mapping[str, str], env: Mapping[str, str]) -> None:
        """Go from the resolved values `old` to `new`, and write `env` into .env once the new engine has answered.

        Whatever goes wrong, also Ctrl-C, the old model answers again, and it is raised.
        """
        try:
            with self._held():
                try:
                    self._exchange(old, new)
                except BaseException as reason:
                    self._back(old, reason)
                    raise
            self._take_over(old, new, env)
        except BaseException as reason:
            with suppress(Failure):
                self._command("release")
            if isinstance(reason, Failure) and reason.id == "service.unhealthy":
                fact = f"{new['MODEL_NAME']} does not get well ({reason.fact}), so {old['MODEL_NAME']} answers again"
                raise Failure("model.unfit", fact, "the lines above say why; choose another model") from reason
            if error_is_no_space(reason):
                fact = f"the disk is full, so {old['MODEL_NAME']} answers again"
                raise Failure("disk.full", fact, "free some space and run the command again") from reason
            raise

    def _exchange(self, old: Mapping[str, str], new: Mapping[str, str]) -> None:
        self._drain()
        log.step(f"the engine with {new['MODEL_NAME']}")
        resolve.write(dict(old), self._before)
        resolve.write(dict(new), self._resolved)
        self._start("engine")
        log.ok(f"it answers: {self._command('try-engine', timeout=TRIAL_TIMEOUT_S).strip()!r}")

    def _take_over(self, old: Mapping[str, str], new: Mapping[str, str], env: Mapping[str, str]) -> None:
        text = settings.read(self._env_file)
        try:
            dotenv.write_private(self._env_file, dotenv.with_values(text, env))
            log.step(f"the proxy with {new['MODEL_NAME']}; who waits goes on when it is there")
            self._command("hold", str(LEASE_S), "--turn-away")
            self._start("proxy")
        except BaseException as reason:
            self._restore_env(text)
            self._back(old, reason, "engine", "proxy")
            raise
        self._before.unlink(missing_ok=True)
        # A proxy that was given nothing new is the one of before, and still holds: the same model was chosen again.
        with suppress(Failure):
            self._command("release")

    def _restore_env(self, text: str) -> None:
        """What cannot be written any more, on a full disk, must not keep the old model from coming back."""
        try:
            if settings.read(self._env_file) != text:
                dotenv.write_private(self._env_file, text)
        except OSError as error:
            log.warn(f"env.not_restored: .env still names the new model: {error.strerror} -> correct MODEL there")

    def _back(self, old: Mapping[str, str], reason: BaseException, *changed: str) -> None:
        log.warn(f"model.switch_failed: going back to {old['MODEL_NAME']}")
        # Without it nothing was exchanged yet. By its name, because a full disk may be what went wrong.
        if self._before.exists():
            self._before.replace(self._resolved)
        try:
            for service in changed or ("engine",):
                self._start(service)
        except Failure as failure:
            fact = f"{old['MODEL_NAME']} could not be started again: {failure.fact}"
            raise Failure("model.stuck", fact, "`make up` starts it; `make doctor` looks closer") from reason
        log.ok(f"{old['MODEL_NAME']} answers again")

    @contextmanager
    def _held(self) -> Iterator[None]:
        self._command("hold", str(LEASE_S))
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(_RENEW_S):
                with suppress(Failure):
                    self._command("hold", str(LEASE_S))

        renewing = threading.Thread(target=renew, name="renew-hold", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            ended.set()
            renewing.join(_RENEW_S)

    def _drain(self) -> None:
        """Wait until no answer is in progress."""
        deadline, told = time.monotonic() + self._drain_s, time.monotonic()
        while True:
            engine = (self._look() or {}).get("engine", {})
            busy, waiting = engine.get("busy", 0), engine.get("waiting", 0)
            if engine.get("held") and not busy:
                return
            now = time.monotonic()
            if now > deadline:
                fact = f"after {log.duration(self._drain_s)} answers are still being written, and break off: {busy}"
                log.warn(f"model.answers_cut: {fact}; whoever reads them can have them go on")
                return
            if now - told > _TELL_EVERY_S:
                left = log.duration(deadline - now)
                log.info(f"answers in progress: {busy}, given {left} more; questions that wait: {waiting}")
                told = now
            time.sleep(_POLL_S)

    def _command(self, *words: str, timeout: float = 60) -> str:
        status, out, err = self._appliance.run_in("proxy", ["python3", "-m", "chatproxy", *words], timeout)
        if status == 0:
            return out
        if refused := services.refusal(err):
            raise refused
        last = (err.strip().splitlines() or ["no reason given"])[-1]
        fact = f"the proxy cannot be asked to change the model: {last}"
        raise Failure("model.proxy_old", fact, "`make up` brings the proxy to this version; then try again")


def earlier() -> dict[str, str]:
    """The values of the last `make up`, or of the model before a change that was broken off."""
    return resolve.earlier(_BEFORE) or resolve.earlier()


def broken_off(before: Path = _BEFORE) -> bool:
    """Whether a change was begun and neither finished nor taken back; also while one goes on."""
    return before.exists()


def forget() -> None:
    """`make up` has applied what .env says: no change is open any more."""
    _BEFORE.unlink(missing_ok=True)
