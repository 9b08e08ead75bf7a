"""Budgets: how much one key, one visitor of a web page, or one address may ask for.

    requests per minute   counted as they come, in windows that begin with each full minute
    tokens per day        prompt and answer, booked when the answer is there; a day begins at 00:00 UTC
    streams               answers that wait or run at the same time

Windows are fixed, so that one document counts each and it is known when a closed one opens; a burst around their border
gets through twice the limit at most. A request is admitted while its tokens budget is not used up, so answers that are
under way then may go beyond it by their own length.

Requests and tokens are counted in the UsageStore and survive a restart; streams end with the process anyway. Where
nothing is limited, the store is not asked at all.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType

from chatproxy.core.access import NO_LIMITS, Caller, Limits
from chatproxy.core.addresses import counted_as
from chatproxy.core.booking import Booking
from chatproxy.core.ports import UsageStore
from chatproxy.core.types import now
from chatproxy.errors import RateLimited

_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
_EPOCH = datetime.fromtimestamp(0, UTC)
# Retry-After (seconds) where all streams are taken: one opens when an answer ends, which nobody knows beforehand.
_STREAM_RETRY_S = 5
# Refusals remembered at most; beyond that the store is asked again.
_MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class _Words:
    """How a refusal speaks of whose budget it is: to programs of keys, to people of visits."""

    subject: str
    has: str
    its: str
    requests: str


_KEY = _Words("This key", "has", "its", "request")
_ADDRESS = _Words("This address", "has", "its", "request")
_VISITOR = _Words("You", "have", "your", "question")
_VISITORS_ADDRESS = _Words("Your network", "has", "its", "question")


@dataclass(frozen=True, slots=True)
class _Budget:
    """Whose budget, in words and as counters name it, and the limits in force (None = none)."""

    words: _Words
    who: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class _Window:
    """A minute or a day, and the counter that counts in it."""

    counter: str
    ends: datetime

    @property
    def expires_at(self) -> datetime:
        """When the counter may be deleted: a little later, since the database's clock may be ahead of ours."""
        return self.ends + _MINUTE


class Permit:
    """One admitted request. Release it when the request ends, however it ends; leaving the `with` does."""

    def __init__(self, spend: Callable[[int], None] | None = None, release: Callable[[], None] | None = None) -> None:
        """`spend` books tokens, `release` gives the stream's place back; without them nothing is limited."""
        self._spend, self._release = spend, release
        self._lock = threading.Lock()

    def spend(self, tokens: int) -> None:
        """Book `tokens` (prompt and answer together). Never raises: the answer is there already."""
        if self._spend and tokens > 0:
            self._spend(tokens)

    def release(self) -> None:
        """Give the stream's place back; a second call does nothing."""
        with self._lock:
            release, self._release = self._release, None
        if release:
            release()

    def __enter__(self) -> Permit:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.release()


