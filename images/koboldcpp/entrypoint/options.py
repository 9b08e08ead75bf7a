"""How weights are read and what goes on top of them: the variables that are one flag each, as this version spells it.

An operator's own flag of the same name wins over the variable.
"""

from __future__ import annotations

from .build import Build, Flag
from .flags import Request
from .plan import Plan
from .refusal import RefusedError
from .settings import Settings


def add_options(result: Plan, settings: Settings, build: Build, request: Request, *, uses_gpu: bool) -> None:
    """BATCH, MMAP, MLOCK, MMPROJ, LORA and TENSOR_SPLIT.

    Raises:
        RefusedError: this version cannot do what a variable asks for; the message names it.
    """
    _add_batch(result, settings, build, request)
    _add_loading(result, settings, build, request)
    if settings.projector and (flag := _free(result, build, request, "--mmproj", "MMPROJ")):
        result.add(flag.name, settings.projector)
    if settings.loras:
        _add_lora(result, settings, build, request)
    if settings.tensor_split:
        _add_split(result, settings, build, request, uses_gpu=uses_gpu)


def _free(result: Plan, build: Build, request: Request, name: str, variable: str) -> Flag | None:
    """The flag, where the operator has not used it."""
    flag = build.find(name)
    if flag is None:
        raise RefusedError(f"{variable}: koboldcpp {build.version} has no {name}")
    if flag.name in request.flags:
        result.warnings.append(f"{variable} is not used: KOBOLDCPP_ARGS or LAUNCH_COMMAND has {flag.name}")
        return None
    return flag


def _add_batch(result: Plan, settings: Settings, build: Build, request: Request) -> None:
    # Its older name, which every version knows.
    flag = build.find("--blasbatchsize")
    if settings.batch is None or flag is None or flag.name in request.flags:
        return
    if not flag.takes(str(settings.batch)):
        allowed = ", ".join(choice for choice in flag.choices if choice != "-1")
        raise RefusedError(f"BATCH={settings.batch}: koboldcpp {build.version} takes {allowed}")
    result.add(flag.name, settings.batch)


def _add_loading(result: Plan, settings: Settings, build: Build, request: Request) -> None:
    """Older versions map the weights unless told otherwise, newer ones only when told to."""
    if not request.flags.keys() & {"--usemmap", "--nommap"}:
        if settings.mmap is True and build.has("--usemmap"):
            result.add("--usemmap")
        elif settings.mmap is False and not build.has("--usemmap"):
            result.add("--nommap")
    if settings.mlock and "--usemlock" not in request.flags:
        result.add("--usemlock")


def _add_lora(result: Plan, settings: Settings, build: Build, request: Request) -> None:
    """One adapter: koboldcpp reads the first file of --lora, and took a second one for the base model before 1.102."""
    if len(settings.loras) > 1:
        raise RefusedError(
            f"LORA names {len(settings.loras)} adapters, and koboldcpp applies one; ENGINE=llamacpp applies several"
        )
    (lora,) = settings.loras
    flag = _free(result, build, request, "--lora", "LORA")
    if flag is None:
        return
    result.add(flag.name, lora.file)
    if lora.scale == 1 or "--loramult" in request.flags:
        return
    if not build.has("--loramult"):
        raise RefusedError(
            f"LORA={lora.file}:{lora.scale:g}: koboldcpp {build.version} applies an adapter fully or not at all; "
            "drop the scale"
        )
    result.add("--loramult", f"{lora.scale:g}")


def _add_split(result: Plan, settings: Settings, build: Build, request: Request, *, uses_gpu: bool) -> None:
    if not uses_gpu or build.backend == "clblast":
        reason = "computes on one card alone" if uses_gpu else "uses no GPU"
        result.warnings.append(f"TENSOR_SPLIT dropped: this image was built for {build.backend} and {reason}")
    elif flag := _free(result, build, request, "--tensor_split", "TENSOR_SPLIT"):
        result.add(flag.name, *(f"{share:g}" for share in settings.tensor_split))
