"""From settings and facts to the values that Compose is given: .appliance/resolved.env."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from scripts.lib import base_image, dotenv, paths, pip_settings, sizing
from scripts.lib.host import Host
from scripts.lib.models import Model
from scripts.lib.settings import SETTINGS, Settings, is_public_name
from scripts.lib.sources import OFFICIAL_BASE, TORCH_CPU_INDEX, Choice

_HEADING = "Made by `make up` from .env; changes here are overwritten."
# Where distributions keep the bundle, and the variables that name another one.
_CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def resolve(
    settings: Settings, host: Host, choice: Choice, model: Model, *, gpu: bool, ca_bundle: str, index_url: str = ""
) -> dict[str, str]:
    """{name: value}, complete and in a fixed order. Reads nothing but its arguments."""
    external = choice.engine == "external"
    context = settings.number("CONTEXT_SIZE")
    slots = _or(settings["ENGINE_SLOTS"], sizing.slots(choice.engine, gpu, model.size, context, host.memory_bytes))
    limit = sizing.engine_limit(host.memory_bytes, model.size, context, int(slots))
    upstream = choice.kind == "upstream"
    return {
        **settings.overrides,
        "COMPOSE_PROJECT_NAME": settings.project,
        "SOURCES_RESOLVED": choice.kind,
        "BASE_IMAGE": OFFICIAL_BASE if upstream else base_image.TAG,
        "ENGINE_RESOLVED": choice.engine,
        "ENGINE_API": "koboldcpp" if choice.engine == "koboldcpp" else "openai",
        "ENGINE_URL_RESOLVED": settings["ENGINE_URL"].rstrip("/") if external else "http://engine:5001",
        "ENGINE_NETWORK_INTERNAL": "false" if external else "true",
        "MAIL_NETWORK_INTERNAL": "false" if settings["SMTP_HOST"] else "true",
        "COMPOSE_PROFILES": "" if external else "engine",
        "MODEL_NAME": model.name,
        "MODEL_FILE": model.file,
        # What an engine elsewhere has loaded is not in models/.
        "MODEL_PATH_RESOLVED": "" if external else f"/models/{model.file}",
        "PROMPT_FORMAT_RESOLVED": model.format,
        "THREADS_RESOLVED": _or(settings["THREADS"], host.cores),
        # -1 = as many as the card holds
        "GPU_LAYERS_RESOLVED": _or(settings["GPU_LAYERS"], -1 if gpu else 0),
        "ENGINE_SLOTS_RESOLVED": slots,
        "ENGINE_CPUS_RESOLVED": _or(settings["ENGINE_CPUS"], host.cpus),
        "ENGINE_MEMORY_RESOLVED": _or(settings["ENGINE_MEMORY"], f"{limit // sizing.MB}m"),
        "KOBOLDCPP_SOURCE_KIND": "local" if settings["KOBOLDCPP_SOURCE"] else "upstream",
        "CADDY_SITE": _site(settings["DOMAIN"]),
        "CADDY_TLS": "acme" if is_public_name(settings["DOMAIN"]) else "internal",
        "CA_BUNDLE": ca_bundle,
        "PIP_INDEX_URL": index_url,
        "TORCH_INDEX_URL": TORCH_CPU_INDEX if upstream and not host.torch_wheel else "",
        "GPU": "1" if gpu else "",
    }


def _or(setting: str, automatic: object) -> str:
    return str(automatic) if setting == "auto" else setting


def _site(domain: str) -> str:
    return f"[{domain}]" if ":" in domain else domain


def ca_bundle(environ: Mapping[str, str]) -> str:
    """The host's file of certificate authorities, or "" where there is none yet."""
    named = [environ[name] for name in _CA_VARIABLES if environ.get(name)]
    return next((path for path in (*named, *_CA_BUNDLES) if Path(path).is_file()), "")


def index_url() -> str:
    """The package index that the host's pip has been told to use; "" = pip's own default."""
    return pip_settings.value("index-url")


def earlier(file: Path = paths.RESOLVED_ENV) -> dict[str, str]:
    """The values of the last `make up`; empty before the first."""
    try:
        return dotenv.parse(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def write(values: Mapping[str, str], file: Path = paths.RESOLVED_ENV) -> bool:
    """Write resolved.env. True when it differs from what was there."""
    given = ", ".join(name for name in values if name in SETTINGS)
    text = dotenv.render(values, f"{_HEADING}\nFrom the command line of the last run: {given}" if given else _HEADING)
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return False
    dotenv.write_private(file, text)
    return True
