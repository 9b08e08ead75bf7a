"""`make tune` around the search: which engine is tried, whether there is room for it, what is told and written."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.lib import compose, dev_stack, dotenv, engine_values, findings, host_facts, log, paths, resolve, shapes
from scripts.lib import settings as operator
from scripts.lib.dev_stack import DevStack
from scripts.lib.failure import Failure
from scripts.lib.reckoning import need
from scripts.lib.trials import DockerStarter, NativeStarter, Starter, container_of
from scripts.lib.tuning import Figures, Knobs, Outcome, Step, settings_of, thread_counts

MARK = "make tune,"
# A trial's conversations are short, so it takes less memory than the engine it stands for.
_CONTEXT = 2048
# More than this share of the processors in use by others spoils the figures.
_BUSY = 0.2


@dataclass(frozen=True)
class Plan:
    """What is tried. `visitors` ask at once; `memory` is what a trial's engine takes, in bytes."""

    starter: Starter
    engine: str
    model: str
    default: Knobs
    threads: tuple[int, ...]
    visitors: int
    context: int
    memory: int


def plan() -> Plan:
    """For `make dev` where that runs, else for what `make up` has set up. Failure where nothing can be tuned."""
    stack = dev_stack.running()
    return _native(stack) if stack else _composed()


def _native(stack: DevStack) -> Plan:
    model = Path(stack.environment["MODEL_FILE"])
    slots, context = int(stack.environment["ENGINE_SLOTS"]), _trial_context(stack.environment["CONTEXT_SIZE"])
    cores, cpus = _processors("auto")
    batch = engine_values.batch("llamacpp", gpu=False)
    environment = {"ENGINE_SLOTS": str(slots), "CONTEXT_SIZE": str(context), "PROMPT_CACHE_MIB": "0"}
    return Plan(
        NativeStarter(stack.python, model, environment),
        "llamacpp",
        model.name,
        Knobs(cores, batch),
        thread_counts(cores, cpus),
        slots,
        context,
        _memory(model, context, slots, batch),
    )


def _composed() -> Plan:
    appliance = compose.current()
    values = resolve.earlier()
    wanted = operator.load(environ=values)
    engine = values["ENGINE_RESOLVED"]
    if engine == "external":
        raise Failure("tune.engine_elsewhere", "ENGINE=external: the engine runs elsewhere", "tune it where it runs")
    if values.get("GPU") == "1":
        fact = "the model is computed on the GPU, where the processor's threads and batches change little"
        raise Failure("tune.gpu", fact, "GPU_LAYERS, TENSOR_SPLIT and ENGINE_BATCH in .env are what counts there")
    file = paths.MODELS / values["MODEL_FILE"]
    if not file.is_file():
        raise Failure("model.missing", f"models/{file.name} is not there", "`make up` fetches it")
    slots, context = int(values["ENGINE_SLOTS_RESOLVED"]), _trial_context(wanted["CONTEXT_SIZE"])
    cores, cpus = _processors(wanted["ENGINE_CPUS"])
    batch = engine_values.batch(engine, gpu=False)
    environment = {"CONTEXT_SIZE": str(context), "PROMPT_CACHE_MIB": "0"}
    service = appliance.config()["services"]["engine"]
    return Plan(
        DockerStarter(service, container_of(appliance.project), values["ENGINE_API"], environment),
        engine,
        values["MODEL_NAME"],
        Knobs(engine_values.threads(cores, wanted["ENGINE_CPUS"]), batch),
        thread_counts(cores, cpus),
        slots,
        context,
        _memory(file, context, slots, batch),
    )


def _memory(model: Path, context: int, slots: int, batch: int) -> int:
    return need(model.stat().st_size, shapes.shape(model), context=context, slots=slots, batch=batch).total


def _trial_context(size: str) -> int:
    return min(int(size), _CONTEXT)


def _processors(engine_cpus: str) -> tuple[int, int]:
    """(physical cores, CPUs) that the engine may use."""
    cpus = len(os.sched_getaffinity(0))
    cores = min(host_facts.cpu()[1], cpus)
    within = cpus if engine_cpus == "auto" else max(1, min(cpus, int(float(engine_cpus))))
    return min(cores, within), within


