"""koboldcpp's own API, versions 1.74 to 1.115 and later. The server is treated as an untrusted peer.

- Generations are always streamed: a request that is not runs to its end after its client has left.
- Every request carries an unguessable `genkey`: text generated without one can be read by any caller.
- The end of a stream is only its event with a finish_reason; a connection that just closes has died.
- Images stand in front of the whole prompt, whatever it says; koboldcpp's own chat route has "(Attached Image 1)" where
  each of them was said (transform_genparams in koboldcpp.py), and so has a prompt from here.
"""

from __future__ import annotations

import base64
import dataclasses
import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable, Generator
from typing import Any

from chatproxy.adapters.calls import CallFailed, Service
from chatproxy.adapters.engine_stream import decode, generated
from chatproxy.adapters.remembered import Remembered
from chatproxy.core.types import IMAGE_MARK, EngineEvent, Finish, Generation, Image
from chatproxy.core.warm_ports import CacheState
from chatproxy.errors import EngineFailure, EngineTimeout, Unhealthy

_log = logging.getLogger(__name__)
_CALL_TIMEOUT_S = 10.0
_CHECK_TIMEOUT_S = 2.0
# How long what the engine says about itself is believed: it may have been restarted with another model.
_FACTS_LAST_S = 60.0
# Before this version, an abort while the prompt was being read left a wrong prompt cache behind: the next identical
# prompt was answered from another context.
_SAFE_ABORT = (1, 80)
# A client can leave in the moment in which it is asked: an abort may overtake the generation that it is for, and is
# answered with success "false" then.
_ABORT_ATTEMPTS, _ABORT_PAUSE_S = 5, 0.1
# images_max in koboldcpp.py: what an older version takes of a request's images; it leaves the others out.
_MOST_IMAGES = 4
# koboldcpp does not tell beforehand what an image takes, and drops the prompt's beginning where that is too much. The
# most that a projector makes of one within --visionmaxres, 1024 by default: Pixtral, a token for 16 x 16 pixels and one
# for each row; and what stands around it ("Attached Media:", the model's own tags).
_IMAGE_TOKENS = 64 * 64 + 64 + 32


@dataclasses.dataclass(frozen=True, slots=True)
class _Facts:
    """Context size in tokens, (major, minor) version, the model's name, whether it can see."""

    context_size: int
    version: tuple[int, int]
    model: str
    sees: bool


class _End:
    """Whether a stream has begun, and its end."""

    def __init__(self) -> None:
        self.begun = False
        self._finish: Finish | None = None

    def read(self, data: str) -> tuple[str, bool]:
        """See engine_stream.generated."""
        self.begun = True
        text, self._finish = _read(decode(data))
        return text, self._finish is not None

    def finish(self) -> Finish:
        if not self._finish:
            raise EngineFailure(
                "koboldcpp closed the stream without an end" if self.begun else "koboldcpp gave an empty answer"
            )
        return self._finish


