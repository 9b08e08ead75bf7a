"""The virtual environment for everything that runs natively: tests, linters, `make dev`; and that of `make audit`."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts.lib import apt, log, paths, pip_settings, shell, sources
from scripts.lib.failure import Failure

_PINS = (
    "proxy/requirements-worker.txt",  # with all of the proxy's own
    "images/embeddings/requirements.txt",
    "images/chroma/requirements.txt",
    "images/llamacpp/requirements.txt",
    "images/mongo/requirements.txt",
    "images/caddy/requirements.txt",
    "tests/requirements.txt",
)
_AUDIT_PINS = ("tests/audit/requirements.txt",)
_STAMP = ".requirements"
_HINT = "the lines above say what pip missed; the package index has to be reachable"


def ensure(folder: Path = paths.VENV) -> Path:
    """The environment's Python, with every pin of the project installed. A second call takes no time."""
    # torch first: its CPU build has another version string than the package index's, which brings gigabytes of CUDA.
    return _ensure(folder, _PINS, first=_torch)


def ensure_audit(folder: Path = paths.AUDIT_VENV) -> Path:
    """The Python of `make audit`'s own environment, made in the same way."""
    return _ensure(folder, _AUDIT_PINS, first=list)


def _ensure(folder: Path, pins: Sequence[str], first: Callable[[], list[str]]) -> Path:
    python = folder / "bin" / "python"
    files = [paths.ROOT / name for name in pins]
    stamp = _digest(files)
    if python.exists() and _read(folder / _STAMP) == stamp:
        return python
    log.step(f"installing the project's pins into {folder}")
    if not _has_pip(python):
        _create(folder)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    if words := first():
        _run([*pip, *words], f"installing {words[0]}")
    for file in files:
        _run([*pip, "--no-deps", "-r", str(file)], f"installing {file.relative_to(paths.ROOT)}")
    (folder / _STAMP).write_text(stamp, encoding="ascii")
    return python


def _run(command: list[str], what: str) -> None:
    shell.logged(command, what=what, failure_id="venv.failed", hint=_HINT)


def _torch() -> list[str]:
    """pip's arguments for torch: from a local wheel, else from PyTorch's CPU index, else as it comes."""
    wanted = f"torch=={pip_settings.torch_version()}"
    if pip_settings.torch_wheels():
        return [wanted]
    if sources.answers(sources.TORCH_CPU_INDEX + "/"):
        return [wanted, "--index-url", sources.TORCH_CPU_INDEX]
    log.warn("no CPU wheel of torch within reach: taking the package index's own, which brings several GB of CUDA")
    return [wanted]


def _digest(files: list[Path]) -> str:
    text = "".join(f"{file.name} {file.read_text(encoding='utf-8')}" for file in files)
    return hashlib.sha256(f"{sys.version_info[:2]} {text}".encode()).hexdigest()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def _has_pip(python: Path) -> bool:
    return python.exists() and shell.output([str(python), "-m", "pip", "--version"]) is not None


def _create(folder: Path) -> None:
    command = [sys.executable, "-m", "venv", "--clear", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode == 0:
        return
    # Debian and Ubuntu keep what venv needs in a package of its own.
    apt.update()
    apt.install(["python3-venv"])
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        last = (made.stderr.strip().splitlines() or made.stdout.strip().splitlines() or ["no reason given"])[-1]
        raise Failure("venv.failed", f"no virtual environment can be made: {last}", "`apt-get install python3-venv`")
