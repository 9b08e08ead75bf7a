"""What is measured, and what is kept of it by the minute: numbers alone, no ids, addresses or texts.

Generations, web/responses -> Measures (core.tally counts) -> /metrics, as totals since this process began
                                                           -> MinuteStore, every ten seconds -> `minutes`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Literal, Protocol, get_args

from chatproxy.errors import ChatProxyError, InvalidRequest, TakenOver

# stop, length, rule: answered. refused: a budget or the full queue, or a question that cannot be put (too long).
# cancelled: by whoever asked, who may just have left. failed: anything else.
End = Literal["stop", "length", "rule", "cancelled", "failed", "refused"]
ENDS: tuple[End, ...] = get_args(End)
ANSWERED: tuple[End, ...] = ("stop", "length", "rule")
# Upper bounds of the buckets that seconds to the first token are counted in; one more bucket has no bound. Minutes are
# stored with the bound's own number, so that other bounds can come without older minutes being misread.
FIRST_TOKEN_S = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0)
# Points that a chart may ask for at a time: a day of minutes, and some more.
MOST_POINTS = 2000
_MINUTE = timedelta(minutes=1)
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Answer:
    """One question, at its end. Seconds count from its place at the gate; None = it did not come so far.

    `bot` is "" for the bare model. Tokens are the engine's, or a guess where it broke off before telling.
    """

    end: End
    bot: str = ""
    waited_s: float | None = None
    first_token_s: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Measures(Protocol):
    """Where things are counted as they happen. Never raises, waits for nobody, takes microseconds. Thread-safe."""

    def asked(self, visitor: str) -> None:
        """A visitor of a web page has asked. The name is only compared with others of the day, in memory."""
        ...

    def queued(self, waiting: int) -> None:
        """A question has come to the gate, where so many wait now."""
        ...

    def answered(self, answer: Answer) -> None:
        """A question has come to its end."""
        ...

    def requested(self, family: str, status: int) -> None:
        """An HTTP request has been answered; `family` is the routes' own name, "" where there was no such route."""
        ...


class Unmeasured:
    """Implements Measures where nobody looks: the command line, and tests of other things."""

    def asked(self, visitor: str) -> None: ...

    def queued(self, waiting: int) -> None: ...

    def answered(self, answer: Answer) -> None: ...

    def requested(self, family: str, status: int) -> None: ...


UNMEASURED = Unmeasured()


def end_by(error: BaseException) -> End | None:
    """How an answer ended that an exception ended; None where another connection goes on with it."""
    if isinstance(error, GeneratorExit):
        return "cancelled"
    if isinstance(error, TakenOver):
        return None
    if isinstance(error, ChatProxyError) and (error.status < 500 or error.code in ("busy", "unavailable")):
        return "refused"
    return "failed"


@dataclass(frozen=True, slots=True)
class Figures:
    """What happened in some span of time, on all of this appliance's proxies.

    requests      answered over HTTP, health checks and metrics aside; `errors` of them with a status of 500 or more
    answers       complete ones; `cancelled`, `failed` and `refused` are the others (see End)
    visitors      of web pages, counted with their first question of the day (UTC): a day's sum is that day's visitors
    waiting       the most that waited for the engine at the same time
    busy_s        seconds that slots of the engine were taken: 60 in a minute is one slot taken all the time
    first_token   answers by seconds to their first token, in the buckets of FIRST_TOKEN_S
    """

    requests: int = 0
    errors: int = 0
    answers: int = 0
    cancelled: int = 0
    failed: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    visitors: int = 0
    waiting: int = 0
    busy_s: float = 0.0
    first_token: tuple[int, ...] = (0,) * (len(FIRST_TOKEN_S) + 1)

    def plus(self, other: Figures) -> Figures:
        """Both spans together."""
        return Figures(
            self.requests + other.requests,
            self.errors + other.errors,
            self.answers + other.answers,
            self.cancelled + other.cancelled,
            self.failed + other.failed,
            self.refused + other.refused,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.visitors + other.visitors,
            max(self.waiting, other.waiting),
            self.busy_s + other.busy_s,
            tuple(mine + its for mine, its in zip(self.first_token, other.first_token, strict=True)),
        )

    def first_token_s(self, share: float) -> float | None:
        """Seconds within which `share` (0.5 = the median) of the answers had their first token; None without any.

        Within a bucket they are taken to lie evenly, as Prometheus' histogram_quantile does; the last bucket, which has
        no upper bound, tells its lower one.
        """
        counts = list(accumulate(self.first_token))
        if not counts[-1]:
            return None
        wanted = share * counts[-1]
        bucket = next(number for number, count in enumerate(counts) if count >= wanted and count)
        if bucket == len(FIRST_TOKEN_S):
            return FIRST_TOKEN_S[-1]
        low, below = (FIRST_TOKEN_S[bucket - 1], counts[bucket - 1]) if bucket else (0.0, 0)
        high, within = FIRST_TOKEN_S[bucket], max(1, counts[bucket] - below)
        return min(high, low + (high - low) * (wanted - below) / within)  # rounding may land just above `high`


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a chart: what happened from `at` on, for as long as the chart's step."""

    at: datetime
    figures: Figures


class MinuteStore(Protocol):
    """Figures by the minute, kept for 90 days. Every method raises StorageUnavailable."""

    def add(self, minute: datetime, figures: Figures) -> None:
        """Add to what is stored of that (full) minute."""
        ...

    def read(self, since: datetime, until: datetime, step: timedelta) -> Mapping[datetime, Figures]:
        """What is stored from `since` (included) to `until` (not), summed up over steps that begin with `since`.

        By the steps' beginnings; steps in which nothing happened are missing.
        """
        ...


def minutes(store: MinuteStore, since: datetime, until: datetime, step: timedelta = _MINUTE) -> Sequence[Point]:
    """A chart's points from `since` to `until`, oldest first; where nothing happened they are zeros.

    Steps are whole minutes and begin with full ones (a step of a day at 00:00 UTC): the first and the last may reach
    beyond what was asked for. What happened in the last ten seconds is not in yet. Raises StorageUnavailable, and
    InvalidRequest for a step or span that makes no chart.
    """
    if step < _MINUTE or step % _MINUTE:
        raise InvalidRequest("step: must be one or several whole minutes")
    first, last = (since - _EPOCH) // step, -((_EPOCH - until) // step)
    if not 0 < last - first <= MOST_POINTS:
        raise InvalidRequest(f"since, until: must give 1 to {MOST_POINTS} points")
    stored = store.read(_EPOCH + first * step, _EPOCH + last * step, step)
    moments = (_EPOCH + number * step for number in range(first, last))
    return [Point(moment, stored.get(moment, Figures())) for moment in moments]