class Koboldcpp:
    """Implements core.ports.Engine and HealthCheck, core.warm_ports.Warmable."""

    def __init__(
        self,
        url: str,
        *,
        name: str = "engine",
        api_key: str = "",
        first_token_s: float = 600,
        idle_s: float = 120,
        image_tokens: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`name` is what /readyz calls it, `image_tokens` what one image takes at most where that is known.

        `first_token_s` and `idle_s`: seconds of silence before and after the first token that are endured.
        """
        self.name = name
        self._service = Service(url, token=api_key)
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._first_token_s, self._idle_s = first_token_s, idle_s
        self._image_tokens = image_tokens or _IMAGE_TOKENS
        self._facts = Remembered(self._read_facts, lasts_s=_FACTS_LAST_S, clock=clock)

    def generate(self, generation: Generation) -> Generator[EngineEvent]:
        """See core.ports.Engine."""
        payload = _payload(generation)
        url = f"{self._service.base_url}/api/extra/generate/stream"
        end = _End()
        try:
            yield from generated(
                url, payload, self._headers, end.read, first_s=self._first_token_s, idle_s=self._idle_s
            )
        except (GeneratorExit, EngineTimeout):
            self.abort(payload["genkey"], end.begun)
            raise
        yield end.finish()

    def abort(self, genkey: str, begun: bool) -> None:
        """Stop a generation that nobody waits for; `begun` tells that some of it has come. Never raises.

        A stream's closed connection stops it too, but only once it generates.
        """
        try:
            if not begun and self._facts.get().version < _SAFE_ABORT:
                return
            for _ in range(_ABORT_ATTEMPTS):
                answer = self._post("/api/extra/abort", {"genkey": genkey})
                if begun or (isinstance(answer, dict) and answer.get("success") == "true"):
                    return
                time.sleep(_ABORT_PAUSE_S)
        except EngineFailure as error:
            _log.info("abort failed: %s", error)

    def count_tokens(self, text: str) -> int:
        """See core.ports.Engine."""
        answer = self._post("/api/extra/tokencount", {"prompt": text})
        count = answer.get("value") if isinstance(answer, dict) else None
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise EngineFailure("koboldcpp did not count tokens")
        return count

    def context_size(self) -> int | None:
        """See core.ports.Engine."""
        return self._facts.get().context_size

    def model(self) -> str:
        """See core.ports.Engine."""
        return self._facts.get().model

    def most_images(self) -> int:
        """See core.ports.Engine."""
        return _MOST_IMAGES if self._facts.get().sees else 0

    def image_tokens(self, image: Image) -> int:
        """See core.ports.Engine."""
        return self._image_tokens

    def check(self) -> None:
        """See core.ports.HealthCheck."""
        try:
            answer = self._service.get("/api/v1/model", timeout_s=_CHECK_TIMEOUT_S)
        except CallFailed as error:
            raise Unhealthy(str(error)) from None
        if not isinstance(answer, dict) or not isinstance(answer.get("result"), str):
            raise Unhealthy("it does not talk like koboldcpp")
        if answer["result"] in ("inactive", "koboldcpp/inactive"):
            raise Unhealthy("no model is loaded")

    def cache(self) -> CacheState | None:
        """See core.warm_ports.Warmable."""
        try:
            uptime = self._get("/api/extra/perf").get("uptime")
        except EngineFailure:
            return None
        return CacheState(int(uptime)) if isinstance(uptime, int | float) else None

    def _read_facts(self) -> _Facts:
        context = self._get("/api/extra/true_max_context_length").get("value")
        told = self._get("/api/extra/version")
        version = re.match(r"(\d+)\.(\d+)", str(told.get("version")))
        if not isinstance(context, int) or context <= 0 or not version:
            raise EngineFailure("koboldcpp does not tell its context size or version")
        model, sees = str(self._get("/api/v1/model").get("result")), told.get("vision") is True
        return _Facts(context, (int(version[1]), int(version[2])), model, sees)

    def _get(self, path: str) -> dict[str, Any]:
        try:
            answer = self._service.get(path, timeout_s=_CALL_TIMEOUT_S)
        except CallFailed as error:
            raise EngineFailure(f"koboldcpp {path}: {error}") from None
        if not isinstance(answer, dict):
            raise EngineFailure(f"koboldcpp {path}: not a JSON object")
        return answer

    def _post(self, path: str, payload: dict[str, Any]) -> Any:
        try:
            return self._service.post(path, payload, timeout_s=_CALL_TIMEOUT_S)
        except CallFailed as error:
            raise EngineFailure(f"koboldcpp {path}: {error}") from None


def _payload(generation: Generation) -> dict[str, Any]:
    """koboldcpp's field names are the ones that Sampling uses; what was not asked for is not sent."""
    asked = {name: value for name, value in dataclasses.asdict(generation.sampling).items() if value is not None}
    if generation.context_size:
        asked["max_context_length"] = generation.context_size
    if generation.images:
        asked["images"] = [base64.b64encode(image.data).decode() for image in generation.images]
    return {
        **asked,
        "prompt": _named(generation.prompt) if generation.images else generation.prompt,
        "max_length": generation.max_tokens,
        "stop_sequence": list(generation.stops),
        # The stop text stays in the stream: it is how we tell a stop from a full length, which koboldcpp does not.
        "trim_stop": False,
        "genkey": f"KCPP{secrets.token_hex(16)}",
        "quiet": True,  # no prompts in its log
    }


def _named(prompt: str) -> str:
    """The prompt with its images told by their numbers; those at its very beginning stand there anyway."""
    begin = 0
    while prompt.startswith(f"{IMAGE_MARK}\n", begin):
        begin += len(IMAGE_MARK) + 1
    numbers = itertools.count(begin // (len(IMAGE_MARK) + 1) + 1)
    return re.sub(re.escape(IMAGE_MARK), lambda _: f"(Attached Image {next(numbers)})", prompt[begin:])


def _read(event: dict[str, Any]) -> tuple[str, Finish | None]:
    text, reason = event.get("token", ""), event.get("finish_reason")
    if not isinstance(text, str):
        raise EngineFailure("koboldcpp sent a token that is not text")
    if reason in (None, "null", ""):  # 1.76 writes the word
        return text, None
    if reason not in ("stop", "length"):
        raise EngineFailure(f"koboldcpp ended with {str(reason)[:40]!r}")
    return text, Finish(reason)
