"""Makes koboldcpp's command line out of settings, the operator's own flags and what this build can do."""

from __future__ import annotations

from pathlib import Path

from .build import Build
from .flags import Policy, Reader, Request
from .model import Model
from .options import add_options
from .plan import Plan
from .refusal import RefusedError
from .settings import Settings

PORT = 5001
#: Requests that koboldcpp lets wait. The proxy's own queue stands in front, so this is only a reserve.
_WAITING = 10
#: Conversations whose prompts are kept in memory; more would only be reached by busier sites than one CPU serves.
_LEAST_KEPT, _MOST_KEPT = 6, 12
#: What --contextsize takes in every version, in tokens.
_MOST_CONTEXT = 262_144
#: The largest number of --useclblast.
_MOST_CLBLAST = 8
#: With one of these the operator has decided how prompts are kept.
_OWN_CACHES = {"--smartcache", "--parallelrequests", "--smartcontext"}
#: Memory that the program needs beside weights and contexts, in bytes.
_OVERHEAD = 512 * 1024 * 1024


def read_request(settings: Settings, build: Build, policy: Policy) -> Request:
    """What the operator's own words ask of this build.

    Raises:
        RefusedError: see `Reader.read`; or the words contradict a setting that others rely on.
    """
    reader = Reader(build, policy)
    reader.read(settings.words)
    request = reader.request
    context = request.flags.pop("--contextsize", None)
    if context and context != [str(settings.context_size)]:
        raise RefusedError(
            f"--contextsize {context[0]} contradicts CONTEXT_SIZE={settings.context_size}, which the proxy counts by: "
            f"set CONTEXT_SIZE={context[0]} in .env and drop the flag"
        )
    if "--smartcache" in request.flags and "--parallelrequests" in request.flags:
        raise RefusedError("--smartcache and --parallelrequests together crash koboldcpp: choose one")
    if request.model and settings.model and Path(request.model).name != Path(settings.model).name:
        request.warnings.append(f"the launch line's model {request.model} is not used: MODEL={settings.model} is set")
    return request


def plan(settings: Settings, build: Build, request: Request, model: Model, memory: int) -> Plan:
    """The command line's flags.

    Args:
        memory: bytes that the container may use, for everything.
    """
    result = Plan(["--model", str(model.path)], list(request.warnings))
    result.add("--host", "0.0.0.0")  # noqa: S104  # inside a container; its network is internal
    result.add("--port", PORT)
    result.add("--skiplauncher")
    result.add("--quiet")
    result.add("--multiuser", _WAITING + settings.slots)
    if settings.threads and "--threads" not in request.flags:
        result.add("--threads", settings.threads)
    uses_gpu = _add_backend(result, settings, build, request)
    add_options(result, settings, build, request, uses_gpu=uses_gpu)
    if _OWN_CACHES & request.flags.keys():  # the operator's choice
        result.add("--contextsize", settings.context_size)
    else:
        _add_cache(result, settings, build, request, model, memory, uses_gpu=uses_gpu)
    for name, values in request.flags.items():
        if name == "--gpulayers" and not uses_gpu:
            result.warnings.append(f"--gpulayers dropped: this image was built for {build.backend} and uses no GPU")
            continue
        result.add(name, *values)
    return result


def _add_backend(result: Plan, settings: Settings, build: Build, request: Request) -> bool:
    """Say where to compute; true where that is a GPU."""
    asked, values = request.backend or ("", [])
    own = {"cuda": "--usecuda", "vulkan": "--usevulkan", "clblast": "--useclblast"}.get(build.backend)
    if own and asked != "--usecpu":
        flag = build.find(own) or build.find({"--usecuda": "--usecublas"}.get(own, own))
        if flag is None:
            raise RefusedError(f"koboldcpp {build.version} has no {own}: build the image for another KOBOLDCPP_BACKEND")
        if asked not in ("", own):
            result.warnings.append(f"{asked} became {flag.name}: this image was built for {build.backend}")
            values = []
        if not all(flag.takes(value) for value in values):
            result.warnings.append(f"{flag.name}: koboldcpp {build.version} does not take {' '.join(values)}; dropped")
            values = []
        if settings.devices:
            values = _with_devices(result, settings, build, flag.name, values)
        result.add(flag.name, *(values or (["0", "0"] if own == "--useclblast" else [])))
        if "--gpulayers" not in request.flags:
            result.add("--gpulayers", settings.gpu_layers)
        return True
    if settings.devices:
        result.warnings.append(f"GPU_DEVICES dropped: this image was built for {build.backend} and uses no GPU")
    if asked == "--noblas" and build.backend == "openblas" and build.has("--noblas"):
        result.add("--noblas")
    elif asked not in ("", "--usecpu"):
        result.warnings.append(f"{asked} dropped: this image was built for {build.backend}")
    elif build.has("--usecpu"):
        result.add("--usecpu")  # or it looks for GPUs first
    return False


