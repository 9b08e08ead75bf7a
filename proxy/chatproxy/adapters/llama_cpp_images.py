"""Images with a completion of llama.cpp's server, which its OpenAI route does not take and its own route does.

    GET /props         "modalities": {"vision"}, "media_marker": another one each time the server starts
    POST /completion   "prompt": {"prompt_string": text, the marker once for each image, "multimodal_data": [base64]}

An image becomes as many tokens as its projector says, often by its size; the server tells only with the answer. It
refuses a prompt that is too long, so that an estimate can be wrong and nothing is lost.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from chatproxy.adapters.calls import CallFailed, Service
from chatproxy.adapters.engine_stream import decode
from chatproxy.adapters.remembered import Remembered
from chatproxy.core.types import IMAGE_MARK, Finish, Generation, Image
from chatproxy.errors import EngineFailure

PATH = "/completion"
# What the server says (HTTP 400) of data that its decoder cannot read.
UNREADABLE = b"Failed to load image"
_CALL_TIMEOUT_S = 10.0
# The server knows no limit; the sum of what they take is bounded by the context window anyway.
_MOST = 16
# Until an image of the same size has been seen: a token for 28 x 28 pixels, as Qwen2-VL and its successors have it, but
# no less than LLaVA 1.5's 576 and no more than 4,096, which is llama.cpp's own limit for most projectors.
_PIXELS_PER_TOKEN, _LEAST_TOKENS, _MOST_TOKENS = 28 * 28, 576, 4096
_SIZES_KEPT = 1024


class LlamaCppImages:
    """What one server makes of images. Thread-safe, as a dictionary's single operations are."""

    def __init__(self, service: Service, *, lasts_s: float, tokens: int | None) -> None:
        """What the server tells is believed for `lasts_s` seconds; `tokens` is what an image takes, None = find out."""
        self._service, self._given = service, tokens
        self._sees = Remembered(self._can_see, lasts_s=lasts_s)
        self._known: OrderedDict[tuple[int, int], int] = OrderedDict()

    def most(self) -> int:
        """See core.ports.Engine.most_images."""
        return _MOST if self._sees.get() else 0

    def tokens(self, image: Image) -> int:
        """See core.ports.Engine.image_tokens: as learnt from an image of the same size, else an estimate."""
        guess = -(-image.width * image.height // _PIXELS_PER_TOKEN)
        known = self._known.get((image.width, image.height))
        return self._given or known or min(max(guess, _LEAST_TOKENS), _MOST_TOKENS)

    def payload(self, generation: Generation) -> dict[str, Any]:
        """The fields of an order with images. Raises EngineFailure where the server does not tell its marker."""
        # Asked each time: after a restart it is another one.
        marker = self._props().get("media_marker")
        if not isinstance(marker, str) or not marker:
            raise EngineFailure("the engine does not tell where images stand in a prompt")
        return {
            "prompt": {
                "prompt_string": generation.prompt.replace(IMAGE_MARK, marker),
                "multimodal_data": [base64.b64encode(image.data).decode() for image in generation.images],
            },
            "n_predict": generation.max_tokens,
        }

    def learn(self, generation: Generation, finish: Finish, count_tokens: Callable[[str], int]) -> None:
        """Note what an image of a new size has taken. Only of one at a time: of several, their sum is known alone."""
        images = generation.images
        size = (images[0].width, images[0].height)
        if self._given or len(images) > 1 or finish.prompt_tokens is None or size in self._known:
            return
        try:
            text = count_tokens(generation.prompt.replace(IMAGE_MARK, ""))
        except EngineFailure:
            return  # the answer is there; what the image took stays a guess
        self._known[size] = max(1, finish.prompt_tokens - text)
        while len(self._known) > _SIZES_KEPT:
            self._known.popitem(last=False)

    def _can_see(self) -> bool:
        able = self._props().get("modalities")
        return isinstance(able, dict) and able.get("vision") is True

    def _props(self) -> dict[str, Any]:
        try:
            told = self._service.get("/props", timeout_s=_CALL_TIMEOUT_S)
        except CallFailed as error:
            raise EngineFailure(f"/props: {error}") from None
        return told if isinstance(told, dict) else {}


class PicturedEnd:
    """What a stream of /completion says of its own end, on the way there."""

    def __init__(self) -> None:
        self._last: dict[str, Any] | None = None

    def read(self, data: str) -> tuple[str, bool]:
        """See engine_stream.generated."""
        event = decode(data)
        if "error" in event:
            raise EngineFailure(f"the engine reported {str(event['error'])[:300]!r} in mid-stream")
        text = event.get("content", "")
        if not isinstance(text, str):
            raise EngineFailure("the engine sent an event that is not a completion")
        if event.get("stop") is not True:
            return text, False
        self._last = event
        return text, True

    def finish(self) -> Finish:
        """See core.ports.Engine. Raises EngineFailure for a stream that ended without an end."""
        if self._last is None:
            raise EngineFailure("the engine closed the stream without an end")
        read, written = (self._last.get(name) for name in ("tokens_evaluated", "tokens_predicted"))
        return Finish(
            "length" if self._last.get("stop_type") == "limit" else "stop",
            read if isinstance(read, int) else None,
            written if isinstance(written, int) else None,
        )