def check_room(planned: Plan, waved: frozenset[str]) -> None:
    """Failure where the visitors' engine and a trial do not both fit into memory, unless the operator accepts that."""
    free = host_facts.available_memory()
    if planned.memory <= free:
        return
    fact = (
        f"a second engine with {planned.model} takes about {log.size(planned.memory)} of memory, and {log.size(free)} "
        "are free: the system might end one of them"
    )
    hint = "`make down`, tune, `make up`; or ACCEPT=tune.no_memory"
    finding = findings.Finding("tune.no_memory", findings.ERROR, fact, hint)
    if finding.id not in waved:
        raise Failure(finding.id, fact, hint)
    findings.report([finding], waved)


def warn_of_load(share: float) -> None:
    """Say so where others use the processors: `share` from 0 to 1."""
    if share > _BUSY:
        fact = f"{100 * share:.0f} % of the processors are in use by others, so what is measured now may not hold later"
        hint = "try again at a quiet time"
        findings.report([findings.Finding("tune.machine_busy", findings.WARNING, fact, hint)])


def share_in_use(seconds: float = 1.0, stat: Path = Path("/proc/stat")) -> float:
    """How much of all processors is in use for so long, 0 to 1."""
    began = _ticks(stat)
    time.sleep(seconds)
    busy, passed = (late - early for late, early in zip(_ticks(stat), began, strict=True))
    return busy / passed if passed else 0.0


def _ticks(stat: Path) -> tuple[int, int]:
    """(in use, all) of all processors since the machine started, in the kernel's ticks."""
    # cpu user nice system idle iowait irq softirq steal ...; guests are counted within user.
    counts = [int(word) for word in stat.read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    return sum(counts) - counts[3] - counts[4], sum(counts)


def tell(step: Step) -> None:
    """One line for each measurement, with its figures and how long the rest will take."""
    found = str(step.figures) if step.figures else f"does not run: {step.trouble}"
    left = f", about {log.duration(step.left_s)} left" if step.left_s and step.done < step.total else ""
    log.info(f"[{step.done} of {step.total}{left}] {step.knobs}: {found}")


def report(outcome: Outcome, visitors: int) -> None:
    """The last rounds' figures, side by side, and what comes of them."""
    rows = [("", "prompts", "one answer", f"{visitors} at once")]
    sides = [("defaults", outcome.default, outcome.before), ("best found", outcome.winner, outcome.after)]
    for name, knobs, figures in sides if outcome.winner != outcome.default else sides[:1]:
        shown = f"{figures.prompt:.1f}", f"{figures.generated:.1f}", f"{figures.together:.1f}"
        rows.append((f"{name}: {knobs}", *shown))
    width = max(len(row[0]) for row in rows)
    log.result(f"{'tokens/s':<{width}}  {rows[0][1]:>10}  {rows[0][2]:>10}  {rows[0][3]:>10}")
    for row in rows[1:]:
        log.result(f"{row[0]:<{width}}  {row[1]:>10}  {row[2]:>10}  {row[3]:>10}")
    if outcome.winner != outcome.default:
        log.result(f"gained {_percent(outcome.gain)}, noise {_percent(outcome.noise)} (medians of paired rounds)")
    if outcome.unsure:
        log.result(
            "the defaults stay: the rounds disagree too much to tell; try again while the machine has nothing to do"
        )
    elif not outcome.better:
        log.result("the defaults stay: nothing was faster than they are by more than the noise")


def _percent(logarithm: float) -> str:
    return f"{100 * math.expm1(logarithm):.1f} %"


def apply(outcome: Outcome, env_file: Path = paths.ENV_FILE, today: str = "") -> bool:
    """Write the choice into .env where it differs from what stands there. True when the file was changed."""
    text = operator.read(env_file)
    present = {name: operator.SETTINGS[name].default for name in settings_of(outcome)} | dotenv.parse(text)
    changes = {name: value for name, value in settings_of(outcome).items() if present[name] != value}
    if not changes:
        return False
    dotenv.write_private(env_file, dotenv.with_values(text, changes, remark(outcome, today), MARK))
    return True


def remark(outcome: Outcome, today: str = "") -> str:
    """The figures in one line, for the comment beside the settings."""
    day = today or time.strftime("%Y-%m-%d")
    shown = _arrow(outcome.before, outcome.after) if outcome.better else "nothing beat the defaults"
    return f"{MARK} {day}: {shown}"


def _arrow(before: Figures, after: Figures) -> str:
    parts = [
        f"{name} {one:.1f} -> {two:.1f}"
        for name, one, two in (
            ("prompts", before.prompt, after.prompt),
            ("answers", before.generated, after.generated),
            ("all at once", before.together, after.together),
        )
    ]
    return f"{', '.join(parts)} tokens/s (defaults -> these)"


def lines(chosen: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in chosen.items()]
