"""llama.cpp's own HTTP server on port 5001, started from the environment that every engine image takes.

The server is the one inside the `xllamacpp` wheel: OpenAI's `/v1/completions`, llama.cpp's `/tokenize`, `/slots`,
`/health` and its web page. It speaks plain HTTP to whoever reaches it, so it belongs on an internal network only.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

import xllamacpp

GGUF_MAGIC = b"GGUF"
# Tokens of a prompt that a CPU reads in one go: small enough to stop within a second, large enough to read as fast.
CPU_BATCH = 64


def _fail(text: str) -> NoReturn:
    print(f"llamacpp: {text}", file=sys.stderr, flush=True)
    raise SystemExit(2)


def _number(name: str, default: int, least: int) -> int:
    raw = os.environ.get(name, "").strip() or str(default)
    try:
        value = int(raw)
    except ValueError:
        _fail(f"{name}={raw!r} is not a whole number")
    if value < least:
        _fail(f"{name}={value} is below {least}")
    return value


def _model(path: str) -> str:
    """Checks the file before llama.cpp does: its own message for a half file is a stack of C++ lines."""
    file = Path(path)
    if not file.is_file():
        _fail(f"MODEL={path} is not a file here. Put the weights into models/ and name them in MODEL.")
    with file.open("rb") as weights:
        magic = weights.read(4)
    if magic != GGUF_MAGIC:
        _fail(f"MODEL={path} is no GGUF file (it begins with {magic!r}). GGML .bin files need ENGINE=koboldcpp.")
    return str(file)


def parameters() -> xllamacpp.CommonParams:
    """Reads the environment.

    CONTEXT_SIZE is in tokens for ONE conversation; llama.cpp divides `n_ctx` among its slots, so it is multiplied here.
    """
    slots = _number("ENGINE_SLOTS", 4, 1)
    context = _number("CONTEXT_SIZE", 4096, 256)
    params = xllamacpp.CommonParams()
    params.model.path = _model(os.environ.get("MODEL", ""))
    # The file's name, not its path: it is shown to clients.
    params.model_alias = {Path(params.model.path).name}
    params.n_ctx = context * slots
    params.n_parallel = slots
    params.n_gpu_layers = _number("GPU_LAYERS", 0, -1)
    threads = _number("THREADS", len(os.sched_getaffinity(0)), 1)
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    # Prompts of conversations that lost their slot are kept here, in MiB: with it the next turn starts in 0.03 s
    # instead of 1.5 s when more conversations alternate than there are slots. The library's default, 8 GiB, is a small
    # VPS's whole memory.
    params.cache_ram_mib = _number("PROMPT_CACHE_MIB", 256, 0)
    if not params.n_gpu_layers:
        # Between two batches the server sees that a client has left and lets the other slots go on. At its default of
        # 2048 tokens both would take seconds while a CPU reads a long prompt.
        params.n_batch = params.n_ubatch = CPU_BATCH
    # A request that overflows must fail: shifting the context would drop the system text without a word.
    params.ctx_shift = False
    # Reserve the memory asked for or stop; never shrink CONTEXT_SIZE behind the operator's back.
    params.fit_params = False
    params.offline = True
    params.hostnames = [os.environ.get("HOST", "0.0.0.0")]  # noqa: S104 - inside a container, on an internal network
    params.port = _number("PORT", 5001, 1)
    return params


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
    params = parameters()
    server = xllamacpp.Server(params)
    print(f"llamacpp: serving {params.model.path} on {server.listening_address}", file=sys.stderr, flush=True)
    stop.wait()
    # The server's destructor waits for answers in progress; the proxy was stopped before the engine, so none is worth
    # waiting for.
    os._exit(0)


if __name__ == "__main__":
    main()
