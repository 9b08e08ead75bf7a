"""A catalogue model brought into models/ by the fetch image, which has what the host need not have."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.lib import docker_daemon, fetch, images, log, paths, pip_settings, services, shell
from scripts.lib.failure import Failure
from scripts.lib.models import Model
from scripts.lib.settings import Settings

_CA_INSIDE = "/etc/ssl/host-ca.pem"
_TOKEN_INSIDE = "/run/secrets/model_token"  # noqa: S105  a path, not the token


def fetch_model(model: Model, wanted: Settings, values: Mapping[str, str]) -> None:
    """Have the model in models/, whole. It is checked once; after that, size and time tell of changes."""
    # An engine elsewhere has its model already.
    elsewhere = values["ENGINE_RESOLVED"] == "external"
    if elsewhere or model.source is None or fetch.is_known(model, paths.MODELS):
        return
    about = f", {log.size(model.size)}" if model.size else ""
    log.step(f"model: {model.title}{about}")
    _fetch_in_container(model, wanted["MODEL_TOKEN_FILE"], values["CA_BUNDLE"])
    log.ok(f"{model.file} is there, its checksum is right")


def _fetch_in_container(model: Model, token_file: str, bundle: str) -> None:
    owner = paths.MODELS.stat()
    # Beside scripts: the proxy's arithmetic (scripts.lib.reckoning), and the koboldcpp image's parser of model files.
    read = {paths.ROOT / name: f"/app/{name}:ro" for name in ("scripts", "proxy", "images/koboldcpp/entrypoint")}
    mounts = {paths.MODELS: "/models", Path(bundle): f"{_CA_INSIDE}:ro", **read}
    environment = {
        "PIP_CERT": _CA_INSIDE,
        "SSL_CERT_FILE": _CA_INSIDE,
        "PIP_INDEX_URL": pip_settings.value("index-url"),
        "HF_ENDPOINT": os.environ.get("HF_ENDPOINT", ""),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    if token_file:
        if not Path(token_file).is_file():
            fact = f"MODEL_TOKEN_FILE={token_file} is no file"
            raise Failure("model.token_unreadable", fact, "correct it in .env, or leave it empty")
        mounts[Path(token_file).absolute()] = f"{_TOKEN_INSIDE}:ro"
        environment["MODEL_TOKEN_FILE"] = _TOKEN_INSIDE
    options = [part for here, there in mounts.items() for part in ("--volume", f"{here}:{there}")]
    environment |= {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    options += [part for name, value in environment.items() if value for part in ("--env", f"{name}={value}")]
    command = ["run", "--rm", "--init", "--user", f"{owner.st_uid}:{owner.st_gid}", *options]
    said: list[str] = []

    def show(line: str) -> str | None:
        said.append(line)
        return line.strip() if "%" in line or "warning" in line else None

    name = f"{model.name}:{model.quantisation}" if model.quantisation else model.name
    try:
        shell.logged(
            docker_daemon.docker(*command, images.FETCH, "-u", "-m", "scripts.lib.fetch", name, "--models", "/models"),
            what=f"fetching {model.name}",
            failure_id="model.fetch_failed",
            hint="what has arrived is kept: run the command again, and it goes on from there",
            show=show,
        )
    except Failure as failure:
        raise told_inside(said) or failure from None


def told_inside(lines: Sequence[str]) -> Failure | None:
    """The failure that a command inside a container ended with, as it was told there."""
    return services.refusal("\n".join(lines).replace("error ", ""))
