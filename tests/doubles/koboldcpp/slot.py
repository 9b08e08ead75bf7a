"""The engine behind the HTTP server: one slot that turns parameters into tokens, and the queue in front of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from .dialects import Dialect
from .received import GenerationParameters
from .tokenizer import Tokenizer

#: The tokens of an answer; bytes where a token ends inside a UTF-8 sequence. A callable makes them per request.
Reply = Sequence[str | bytes] | Callable[[GenerationParameters], Sequence[str | bytes]]

#: What is answered from a prompt cache that an abort has corrupted.
CORRUPTED_REPLY = ("(an", " answer", " from", " a", " wrong", " context)")

_TICK = 0.005  # s between two looks at the abort flag
_MOST_IMAGES = 4  # images_max: the others are left out
# "\nAttached Media:\n", put in front of the first image.
_MEDIA_INTRO = 5


class StopReason(IntEnum):
    """Why the last generation ended, numbered as ``/api/extra/perf`` reports it."""

    INVALID = -1
    OUT_OF_TOKENS = 0
    EOS = 1
    STOP_SEQUENCE = 2


@dataclass
class Generation:
    """One run of the slot. `tokens` grows while it runs; `done` is set when it has ended. `images` are those seen."""

    parameters: GenerationParameters
    prompt_read: str
    prompt_tokens: int
    dropped_tokens: int
    images: tuple[str, ...] = ()
    tokens: list[bytes] = field(default_factory=list)
    stop_reason: StopReason = StopReason.INVALID
    aborted: bool = False
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def text(self) -> str:
        return b"".join(self.tokens).decode("utf-8", "ignore")

    @property
    def finish_reason(self) -> str:
        """Only EOS counts as "stop"; a matched stop sequence is reported as "length"."""
        return "stop" if self.stop_reason is StopReason.EOS else "length"


class Slot:
    """One generation at a time; the others wait in a queue of limited length.

    Args:
        reply: what the model says.
        first_token_delay: seconds spent reading a prompt.
        token_delay: seconds for each token.
        multiuser: koboldcpp's flag: N > 1 lets N - 1 requests wait, 1 lets six wait, 0 none.
        image_tokens: what a projector makes of an image; 0 = there is none, and images are passed over.
    """

    def __init__(
        self,
        dialect: Dialect,
        tokenizer: Tokenizer,
        *,
        reply: Reply,
        context_size: int,
        first_token_delay: float,
        token_delay: float,
        multiuser: int,
        image_tokens: int = 0,
    ) -> None:
        self.dialect = dialect
        self.tokenizer = tokenizer
        self.reply = reply
        self.context_size = context_size
        self.image_tokens = image_tokens
        self.first_token_delay = first_token_delay
        self.token_delay = token_delay
        self.queue_limit = multiuser - 1 if multiuser > 1 else 6 * multiuser
        self.generations: list[Generation] = []
        self.waiting = 0
        self.current_genkey = ""
        self.last_used = time.time()
        self._pending_abort = ""
        self._corrupted_prompt: str | None = None
        self._busy = threading.Lock()
        self._waiting_lock = threading.Lock()

    # -- the queue

    def acquire(self) -> bool:
        """Wait for the slot; False at once when the queue is full."""
        with self._waiting_lock:
            may_wait = self.waiting < self.queue_limit
            self.waiting += may_wait
        if not self._busy.acquire(blocking=may_wait):
            return False
        with self._waiting_lock:
            self.waiting -= may_wait
        return True

    def release(self) -> None:
        self._busy.release()

    @property
    def busy(self) -> bool:
        return self._busy.locked()

    @property
    def last(self) -> Generation | None:
        return self.generations[-1] if self.generations else None

    # -- generating

    def begin(self, parameters: GenerationParameters) -> Generation:
        """Make the generation that `run` then carries out; what does not fit is dropped from the prompt's front."""
        self.current_genkey = parameters.genkey
        self.last_used = time.time()
        memory = self.tokenizer.pieces(parameters.memory)
        prompt = self.tokenizer.pieces(parameters.prompt)
        images, taken = self._look(parameters)
        room = parameters.max_context_length - parameters.max_length - taken - len(memory) - 1  # 1: BOS
        dropped = max(0, len(prompt) - max(0, room))
        read = memory + prompt[dropped:]
        generation = Generation(parameters, "".join(read), taken + len(read) + 1, dropped, images)
        self.generations.append(generation)
        return generation

    def _look(self, parameters: GenerationParameters) -> tuple[tuple[str, ...], int]:
        """The images seen, and the tokens they take: in front of memory and prompt, or all left out without a word."""
        images = parameters.images[:_MOST_IMAGES] if self.image_tokens else ()
        taken = len(images) * self.image_tokens + _MEDIA_INTRO if images else 0
        fits = taken + parameters.max_length + 4 <= parameters.max_context_length
        return (images, taken) if fits else ((), 0)

    def run(self, generation: Generation) -> None:
        """Produce the tokens; returns when the generation has ended."""
        try:
            if self._was_aborted_in_queue(generation) or not self._read_prompt(generation):
                return
            generation.stop_reason = self._write_tokens(generation)
        finally:
            self.last_used = time.time()
            generation.done.set()

    def _was_aborted_in_queue(self, generation: Generation) -> bool:
        key = generation.parameters.genkey
        if not key or key != self._pending_abort:
            return False
        self._pending_abort = ""
        generation.aborted = True
        return True

    def _read_prompt(self, generation: Generation) -> bool:
        if self._pause(generation, self.first_token_delay):
            return True
        generation.stop_reason = StopReason.OUT_OF_TOKENS
        if self.dialect.abort_corrupts_cache:
            self._corrupted_prompt = generation.prompt_read
        return False

    def _write_tokens(self, generation: Generation) -> StopReason:
        parameters = generation.parameters
        reply = self._reply_to(generation)
        while len(generation.tokens) < parameters.max_length:
            index = len(generation.tokens)
            if not self._pause(generation, self.token_delay):
                return StopReason.OUT_OF_TOKENS
            if index >= len(reply) and (not reply or not parameters.ban_eos_token):
                return StopReason.EOS  # sampled like any other token, so it took its time
            token = reply[index % len(reply)]
            generation.tokens.append(token.encode() if isinstance(token, str) else token)
            if any(stop in generation.text for stop in parameters.stop_sequence):
                return StopReason.STOP_SEQUENCE
        return StopReason.OUT_OF_TOKENS

    def _reply_to(self, generation: Generation) -> Sequence[str | bytes]:
        corrupted = self._corrupted_prompt is not None and generation.prompt_read == self._corrupted_prompt
        self._corrupted_prompt = None
        if corrupted:
            return CORRUPTED_REPLY
        return self.reply(generation.parameters) if callable(self.reply) else self.reply

    @staticmethod
    def _pause(generation: Generation, seconds: float) -> bool:
        """Sleep; False as soon as the generation is aborted."""
        end = time.monotonic() + seconds
        while not generation.aborted:
            left = end - time.monotonic()
            if left <= 0:
                return True
            time.sleep(min(_TICK, left))
        return False

    # -- aborting and looking

    def abort(self, genkey: str) -> dict[str, str]:
        """Abort by key, or keyless where nobody waits; a key that is not running yet is remembered (only one)."""
        keyless = genkey == "" and self.waiting == 0
        if keyless or (genkey != "" and genkey == self.current_genkey):
            return {"success": "true" if self.abort_current() else "false", "done": "true"}
        if genkey != "" and self.waiting > 0:
            self._pending_abort = genkey
            return {"success": "true", "done": "false"}
        return {"success": "false", "done": "false"}

    def abort_current(self) -> bool:
        """Stop the running generation; False where none runs."""
        last = self.last
        if last is None or last.done.is_set():
            return False
        last.aborted = True
        return True

    def pending_text(self, genkey: str) -> str:
        """The running or last output, for whoever knows its key. Without keys, for anybody."""
        last = self.last
        if last is None or genkey != self.current_genkey or (genkey == "" and self.waiting > 0):
            return ""
        return last.text