def _with_devices(result: Plan, settings: Settings, build: Build, flag: str, values: list[str]) -> list[str]:
    """The backend flag's values with GPU_DEVICES, where the operator's own name no card."""
    numbers = list(map(str, settings.devices))
    if any(value.isdecimal() for value in values):
        result.warnings.append(f"GPU_DEVICES is not used: {flag} {' '.join(values)} names its card")
        return values
    if build.backend == "cuda":
        # The flag takes one number of four; this takes all that there are. Counted as nvidia-smi counts them.
        result.environment.update(CUDA_DEVICE_ORDER="PCI_BUS_ID", CUDA_VISIBLE_DEVICES=",".join(numbers))
        return values
    if build.backend == "clblast":
        if len(numbers) > 1 or int(numbers[0]) > _MOST_CLBLAST:
            raise RefusedError(f"GPU_DEVICES={','.join(numbers)}: clblast takes one card, from 0 to {_MOST_CLBLAST}")
        return ["0", *numbers]
    return numbers


def _add_cache(
    result: Plan, settings: Settings, build: Build, request: Request, model: Model, memory: int, *, uses_gpu: bool
) -> None:
    """Choose how prompts are kept: batching on a GPU, snapshots in memory elsewhere, never both.

    Measured on 1.115.1: snapshots cut the time to the next turn's first token from 1.7 s to 0.1 s when conversations
    alternate; batching nearly doubles the tokens per second of four at once; both together crash.
    """
    slots = _batching_slots(settings, model) if uses_gpu and build.has("--parallelrequests") else 1
    # The slots share one context, so that it has to be as large as all of theirs.
    result.add("--contextsize", settings.context_size * slots)
    if slots > 1:
        result.add("--parallelrequests", slots)
        return
    flag = build.find("--smartcache")
    if flag is None or model.head is None or "--nofastforward" in request.flags:
        return
    kept = _conversations_kept(settings, model, memory)
    if settings.prompt_cache == 0:
        return
    if kept < 2:  # koboldcpp takes 1 for "as many as usual"
        result.warnings.append(
            "no --smartcache: the memory is too small to keep other conversations' contexts, so each change of "
            "conversation makes a prompt be read again. A larger ENGINE_MEMORY or PROMPT_CACHE, or a smaller "
            "CONTEXT_SIZE mends that"
        )
    elif flag.arity == "0":
        result.add("--smartcache")
    else:
        result.add("--smartcache", kept)


def _batching_slots(settings: Settings, model: Model) -> int:
    """How many of the slots asked for can be batched; 1 is no batching.

    Only GGUF models can be. A context beyond the trained one makes koboldcpp rescale the positions, for a single short
    conversation too, so the slots together stay within it.
    """
    if model.head is None:
        return 1
    most = min(model.head.trained_context or _MOST_CONTEXT, _MOST_CONTEXT)
    return max(1, min(settings.slots, most // settings.context_size))


def _conversations_kept(settings: Settings, model: Model, memory: int) -> int:
    """How many conversations' contexts fit into memory beside the weights and the context in use."""
    wanted = max(_LEAST_KEPT, min(settings.slots, _MOST_KEPT))
    context = model.head.context_bytes(settings.context_size) if model.head else None
    if not context:
        return wanted
    most = (memory - model.size - _OVERHEAD) // context - 1
    if settings.prompt_cache is not None:
        return min(settings.prompt_cache // context, _MOST_KEPT, most)
    return min(wanted, most)