class Limiter:
    """Counts requests, tokens and streams. Thread-safe."""

    def __init__(
        self,
        store: UsageStore,
        *,
        key: Limits = NO_LIMITS,
        visitor: Limits = NO_LIMITS,
        address: Limits = NO_LIMITS,
        visitors_address: Limits | None = None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        """`key` and `visitor` hold for those without limits of their own, `address` for every address, and where
        `visitors_address` is given, that one for visitors' addresses; 0 or None = no limit."""
        self._store, self._clock = store, clock
        self._key, self._visitor, self._address = key, visitor, address
        self._visitors_address = visitors_address or address
        self._booking = Booking(store, clock=clock)
        self._lock = threading.Lock()
        self._streams: dict[str, int] = {}
        self._used_up: dict[tuple[str, int], datetime] = {}

    def admit(self, caller: Caller, *, again: bool = False) -> Permit:
        """Count one request (not `again`, for one that has been counted) and one stream.

        Raises RateLimited with Retry-After, StorageUnavailable.
        """
        budgets = self._budgets(caller)
        if not budgets:
            return Permit()
        streaming = self._take_streams(budgets)
        try:
            for budget in budgets:
                self._check_tokens(budget)
            for budget in () if again else budgets:
                self._count_request(budget)
        except BaseException:
            self._give_back(streaming)
            raise
        return Permit(lambda tokens: self._spend(budgets, tokens), lambda: self._give_back(streaming))

    def _budgets(self, caller: Caller) -> list[_Budget]:
        """Those with any limit, the address first: what it is refused must not use up the key's requests."""
        address = counted_as(caller.address)
        words, default = (_VISITOR, self._visitor) if caller.visit else (_KEY, self._key)
        budgets = [_Budget(words, caller.payer, _in_force(caller.limits, default))]
        if address:
            words, limits = (_VISITORS_ADDRESS, self._visitors_address) if caller.visit else (_ADDRESS, self._address)
            budgets.insert(0, _Budget(words, f"address:{address}", _in_force(NO_LIMITS, limits)))
        return [budget for budget in budgets if budget.limits != NO_LIMITS]

    def _take_streams(self, budgets: Sequence[_Budget]) -> list[str]:
        taken = [budget.who for budget in budgets if budget.limits.streams]
        with self._lock:
            for budget in budgets:
                limit = budget.limits.streams
                if limit and self._streams.get(budget.who, 0) >= limit:
                    words = budget.words
                    most = f"{words.subject} may have {_counted(limit, 'answer')} in progress at a time"
                    raise RateLimited(
                        f"streams of {budget.who}",
                        public=f"{most}, and {words.has}. Try again when one has ended.",
                        retry_after=_STREAM_RETRY_S,
                    )
            for who in taken:
                self._streams[who] = self._streams.get(who, 0) + 1
        return taken

    def _give_back(self, taken: Sequence[str]) -> None:
        with self._lock:
            for who in taken:
                self._streams[who] -= 1
                if not self._streams[who]:
                    del self._streams[who]

    def _check_tokens(self, budget: _Budget) -> None:
        limit = budget.limits.tokens_per_day
        if limit:
            day = self._window("tokens", budget, _DAY)
            if self._booking.used(day.counter) >= limit:
                raise self._refused(f"{_counted(limit, 'token')} per day", budget, day)

    def _count_request(self, budget: _Budget) -> None:
        limit = budget.limits.requests_per_minute
        if not limit:
            return
        minute = self._window("requests", budget, _MINUTE)
        # Whoever keeps knocking on a closed door does not cost a write each time.
        refused = self._used_up.get((minute.counter, limit))
        if not refused:
            if self._store.add(minute.counter, 1, expires_at=minute.expires_at) <= limit:
                return
            self._remember(minute, limit)
        raise self._refused(f"{_counted(limit, budget.words.requests)} per minute", budget, minute)

    def _remember(self, window: _Window, limit: int) -> None:
        with self._lock:
            if len(self._used_up) >= _MOST_REMEMBERED:
                self._used_up.clear()
            moment = self._clock()
            self._used_up = {known: ends for known, ends in self._used_up.items() if ends > moment}
            self._used_up[window.counter, limit] = window.ends

    def _spend(self, budgets: Sequence[_Budget], tokens: int) -> None:
        for budget in budgets:
            if budget.limits.tokens_per_day:
                day = self._window("tokens", budget, _DAY)
                self._booking.add(day.counter, tokens, expires_at=day.expires_at)

    def _window(self, what: str, budget: _Budget, length: timedelta) -> _Window:
        number = (self._clock() - _EPOCH) // length
        return _Window(f"{what}/{budget.who}/{number}", _EPOCH + (number + 1) * length)

    def _refused(self, limit: str, budget: _Budget, window: _Window) -> RateLimited:
        seconds, words = max(1, math.ceil((window.ends - self._clock()).total_seconds())), budget.words
        used_up = f"{words.subject} {words.has} used up {words.its} {limit}."
        return RateLimited(
            f"{limit} of {budget.who}",
            public=f"{used_up} Try again in {_counted(seconds, 'second')}.",
            retry_after=seconds,
        )


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _in_force(own: Limits, default: Limits) -> Limits:
    """Each limit of its own where it has one, else the default; 0 is the wish for none and becomes None."""

    def either(mine: int | None, other: int | None) -> int | None:
        return (other if mine is None else mine) or None

    return Limits(
        either(own.requests_per_minute, default.requests_per_minute),
        either(own.tokens_per_day, default.tokens_per_day),
        either(own.streams, default.streams),
    )
