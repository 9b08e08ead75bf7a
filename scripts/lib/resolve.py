"""From settings and facts to the values that Compose is given: .appliance/resolved.env."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from scripts.lib import attachments, base_image, dotenv, engine_values, generations, paths, pip_settings, sizing
from scripts.lib.gpus import BACKENDS, Use
from scripts.lib.host import Host
from scripts.lib.models import Model
from scripts.lib.reckoning import MB, Need
from scripts.lib.setting_checks import bytes_of, is_public_name
from scripts.lib.settings import MONITORING, SETTINGS, Settings
from scripts.lib.sources import TORCH_CPU_INDEX, Choice, official_base

_HEADING = "Made by `make up` from .env; changes here are overwritten."
# Where distributions keep the bundle, and the variables that name another one.
_CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def resolve(
    settings: Settings,
    host: Host,
    choice: Choice,
    model: Model,
    *,
    gpu: Use | None,
    ca_bundle: str,
    index_url: str = "",
) -> dict[str, str]:
    """{name: value}, complete and in a fixed order. `gpu` is None on the CPU.

    Reads nothing but its arguments, and in images/base/Dockerfile what the official base image is.
    """
    external = choice.engine == "external"
    context = settings.number("CONTEXT_SIZE")
    memory = host.memory_bytes - (sizing.MONITORING if settings.monitored else 0)
    vision = bool(attachments.projector_path(settings, model, host.model_files))
    batch = _or(settings["ENGINE_BATCH"], engine_values.batch(choice.engine, gpu=gpu is not None, vision=vision))
    fitting = gpu.slots if gpu else sizing.slots(choice.engine, False, model, context, int(batch), memory)
    slots = _or(settings["ENGINE_SLOTS"], fitting)
    need = sizing.engine_need(model, context, int(slots), int(batch), choice.engine)
    limit = sizing.engine_limit(memory, need)
    upstream = choice.kind == "upstream"
    return {
        **settings.overrides,
        "COMPOSE_PROJECT_NAME": settings.project,
        "DATA_NAME": generations.data_name(settings.project, host.generation),
        # Written down so that neither the shell nor a stray line in .env leads to others.
        "SECRETS_DIR": ".appliance/secrets",
        "SOURCES_RESOLVED": choice.kind,
        "BASE_IMAGE": official_base() if upstream else base_image.TAG,
        "ENGINE_RESOLVED": choice.engine,
        "ENGINE_API": "koboldcpp" if choice.engine == "koboldcpp" else "openai",
        "ENGINE_URL_RESOLVED": settings["ENGINE_URL"].rstrip("/") if external else "http://engine:5001",
        "ENGINE_NETWORK_INTERNAL": "false" if external else "true",
        "MAIL_NETWORK_INTERNAL": "false" if settings["SMTP_HOST"] else "true",
        "COMPOSE_PROFILES": ",".join(_profiles(settings, host, external=external, upstream=upstream)),
        # The kernel of WireGuard's container passes packets on for nobody unless it is to.
        "WG_FORWARDING": "1" if settings["WG_INTERNET"] == "on" else "0",
        "MODEL_NAME": model.name,
        "MODEL_FILE": model.file,
        # What an engine elsewhere has loaded is not in models/, unless the operator names a file of theirs there.
        "MODEL_PATH_RESOLVED": "" if external and not _own_file(model, host) else f"/models/{model.file}",
        "ENGINE_MODEL_RESOLVED": settings["ENGINE_MODEL"] if external else "",
        "MMPROJ_RESOLVED": attachments.projector_path(settings, model, host.model_files),
        "LORA_RESOLVED": attachments.adapter_paths(settings, model, host.model_files),
        "PROMPT_FORMAT_RESOLVED": model.format,
        "THREADS_RESOLVED": _or(settings["THREADS"], engine_values.threads(host.cores, settings["ENGINE_CPUS"])),
        "ENGINE_BATCH_RESOLVED": batch,
        "PROMPT_CACHE_MIB_RESOLVED": str(_prompt_cache(settings, need, int(slots), limit) // MB),
        # The container's limit of locked memory in bytes: all of it, or what Linux gives to everybody.
        "ENGINE_MEMLOCK_RESOLVED": "-1" if settings["ENGINE_MLOCK"] == "on" else "65536",
        "KOBOLDCPP_BACKEND_RESOLVED": _on_cpu(settings["KOBOLDCPP_BACKEND"]),
        "GPU_LAYERS_RESOLVED": _or(settings["GPU_LAYERS"], 0),
        "ENGINE_SLOTS_RESOLVED": slots,
        # An engine elsewhere may cost money for what it reads.
        "WARM_START_RESOLVED": _or(settings["WARM_START"], "off" if external else "on"),
        "ENGINE_CPUS_RESOLVED": _or(settings["ENGINE_CPUS"], host.cpus),
        "ENGINE_MEMORY_RESOLVED": _or(settings["ENGINE_MEMORY"], f"{limit // MB}m"),
        "KOBOLDCPP_SOURCE_KIND": "local" if settings["KOBOLDCPP_SOURCE"] else "upstream",
        "CADDY_SITE": _site(settings["DOMAIN"]),
        "CADDY_TLS": "acme" if is_public_name(settings["DOMAIN"]) else "internal",
        "CA_BUNDLE": ca_bundle,
        "PIP_INDEX_URL": index_url,
        "TORCH_INDEX_URL": TORCH_CPU_INDEX if upstream and not host.torch_wheel else "",
        "GPU": "",
        **(gpu.values(host) if gpu else {}),
    }


def _prompt_cache(settings: Settings, need: Need, slots: int, limit: int) -> int:
    """Bytes for saved prompts: as set, or what weights and contexts leave within the engine's limit."""
    if settings["PROMPT_CACHE"] != "auto":
        return bytes_of(settings["PROMPT_CACHE"])
    if settings["ENGINE_MEMORY"] != "auto":
        limit = bytes_of(settings["ENGINE_MEMORY"])
    return engine_values.prompt_cache(limit - need.aside, need.cache // slots)


def _profiles(settings: Settings, host: Host, *, external: bool, upstream: bool) -> list[str]:
    """The services that not every appliance has. Grafana comes as an official image alone (see grafana.no_package)."""
    wanted = {
        "engine": not external,
        "wireguard": host.wireguard,
        MONITORING: settings.monitored,
        "grafana": settings.monitored and upstream,
    }
    return [name for name, is_wanted in wanted.items() if is_wanted]


def with_profile(values: Mapping[str, str], profile: str) -> dict[str, str]:
    """The values of an earlier run with one more profile."""
    profiles = [name for name in values["COMPOSE_PROFILES"].split(",") if name]
    return {**values, "COMPOSE_PROFILES": ",".join([*profiles, *({profile} - set(profiles))])}


def _own_file(model: Model, host: Host) -> bool:
    return model.source is None and model.file in host.model_files


def _on_cpu(backend: str) -> str:
    """What is built where no card is used: a GPU's backend could not even be loaded."""
    return "cpu" if backend in BACKENDS else backend


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
    # COMPOSE_PROFILES is both: the operator's wish, and what comes of it.
    given = ", ".join(name for name in values if name in SETTINGS and name != "COMPOSE_PROFILES")
    text = dotenv.render(values, f"{_HEADING}\nFrom the command line of the last run: {given}" if given else _HEADING)
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return False
    dotenv.write_private(file, text)
    return True
