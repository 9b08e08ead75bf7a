"""Which threads, batch and way of loading are fastest here: candidates, rounds, noise, choice. It starts nothing."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

# A batch is read without a look at anybody else: visitors whose answers are being written wait for so long, in seconds.
_LONGEST_BATCH_S = 1.0
_BATCHES = (32, 64, 128, 256, 512)
# What gains less than this is not worth a line in .env.
_LEAST_GAIN = 0.01
# What is kept on the way gained so much in each round, or chance would choose among equals.
_LEAST_STEP = 0.02
# Rounds that disagree by more than this (in logarithms, a fifth) tell of what else the machine did, not of settings.
_MOST_NOISE = 0.2
# How often candidates are compared with each other, and the winner with the defaults.
_ROUNDS, _LAST_ROUNDS, _FEWEST_LAST_ROUNDS = 2, 5, 3


@dataclass(frozen=True)
class Knobs:
    """What is tried: threads, tokens of a prompt read in one go, and whether weights are mapped from their file."""

    threads: int
    batch: int
    mmap: bool = True

    def environment(self) -> dict[str, str]:
        """As the engine images take it."""
        return {"THREADS": str(self.threads), "BATCH": str(self.batch), "MMAP": "on" if self.mmap else "off"}

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{threads}, batch {self.batch}, mmap {'on' if self.mmap else 'off'}"


@dataclass(frozen=True)
class Figures:
    """Tokens per second: of a prompt that is read, of one answer, of all answers to several visitors at once."""

    prompt: float
    generated: float
    together: float

    def ratios(self, base: Figures) -> tuple[float, float, float]:
        return self.prompt / base.prompt, self.generated / base.generated, self.together / base.together

    def gain(self, base: Figures) -> float:
        """How much faster than `base`, the three taken as equals: 0.1 is a tenth, -0.1 a tenth slower (in logarithms).

        Logarithms, so that twice as fast here and half as fast there cancel out.
        """
        return statistics.fmean(math.log(ratio) for ratio in self.ratios(base))

    @staticmethod
    def median(of: Sequence[Figures]) -> Figures:
        return Figures(
            statistics.median(f.prompt for f in of),
            statistics.median(f.generated for f in of),
            statistics.median(f.together for f in of),
        )

    def __str__(self) -> str:
        return f"prompts {self.prompt:.0f}, answers {self.generated:.1f}, all at once {self.together:.1f} tokens/s"


class TrialFailedError(Exception):
    """An engine with these knobs did not start or answer; the text is its own."""


class Trial(Protocol):
    """An engine that is started with some knobs, measured and ended."""

    def measure(self, knobs: Knobs) -> Figures:
        """Raises TrialFailedError."""
        ...


@dataclass(frozen=True)
class Step:
    """What was just measured, and how far the search is. `left_s` is None until one measurement has shown its time."""

    knobs: Knobs
    figures: Figures | None
    done: int
    total: int
    left_s: float | None
    trouble: str = ""


@dataclass(frozen=True)
class Outcome:
    """The winner against the defaults, side by side in the last rounds.

    `gain` is the median of the rounds' gains, `noise` what it may be off by; `chosen` is the winner where it gained
    more than that and lost in nothing, and the rounds agree well enough to tell; else the defaults.
    """

    default: Knobs
    winner: Knobs
    chosen: Knobs
    before: Figures
    after: Figures
    gain: float
    noise: float

    @property
    def better(self) -> bool:
        return self.chosen != self.default

    @property
    def unsure(self) -> bool:
        """Whether the rounds disagree too much for any choice."""
        return self.noise > _MOST_NOISE


def thread_counts(cores: int, cpus: int) -> tuple[int, ...]:
    """From one to the physical cores to the logical ones: all of them where they are few."""
    if cpus <= 4:
        return tuple(range(1, cpus + 1))
    shares = {cores // 2, cores * 3 // 4, cores, (cores + cpus) // 2, cpus}
    return tuple(sorted(count for count in shares if 1 <= count <= cpus))


@dataclass
class Search:
    """Threads first, then the batch, then the way of loading, each with the best so far; at last against the defaults.

    Every round measures all of its candidates, the best so far among them, each time in another order: what else the
    machine does meets all of them alike.

    Attributes:
        threads: counts to try.
        interruptible: the engine looks up between two batches, so that long ones are felt by others.
        budget_s: how long it may take; where a measurement takes long there are fewer rounds.
    """

    trial: Trial
    default: Knobs
    threads: Sequence[int]
    interruptible: bool = True
    budget_s: float = 300.0
    tell: Callable[[Step], None] = lambda step: None
    clock: Callable[[], float] = time.monotonic
    _done: int = 0
    _spent: float = 0.0
    _total: int = 0
    _rounds: int = _ROUNDS
    _speed: dict[Knobs, float] = field(default_factory=dict)

    def run(self) -> Outcome:
        """Raises TrialFailedError where not even the defaults can be measured."""
        self._measure(self.default)  # warms up; its figures count for nothing but for how long all will take
        best = self._best(self.default, [replace(self.default, threads=count) for count in self.threads])
        best = self._best(best, [replace(best, batch=batch) for batch in self._batches(best)])
        best = self._best(best, [replace(best, mmap=not best.mmap)])
        return self._against_default(best)

    def _batches(self, best: Knobs) -> Iterable[int]:
        """What does not hold others up for longer than the defaults do."""
        within = self._speed.get(best, 0.0) * _LONGEST_BATCH_S
        return (batch for batch in _BATCHES if not self.interruptible or batch <= max(self.default.batch, within))

    def _best(self, so_far: Knobs, others: Sequence[Knobs]) -> Knobs:
        contenders = [so_far, *(knobs for knobs in dict.fromkeys(others) if knobs != so_far)]
        rounds = self._rounds
        found: dict[Knobs, list[Figures]] = {knobs: [] for knobs in contenders}
        for number in range(rounds):
            for knobs in contenders[number:] + contenders[:number]:
                figures = self._measure(knobs)
                if figures is not None:
                    found[knobs].append(figures)
        base = found[so_far]
        if len(base) < rounds:
            raise TrialFailedError(f"{so_far} could be measured once, and now cannot")
        self._speed[so_far] = statistics.median(figures.prompt for figures in base)
        gains = {
            knobs: [one.gain(other) for one, other in zip(figures, base, strict=True)]
            for knobs, figures in found.items()
            if len(figures) == rounds
        }
        faster = [knobs for knobs, each in gains.items() if min(each) > _LEAST_STEP]
        best = max(faster, key=lambda knobs: statistics.median(gains[knobs]), default=so_far)
        self._speed[best] = statistics.median(figures.prompt for figures in found[best])
        return best

    def _against_default(self, winner: Knobs) -> Outcome:
        fitting = (self.budget_s - self._spent) / max(2 * self._each(), 1e-9)
        rounds = max(_FEWEST_LAST_ROUNDS, min(_LAST_ROUNDS, int(fitting))) if winner != self.default else 1
        self._total = self._done + 2 * rounds
        before: list[Figures] = []
        after: list[Figures] = []
        for number in range(rounds):
            pair = [(self.default, before), (winner, after)]
            for knobs, found in pair if number % 2 else reversed(pair):
                figures = self._measure(knobs)
                if figures is None:
                    raise TrialFailedError(f"{knobs} could be measured once, and now cannot")
                found.append(figures)
        return judge(self.default, winner, before, after)

    def _measure(self, knobs: Knobs) -> Figures | None:
        """None where the engine does not take these knobs; the defaults it must take."""
        began = self.clock()
        figures, trouble = None, ""
        try:
            figures = self.trial.measure(knobs)
        except TrialFailedError as failed:
            if knobs == self.default:
                raise
            trouble = str(failed)
        self._done += 1
        self._spent += self.clock() - began
        if self._done == 1:
            self._plan()
        left = self._each() * max(0, self._total - self._done)
        self.tell(Step(knobs, figures, self._done, max(self._total, self._done), left, trouble))
        return figures

    def _plan(self) -> None:
        """How many rounds the time allows, now that one measurement has shown what each takes."""
        # Threads, batches and ways of loading, the best so far among each.
        candidates = len({*self.threads, self.default.threads}) + len(_BATCHES) + 2
        self._total = 1 + _ROUNDS * candidates + 2 * _LAST_ROUNDS
        if self._each() * self._total > self.budget_s:
            self._rounds = 1
            self._total = 1 + candidates + 2 * _FEWEST_LAST_ROUNDS

    def _each(self) -> float:
        return self._spent / self._done if self._done else 0.0


def judge(default: Knobs, winner: Knobs, before: Sequence[Figures], after: Sequence[Figures]) -> Outcome:
    """Whether the winner is better than the defaults by more than the noise, and worse in nothing by more than that.

    Nor is any choice made where the noise is large.
    It is twice the standard error of the median: 1.25 s / sqrt(n), with s from the median absolute deviation.
    """

    def spread(values: Sequence[float]) -> tuple[float, float]:
        middle = statistics.median(values)
        deviation = 1.4826 * statistics.median(abs(value - middle) for value in values)
        return middle, max(_LEAST_GAIN, 2 * 1.25 * deviation / math.sqrt(len(values)))

    gain, noise = spread([one.gain(other) for one, other in zip(after, before, strict=True)])
    ratios = zip(*(one.ratios(other) for one, other in zip(after, before, strict=True)), strict=True)
    each = [spread([math.log(ratio) for ratio in of_one]) for of_one in ratios]
    better = noise <= _MOST_NOISE and gain > noise and all(middle > -error for middle, error in each)
    chosen = winner if better else default
    return Outcome(default, winner, chosen, Figures.median(before), Figures.median(after), gain, noise)


def settings_of(outcome: Outcome) -> Mapping[str, str]:
    """The settings of `.env` that stand for the choice; what is as by default stays with the program."""
    chosen, default = outcome.chosen, outcome.default
    return {
        "THREADS": "auto" if chosen.threads == default.threads else str(chosen.threads),
        "ENGINE_BATCH": "auto" if chosen.batch == default.batch else str(chosen.batch),
        "ENGINE_MMAP": "on" if chosen.mmap else "off",
    }
