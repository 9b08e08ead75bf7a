"""The search for the fastest settings, over an engine whose speed is a formula."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from scripts.lib import dotenv, paths, trials, tune_here
from scripts.lib.failure import Failure
from scripts.lib.trials import DockerStarter
from scripts.lib.tuning import (
    Figures,
    Knobs,
    Outcome,
    Search,
    Step,
    TrialFailedError,
    judge,
    settings_of,
    thread_counts,
)

DEFAULT = Knobs(4, 64)
FLAT = Figures(400, 90, 180)


@dataclass
class Formula:
    """An engine that is as fast as `speed` says, give or take `noise`, on a machine that gets slower all the time."""

    speed: Callable[[Knobs], Figures | None]
    noise: float = 0.0
    drift: float = 0.0
    asked: list[Knobs] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        self._random = random.Random(7)

    def measure(self, knobs: Knobs) -> Figures:
        self.asked.append(knobs)
        self.now += 5.0
        figures = self.speed(knobs)
        if figures is None:
            raise TrialFailedError("it ended")
        slower = (1 - self.drift) ** len(self.asked)
        values = [
            value * slower * (1 + self._random.uniform(-self.noise, self.noise))
            for value in (figures.prompt, figures.generated, figures.together)
        ]
        return Figures(*values)

    def clock(self) -> float:
        return self.now


def search(trial: Formula, **options: object) -> Outcome:
    given = {"threads": thread_counts(4, 8), "budget_s": 600.0, "clock": trial.clock, **options}
    return Search(trial, DEFAULT, **given).run()  # type: ignore[arg-type]


def better_with(knobs: Knobs, factor: float = 1.3) -> Callable[[Knobs], Figures]:
    """Each knob that is as in `knobs` and not as by default makes all a third faster."""

    def speed(given: Knobs) -> Figures:
        names = [name for name in ("threads", "batch", "mmap") if getattr(knobs, name) != getattr(DEFAULT, name)]
        times = factor ** sum(getattr(given, name) == getattr(knobs, name) for name in names)
        return Figures(FLAT.prompt * times, FLAT.generated * times, FLAT.together * times)

    return speed


@pytest.mark.parametrize("best", [Knobs(6, 64), Knobs(4, 256), Knobs(4, 64, mmap=False), Knobs(3, 128, mmap=False)])
def test_each_knob_is_found_and_all_of_them_together(best: Knobs) -> None:
    outcome = search(Formula(better_with(best), noise=0.02))
    assert outcome.winner == outcome.chosen == best
    assert outcome.better and outcome.gain > outcome.noise
    assert outcome.after.prompt > outcome.before.prompt


def test_a_machine_that_slows_down_meanwhile_misleads_nobody() -> None:
    assert search(Formula(better_with(Knobs(6, 64)), drift=0.02)).chosen == Knobs(6, 64)
    assert search(Formula(lambda knobs: FLAT, drift=0.02)).chosen == DEFAULT


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1, 0.4])
def test_among_equals_the_defaults_stay(noise: float) -> None:
    assert search(Formula(lambda knobs: FLAT, noise=noise)).chosen == DEFAULT


def test_what_is_faster_in_one_thing_and_slower_in_another_is_not_taken() -> None:
    trade = Figures(FLAT.prompt * 3, FLAT.generated * 0.8, FLAT.together)
    outcome = search(Formula(lambda knobs: trade if knobs.threads == 8 else FLAT))
    assert outcome.winner == Knobs(8, 64) and outcome.chosen == DEFAULT


def test_a_batch_that_would_hold_others_up_is_not_tried() -> None:
    slow = Formula(lambda knobs: Figures(130, 20, 30))
    search(slow)
    assert {knobs.batch for knobs in slow.asked} == {32, 64, 128}
    alone = Formula(lambda knobs: Figures(10, 2, 2))
    search(alone)
    assert {knobs.batch for knobs in alone.asked} == {32, 64}
    unhurried = Formula(lambda knobs: Figures(10, 2, 2))
    search(unhurried, interruptible=False)
    assert {knobs.batch for knobs in unhurried.asked} == {32, 64, 128, 256, 512}


def test_an_engine_that_does_not_start_with_some_knobs_is_passed_over() -> None:
    steps: list[Step] = []
    picky = Formula(lambda knobs: None if not knobs.mmap or knobs.threads > 6 else better_with(Knobs(6, 64))(knobs))
    assert search(picky, tell=steps.append).chosen == Knobs(6, 64)
    failed = [step for step in steps if step.figures is None]
    assert failed and all(step.trouble == "it ended" for step in failed)


def test_an_engine_that_does_not_start_at_all_ends_the_search() -> None:
    with pytest.raises(TrialFailedError, match="it ended"):
        search(Formula(lambda knobs: None))


def test_the_time_left_is_told_and_a_slow_machine_gets_fewer_rounds() -> None:
    steps: list[Step] = []
    roomy, short = Formula(better_with(Knobs(6, 64))), Formula(better_with(Knobs(6, 64)))
    search(roomy, tell=steps.append)
    assert [step.done for step in steps] == list(range(1, len(steps) + 1))
    assert steps[-1].done == steps[-1].total and steps[-1].left_s == 0
    assert steps[0].left_s == pytest.approx(5.0 * (steps[0].total - 1))
    told: list[Step] = []
    assert search(short, budget_s=30.0, tell=told.append).chosen == Knobs(6, 64)
    assert len(short.asked) < len(roomy.asked) * 0.7
    assert told[0].total < steps[0].total * 0.7  # said from the first line on


def test_noise_is_what_the_rounds_disagree_about() -> None:
    base = [FLAT] * 5
    even = [replace(FLAT, prompt=FLAT.prompt * 1.2)] * 5
    assert judge(DEFAULT, Knobs(6, 64), base, even).better
    uneven = [replace(FLAT, prompt=FLAT.prompt * times) for times in (0.5, 1.2, 0.6, 2.0, 1.9)]
    outcome = judge(DEFAULT, Knobs(6, 64), base, uneven)
    assert outcome.noise > outcome.gain and outcome.chosen == DEFAULT


def test_rounds_that_disagree_wildly_choose_nothing_however_large_the_gain_looks() -> None:
    lucky = [replace(FLAT, prompt=FLAT.prompt * times) for times in (20.0, 37.0, 11.0, 49.0, 8.0)]
    outcome = judge(DEFAULT, Knobs(6, 64), [FLAT] * 5, lucky)
    assert outcome.gain > outcome.noise and outcome.unsure and outcome.chosen == DEFAULT


def test_threads_are_tried_from_one_to_the_logical_processors() -> None:
    assert thread_counts(2, 2) == (1, 2)
    assert thread_counts(2, 4) == (1, 2, 3, 4)
    assert thread_counts(8, 16) == (4, 6, 8, 12, 16)
    assert thread_counts(16, 16) == (8, 12, 16)


# --- what comes of it ---


def outcome(chosen: Knobs) -> Outcome:
    after = Figures(512.34, 95, 151)
    return Outcome(DEFAULT, chosen, chosen, FLAT, after, 0.1, 0.02)


ENV = "# mine\r\nDOMAIN=a.org\r\nTHREADS=3 # my own\r\n\r\n#THREADS=9\r\nENGINE_MMAP='on'"


def test_the_choice_goes_into_env_and_the_rest_stays_byte_for_byte(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(ENV.encode())
    assert tune_here.apply(outcome(Knobs(6, 128, mmap=False)), file, "2026-11-22")
    remark = (
        "# make tune, 2026-11-22: prompts 400.0 -> 512.3, answers 90.0 -> 95.0, all at once 180.0 -> 151.0 tokens/s "
        "(defaults -> these)\r\n"
    )
    assert file.read_bytes().decode() == (
        f"# mine\r\nDOMAIN=a.org\r\n{remark}THREADS=6 # my own\r\n\r\n#THREADS=9\r\n{remark}ENGINE_MMAP=off\r\n"
        f"{remark}ENGINE_BATCH=128\r\n"
    )
    assert dotenv.parse(file.read_text())["THREADS"] == "6"
    again = outcome(Knobs(8, 128, mmap=False))
    assert tune_here.apply(again, file, "2026-12-01")
    assert file.read_text().count("make tune, 2026-11-22") == 2
    assert file.read_text().count("make tune, 2026-12-01") == 1
    assert not tune_here.apply(again, file)


def test_defaults_that_won_are_left_to_the_program(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("DOMAIN=a.org\n")
    assert not tune_here.apply(outcome(DEFAULT), file)
    assert file.read_text() == "DOMAIN=a.org\n"
    file.write_text("THREADS=2\n")
    assert tune_here.apply(outcome(DEFAULT), file, "2026-11-22")
    assert file.read_text() == "# make tune, 2026-11-22: nothing beat the defaults\nTHREADS=auto\n"
    assert settings_of(outcome(DEFAULT)) == {"THREADS": "auto", "ENGINE_BATCH": "auto", "ENGINE_MMAP": "on"}


def test_a_trial_s_container_is_the_engine_s_own_cut_off_from_everything() -> None:
    service = {
        "image": "chatbot-llamacpp:local",
        "environment": {"MODEL": "/models/m.gguf", "THREADS": "2", "CONTEXT_SIZE": "4096", "LAUNCH_COMMAND": None},
        "volumes": [{"type": "bind", "source": "/srv/models", "target": "/models", "read_only": True}],
        "cpus": 1.5,
        "mem_limit": "3221225472",
        "ulimits": {"memlock": 65536},
    }
    starter = DockerStarter(service, "chatbot-tune", "openai", {"CONTEXT_SIZE": "2048"})
    line = " ".join(starter.options(Knobs(6, 128, mmap=False).environment()))
    for part in (
        "--network none --read-only",
        "--cap-drop ALL",
        "--cpus 1.5 --memory 3221225472",
        "--ulimit memlock=65536:65536",
        "--volume /srv/models:/models:ro",
        "--env MODEL=/models/m.gguf",
        "--env CONTEXT_SIZE=2048",
        "--env THREADS=6",
        "--env BATCH=128",
        "--env MMAP=off",
        "--env LAUNCH_COMMAND=",
    ):
        assert part in line
    assert "THREADS=2" not in line and "4096" not in line


def test_a_trial_that_was_left_behind_goes_with_the_next_up_or_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    trials.remove_left("mine")
    assert (tmp_path / "asked").read_text() == "rm --force --volumes mine-tune\n"
    for module in ("bring_up", "stopping"):
        assert "trials.remove_left(" in (paths.ROOT / "scripts" / "lib" / f"{module}.py").read_text()


def test_two_models_must_fit_into_memory_unless_the_operator_accepts_that(capsys: pytest.CaptureFixture[str]) -> None:
    starter = DockerStarter({}, "chatbot-tune", "openai", {})
    small = tune_here.Plan(starter, "llamacpp", "m", DEFAULT, (1, 2), 4, 2048, memory=1 << 20)
    tune_here.check_room(small, frozenset())
    huge = replace(small, memory=1 << 50)
    with pytest.raises(Failure) as refused:
        tune_here.check_room(huge, frozenset())
    assert refused.value.id == "tune.no_memory"
    tune_here.check_room(huge, frozenset({"tune.no_memory"}))
    assert "warning tune.no_memory" in capsys.readouterr().err


def test_a_busy_machine_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 <= tune_here.share_in_use(0.02) <= 1
    tune_here.warn_of_load(0.1)
    assert capsys.readouterr().err == ""
    tune_here.warn_of_load(0.5)
    warned = capsys.readouterr().err
    assert "tune.machine_busy" in warned and "50 %" in warned


def test_the_report_shows_both_sides_and_what_comes_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    tune_here.report(outcome(Knobs(6, 128)), 4)
    shown = capsys.readouterr().out
    assert "400.0" in shown and "512.3" in shown and "4 at once" in shown
    assert "gained 10.5 %, noise 2.0 %" in shown and "the defaults stay" not in shown
    tune_here.report(outcome(DEFAULT), 4)
    assert "the defaults stay" in capsys.readouterr().out
