"""llama.cpp's own HTTP server on port 5001, started from the environment that every engine image takes.

The server is the one inside the `xllamacpp` wheel: OpenAI's `/v1/completions`, llama.cpp's `/tokenize`, `/slots`,
`/health` and its web page. It speaks plain HTTP to whoever reaches it, so it belongs on an internal network only.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import xllamacpp

GGUF_MAGIC = b"GGUF"
# Tokens of a prompt that a CPU reads in one go: small enough to stop within a second, large enough to read as fast.
CPU_BATCH = 64
# An image's tokens must fit into one batch where the model looks at all of them at once (Gemma 3 has 256 of them).
VISION_BATCH = 512
# The library's own numbers: what a GPU computes in one go, and what is handed to it, in tokens.
GPU_BATCH, GPU_QUEUE = 512, 2048


def _fail(text: str) -> NoReturn:
    print(f"llamacpp: {text}", file=sys.stderr, flush=True)
    raise SystemExit(2)


def _text(environment: Mapping[str, str], name: str) -> str:
    """The value; "" where it is not set, and for the words that leave it to this program."""
    raw = environment.get(name, "").strip()
    return "" if raw in ("auto", "all") else raw


def _number(environment: Mapping[str, str], name: str, default: int, least: int) -> int:
    raw = _text(environment, name) or str(default)
    try:
        value = int(raw)
    except ValueError:
        _fail(f"{name}={raw!r} is not a whole number")
    if value < least:
        _fail(f"{name}={value} is below {least}")
    return value


def _switch(environment: Mapping[str, str], name: str, *, default: bool) -> bool:
    raw = _text(environment, name)
    if raw not in ("", "on", "off"):
        _fail(f"{name}={raw!r} is neither on nor off")
    return raw == "on" if raw else default


def cores(root: Path = Path("/sys")) -> int:
    """Physical cores that this process may use: by its CPU mask, and by its control group's share of time."""
    allowed = os.sched_getaffinity(0)
    siblings = {
        _read(root / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in allowed
    }
    # "max 100000" or "150000 100000": microseconds of computing in each period of so many.
    quota, _, period = _read(root / "fs/cgroup/cpu.max").partition(" ")
    share = int(quota) // int(period) if quota.isdecimal() and period.isdecimal() else len(siblings)
    return max(1, min(len(siblings), share))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _list(environment: Mapping[str, str], name: str) -> list[str]:
    raw = _text(environment, name)
    parts = [part.strip() for part in raw.split(",")] if raw else []
    if not all(parts):
        _fail(f"{name}={raw!r} has nothing between two commas")
    return parts


def _gguf(name: str, path: str, hint: str = "") -> str:
    """Checks the file before llama.cpp does: its own message for a half file is a stack of C++ lines."""
    file = Path(path)
    if not file.is_file():
        _fail(f"{name}={path} is not a file here. Put the weights into models/ and name them in {name}.")
    with file.open("rb") as weights:
        magic = weights.read(4)
    if magic != GGUF_MAGIC:
        _fail(f"{name}={path} is no GGUF file (it begins with {magic!r}).{hint}")
    return str(file)


def _loras(environment: Mapping[str, str]) -> list[tuple[str, float]]:
    """(path, scale) of each adapter; LORA is paths with commas between, each with its :scale or fully applied."""
    found = []
    for part in _list(environment, "LORA"):
        file, colon, raw = part.rpartition(":")
        try:
            scale = float(raw) if colon else 1.0
        except ValueError:
            scale = math.nan
        if not math.isfinite(scale):
            _fail(f"LORA={part!r}: behind the colon stands the scale, a number as 0.5")
        found.append((_gguf("LORA", file if colon else part), scale))
    return found


def _shares(environment: Mapping[str, str], cards: int) -> list[float]:
    """Each card's share of the model, filled up to as many cards as the library knows; empty = by their memory."""
    raw = _text(environment, "TENSOR_SPLIT")
    try:
        shares = [float(part) for part in _list(environment, "TENSOR_SPLIT")]
    except ValueError:
        shares = [math.nan]
    if not raw:
        return []
    if len(shares) > cards or not all(0 <= share < math.inf for share in shares) or not any(shares):
        _fail(f"TENSOR_SPLIT={raw!r} is not a list of shares, one number for each card, as 3,1")
    return shares + [0.0] * (cards - len(shares))


def choose_cards(environment: MutableMapping[str, str]) -> None:
    """GPU_DEVICES, told to the GPU libraries in their own variables. They look once: before the engine is loaded."""
    parts = _list(environment, "GPU_DEVICES")
    if not parts:
        return
    if not all(part.isdecimal() for part in parts) or len(set(map(int, parts))) < len(parts):
        _fail(f"GPU_DEVICES={environment['GPU_DEVICES']!r} is neither all nor a list of different numbers, as 0,1")
    chosen = ",".join(str(int(part)) for part in parts)
    # By place on the bus, as nvidia-smi counts them; else CUDA puts the fastest first.
    environment.update(CUDA_DEVICE_ORDER="PCI_BUS_ID", CUDA_VISIBLE_DEVICES=chosen, GGML_VK_VISIBLE_DEVICES=chosen)


def parameters(environment: Mapping[str, str]) -> xllamacpp.CommonParams:
    """The engine's parameters. SystemExit, with a line that names variable and value, where one cannot be.

    CONTEXT_SIZE is in tokens for ONE conversation; llama.cpp divides `n_ctx` among its slots, so it is multiplied here.
    """
    import xllamacpp

    slots = _number(environment, "ENGINE_SLOTS", 4, 1)
    context = _number(environment, "CONTEXT_SIZE", 4096, 256)
    params = xllamacpp.CommonParams()
    hint = " GGML .bin files need ENGINE=koboldcpp."
    params.model.path = _gguf("MODEL", environment.get("MODEL", ""), hint)
    # The file's name, not its path: it is shown to clients.
    params.model_alias = {Path(params.model.path).name}
    params.n_ctx = context * slots
    params.n_parallel = slots
    params.n_gpu_layers = _number(environment, "GPU_LAYERS", 0, -1)
    threads = _number(environment, "THREADS", cores(), 1)
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    # Prompts of conversations that lost their slot are kept here, in MiB: with it the next turn starts in 0.03 s
    # instead of 1.5 s when more conversations alternate than there are slots. The library's default, 8 GiB, is a small
    # VPS's whole memory.
    params.cache_ram_mib = _number(environment, "PROMPT_CACHE_MIB", 256, 0)
    _add_vision_and_loras(params, environment)
    _add_batch(params, environment)
    _add_loading(params, environment)
    shares = _shares(environment, len(params.tensor_split))
    if shares:
        params.tensor_split = shares
    # A request that overflows must fail: shifting the context would drop the system text without a word.
    params.ctx_shift = False
    # Copies of a sliding window, to take a conversation up where it was left: each is as large as the window's keys and
    # values, and the library's default of 32 for a slot can be more than the model. Reckoned with in core/fitting.py.
    params.n_ctx_checkpoints = 2
    # Reserve the memory asked for or stop; never shrink CONTEXT_SIZE behind the operator's back.
    params.fit_params = False
    params.offline = True
    params.hostnames = [environment.get("HOST", "0.0.0.0")]  # noqa: S104 - inside a container, on an internal network
    params.port = _number(environment, "PORT", 5001, 1)
    return params


def _add_vision_and_loras(params: xllamacpp.CommonParams, environment: Mapping[str, str]) -> None:
    import xllamacpp

    projector = _text(environment, "MMPROJ")
    if projector:
        params.mmproj.path = _gguf("MMPROJ", projector)
        params.mmproj_use_gpu = bool(params.n_gpu_layers)
    adapters = []
    for path, scale in _loras(environment):
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = path, scale
        adapters.append(adapter)
    params.lora_adapters = adapters


def _add_batch(params: xllamacpp.CommonParams, environment: Mapping[str, str]) -> None:
    if params.n_gpu_layers:
        params.n_ubatch = _number(environment, "BATCH", GPU_BATCH, 16)
        params.n_batch = max(GPU_QUEUE, params.n_ubatch)
        return
    # Between two batches the server sees that a client has left and lets the other slots go on. At its default of
    # 2048 tokens both would take seconds while a CPU reads a long prompt.
    usual = VISION_BATCH if params.mmproj.path else CPU_BATCH
    params.n_batch = params.n_ubatch = _number(environment, "BATCH", usual, 16)


def _add_loading(params: xllamacpp.CommonParams, environment: Mapping[str, str]) -> None:
    import xllamacpp

    modes = xllamacpp.llama_load_mode
    params.load_mode = {
        (True, False): modes.LLAMA_LOAD_MODE_MMAP,
        (True, True): modes.LLAMA_LOAD_MODE_MMAP_MLOCK,
        (False, False): modes.LLAMA_LOAD_MODE_NONE,
        (False, True): modes.LLAMA_LOAD_MODE_MLOCK,
    }[_switch(environment, "MMAP", default=True), _switch(environment, "MLOCK", default=False)]


def main() -> None:
    # As PID 1 a process has no default SIGTERM action: without a handler `docker stop` would wait for its whole grace
    # period. Installed before the model loads, which can take minutes.
    stop = threading.Event()

    def on_signal(_signal: int, _frame: object) -> None:
        if stop.is_set():
            os._exit(0)
        stop.set()

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, on_signal)
    choose_cards(os.environ)
    params = parameters(os.environ)
    import xllamacpp

    server = xllamacpp.Server(params)
    print(f"llamacpp: serving {params.model.path} on {server.listening_address}", file=sys.stderr, flush=True)
    stop.wait()
    # The server's destructor waits for answers in progress; the proxy was stopped before the engine, so none is worth
    # waiting for.
    os._exit(0)


if __name__ == "__main__":
    main()
