"""The operator's settings: every name in `.env`, its default, what it accepts, and the values in force."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.lib import backup_keep, backup_times, dotenv, networks, paths
from scripts.lib.findings import ERROR, WARNING, Finding
from scripts.lib.setting_checks import (
    CONTACT,
    EMAIL,
    Check,
    adapters,
    amount,
    anything,
    auto_or,
    base_urls,
    cpus,
    domain,
    is_public_name,
    matching,
    model_folder,
    one_of,
    optional,
    origins,
    remote,
    whole,
)


@dataclass(frozen=True)
class Setting:
    default: str
    check: Check


_MB = 2**20
MONITORING = "monitoring"
# What `make up` itself adds to the operator's wish is welcome back.
_PROFILES = matching(r"(monitoring|engine|wireguard|grafana|,)+", f"{MONITORING}, or empty")
SETTINGS: dict[str, Setting] = {
    "DOMAIN": Setting("localhost", domain),
    "ACME_EMAIL": Setting("", optional(EMAIL)),
    "HTTP_PORT": Setting("80", whole(1, 65535)),
    "HTTPS_PORT": Setting("443", whole(1, 65535)),
    "SOURCES": Setting("auto", one_of("auto", "upstream", "packages")),
    "ENGINE": Setting("koboldcpp", one_of("koboldcpp", "llamacpp", "external")),
    "ENGINE_URL": Setting("", optional(base_urls)),
    "ENGINE_MODEL": Setting("", optional(matching(r"[!-~]{1,200}", "a model's name, without spaces"))),
    "ENGINE_API_KEY_FILE": Setting("", anything),
    "KOBOLDCPP_BACKEND": Setting("cpu", one_of("cpu", "openblas", "clblast", "cuda", "vulkan")),
    "KOBOLDCPP_BUILD": Setting("portable", one_of("portable", "native")),
    "KOBOLDCPP_SOURCE": Setting("", anything),
    "KOBOLDCPP_ARGS": Setting("", anything),
    "LAUNCH_COMMAND": Setting("", anything),
    "MODEL": Setting(
        "smollm2-135m-instruct", matching(r"(models/)?[^/\s][^/]*", "a catalogue name or the name of a file in models/")
    ),
    "MODEL_TOKEN_FILE": Setting("", anything),
    "MMPROJ": Setting("", optional(matching(r"(models/)?[^/\s][^/]*", "the name of a file in models/"))),
    "LORA": Setting("", optional(adapters)),
    "IMAGE_TOKENS": Setting("", optional(whole(1, 65_536))),
    "PROMPT_FORMAT": Setting("auto", matching(r"[a-z0-9][a-z0-9._-]*", "auto or the name of a prompt format")),
    "CONTEXT_SIZE": Setting("4096", whole(256, 1_048_576)),
    "THREADS": Setting("auto", auto_or(whole(1, 1024))),
    "GPU_LAYERS": Setting("auto", auto_or(whole(0, 1000))),
    "GPU_DEVICES": Setting("all", matching(r"all|\d{1,2}(,\d{1,2})*", "all, or numbers as 0,1")),
    "TENSOR_SPLIT": Setting("auto", auto_or(matching(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", "shares as 3,1"))),
    "ENGINE_SLOTS": Setting("auto", auto_or(whole(1, 32))),
    "WARM_START": Setting("auto", one_of("auto", "on", "off")),
    "ENGINE_CPUS": Setting("auto", auto_or(cpus)),
    "ENGINE_MEMORY": Setting("auto", auto_or(amount(256 * _MB))),
    # What every koboldcpp takes.
    "ENGINE_BATCH": Setting("auto", one_of("auto", *(str(2**n) for n in range(5, 12)))),
    "ENGINE_MLOCK": Setting("off", one_of("on", "off")),
    "ENGINE_MMAP": Setting("on", one_of("on", "off")),
    "PROMPT_CACHE": Setting("auto", auto_or(amount(0))),
    # Below these each service was seen to be killed while it starts.
    "PROXY_MEMORY": Setting("512m", amount(128 * _MB)),
    "EMBEDDINGS_MEMORY": Setting("1g", amount(700 * _MB)),
    "CHROMA_MEMORY": Setting("512m", amount(256 * _MB)),
    "MONGO_MEMORY": Setting("1g", amount(256 * _MB)),
    "CADDY_MEMORY": Setting("256m", amount(64 * _MB)),
    "WORKER_MEMORY": Setting("1g", amount(512 * _MB)),
    "WIREGUARD_MEMORY": Setting("256m", amount(128 * _MB)),
    "EMBEDDING_MODEL": Setting("", optional(model_folder)),
    "RERANKER_MODEL": Setting("", optional(model_folder)),
    "OCR_LANGUAGES": Setting("eng+deu+fra+spa+lav", matching(r"[a-z]{3}(\+[a-z]{3})*", "names as eng or eng+deu")),
    "CRAWLER_CONTACT": Setting("", optional(CONTACT)),
    "VISION_DESCRIPTIONS": Setting("auto", one_of("auto", "off")),
    "DEFAULT_BOT": Setting(
        "assistant", matching(r"[a-z0-9][a-z0-9_-]*", "the name of a file in compose/bots, without .yaml")
    ),
    "QUEUE_SIZE": Setting("32", whole(0, 10_000)),
    "STREAM_CAP": Setting("64", whole(1, 2_000)),
    "KEY_REQUESTS_PER_MINUTE": Setting("0", whole(0, 100_000)),
    "KEY_TOKENS_PER_DAY": Setting("0", whole(0, 999_999_999)),
    "KEY_STREAMS": Setting("0", whole(0, 4096)),
    "ADDRESS_REQUESTS_PER_MINUTE": Setting("0", whole(0, 100_000)),
    "ADDRESS_TOKENS_PER_DAY": Setting("0", whole(0, 999_999_999)),
    "ADDRESS_STREAMS": Setting("0", whole(0, 4096)),
    "VISITOR_REQUESTS_PER_MINUTE": Setting("20", whole(0, 100_000)),
    "VISITOR_TOKENS_PER_DAY": Setting("0", whole(0, 999_999_999)),
    "VISITOR_STREAMS": Setting("2", whole(0, 4096)),
    "VISITOR_ADDRESS_STREAMS": Setting("8", whole(0, 4096)),
    "NEW_VISITORS_PER_HOUR": Setting("60", whole(0, 100_000)),
    "CHAT_PAGE": Setting("on", one_of("on", "off")),
    "KOBOLD_ORIGINS": Setting("", optional(origins)),
    "SMTP_HOST": Setting("", optional(matching(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", "a host name"))),
    "SMTP_PORT": Setting("587", whole(1, 65535)),
    "SMTP_TLS": Setting("starttls", one_of("starttls", "tls", "none")),
    "SMTP_USER": Setting("", anything),
    "SMTP_PASSWORD_FILE": Setting("", anything),
    "SMTP_FROM": Setting("", optional(EMAIL)),
    "WG_PORT": Setting("51820", whole(1, 65535)),
    "WG_ENDPOINT": Setting("auto", auto_or(networks.endpoint)),
    "WG_SUBNET": Setting("10.13.13.0/24", networks.subnet),
    "WG_SUBNET6": Setting("fd13:13:13::/64", networks.subnet6),
    # IPv6 wants 1280 bytes.
    "WG_MTU": Setting("1420", whole(1280, 9000)),
    "WG_INTERNET": Setting("off", one_of("on", "off")),
    "BACKUP_DIR": Setting(".appliance/backups", matching(r"[^\x00-\x1f]+", "a folder's path")),
    "BACKUP_KEEP": Setting("7d,4w,6m", backup_keep.check),
    "BACKUP_PASSWORD_FILE": Setting("", anything),
    "BACKUP_REMOTE": Setting("", optional(remote)),
    "BACKUP_REMOTE_ENV": Setting("", anything),
    "BACKUP_SCHEDULE": Setting("off", backup_times.check),
    "MAX_BODY": Setting("10MB", amount(64 * 1024)),
    "COMPOSE_PROFILES": Setting("", optional(_PROFILES)),
    "PROMETHEUS_RETENTION_DAYS": Setting("15", whole(1, 3650)),
    "PROMETHEUS_RETENTION_SIZE": Setting("1GB", matching(r"[1-9]\d{0,4}(MB|GB|TB)", "a size as 500MB or 2GB")),
    "PROMETHEUS_MEMORY": Setting("384m", amount(128 * _MB)),
    "GRAFANA_MEMORY": Setting("384m", amount(192 * _MB)),
    "LOG_LEVEL": Setting("info", one_of("debug", "info", "warning", "error")),
}
# Read by Compose itself, so welcome in `.env` without being ours.
_COMPOSE_OWN = ("COMPOSE_", "DOCKER_", "BUILDKIT_", "BUILDX_")
# What `make` targets take without its being a setting.
_KEY_ARGUMENTS = ("BOTS", "DAYS", "JSON", "NAME", "ORIGINS", "REVOKE", "RPM", "SCOPES", "STREAMS", "TOKENS_PER_DAY")
_KNOWLEDGE_ARGUMENTS = (
    *("ALLOW_PRIVATE", "BOT", "CANCEL", "COLLECTION", "DEPTH", "EVERY", "EXCLUDE", "FILE", "INCLUDE", "LANGUAGE"),
    *("PAGES", "PAUSE", "RATE", "REBUILD", "REMOVE", "RESUME", "SHOW", "SYNC", "URL"),
)
_VPN_ARGUMENTS = ("ENDPOINT", "QR")
_BACKUP_ARGUMENTS = ("CHECK", "FROM", "TO", "UNDO")
_ARGUMENTS = (
    *("ACCEPT", "ARGS", "COMPARE", "GPU", "LINES", "MINUTES", "ONLY", "PORT", "PROMPT", "ROUNDS", "SERVICE", "TOKENS"),
    *(*_KEY_ARGUMENTS, *_KNOWLEDGE_ARGUMENTS, *_VPN_ARGUMENTS, *_BACKUP_ARGUMENTS),
)


@dataclass(frozen=True)
class Settings:
    """The values in force: `.env` over the defaults, the command line over `.env`."""

    values: Mapping[str, str]
    overrides: Mapping[str, str]
    raw: Mapping[str, str]
    # Compose's project name: what containers, networks and volumes are called after.
    project: str = "chatbot"
    # Every NAME of the NAME=value that `make` was called with.
    typed: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    @property
    def monitored(self) -> bool:
        """Whether Prometheus is wished for."""
        return MONITORING in self.values["COMPOSE_PROFILES"].split(",")

    def number(self, name: str) -> int:
        return int(self.values[name])


def load(env_file: Path = paths.ENV_FILE, environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings in force for `make up`. Values are not checked here: see `problems`.

    Commands that look at what runs give the values of the last `make up` as `environ`: what was set on its command
    line holds until the next one.
    """
    raw = dotenv.parse(read(env_file))
    overrides = {name: environ[name] for name in SETTINGS if name in environ and environ[name] != raw.get(name)}
    defaults = {name: setting.default for name, setting in SETTINGS.items()}
    known = {name: value for name, value in raw.items() if name in SETTINGS}
    project = environ.get("COMPOSE_PROJECT_NAME") or raw.get("COMPOSE_PROJECT_NAME") or "chatbot"
    return Settings({**defaults, **known, **overrides}, overrides, raw, project, typed(environ.get("MAKEFLAGS", "")))


def typed(makeflags: str) -> tuple[str, ...]:
    """The names in `-j2 -- DOMAIN=a.org NAME=two\\ words`: make puts what it was given behind the dashes."""
    words = re.split(r"(?<!\\)\s", f" {makeflags}".partition(" -- ")[2])
    return tuple(match[1] for word in words if (match := re.match(r"([A-Za-z_]\w*)[:+?!]*=", word)))


def valid(settings: Settings, *names: str) -> bool:
    """True when each of these settings can be used as it is."""
    return all(SETTINGS[name].check(settings[name]) is None for name in names)


def read(env_file: Path) -> str:
    """Text of the file, line ends kept; empty where there is none yet."""
    try:
        with env_file.open(encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def problems(settings: Settings, text: str = "") -> Iterator[Finding]:
    """What is wrong with the values in force; `text` is the `.env` they come from."""
    for name, setting in SETTINGS.items():
        wrong = setting.check(settings[name])
        if wrong:
            where = "on the command line" if name in settings.overrides else "in .env"
            yield Finding("setting.invalid", ERROR, f"{name}={settings[name]} {wrong}", f"correct {name} {where}")
    for name in settings.raw:
        if name not in SETTINGS and not name.startswith(_COMPOSE_OWN):
            near = difflib.get_close_matches(name.upper(), SETTINGS, n=1)
            hint = f"did you mean {near[0]}?" if near else "remove it from .env, or look into .env.example for its name"
            yield Finding("setting.unknown", WARNING, f"{name} in .env is no setting of this program", hint)
    # make has variables of its own, so here only what resembles a setting is taken for one.
    for name in settings.typed:
        near = difflib.get_close_matches(name.upper(), SETTINGS, n=1)
        if near and name not in SETTINGS and name not in _ARGUMENTS and not name.startswith(_COMPOSE_OWN):
            fact = f"{name} on the command line is no setting of this program"
            yield Finding("setting.unknown", WARNING, fact, f"did you mean {near[0]}?")
    for number, line in dotenv.stray_lines(text):
        yield Finding(
            "setting.unreadable", WARNING, f".env line {number} is not NAME=value: {line.strip()[:40]}", "correct it"
        )
    yield from _together(settings)


def _together(settings: Settings) -> Iterator[Finding]:
    """Values that are fine alone but not beside each other."""
    if settings["ENGINE"] == "external" and not settings["ENGINE_URL"]:
        hint = "set ENGINE_URL in .env to your server's base address, as http://10.0.0.5:8000"
        yield Finding("engine.url_missing", ERROR, "ENGINE=external has no ENGINE_URL to talk to", hint)
    if settings["HTTP_PORT"] == settings["HTTPS_PORT"]:
        fact = f"HTTP_PORT and HTTPS_PORT are both {settings['HTTP_PORT']}"
        yield Finding("setting.invalid", ERROR, fact, "give them different ports in .env")
    yield from _mail(settings)
    yield from _backup(settings)
    public = is_public_name(settings["DOMAIN"])
    if public and (settings["HTTP_PORT"], settings["HTTPS_PORT"]) != ("80", "443"):
        yield Finding(
            "port.not_standard",
            WARNING,
            f"{settings['DOMAIN']} needs a public certificate, but the ports are not 80 and 443",
            "the certificate authority calls on 80 and 443: forward them to this machine's HTTP_PORT and HTTPS_PORT",
        )


def _mail(settings: Settings) -> Iterator[Finding]:
    """What the proxy would refuse to start with."""
    if not settings["SMTP_HOST"]:
        return
    if not settings["SMTP_FROM"]:
        hint = "set SMTP_FROM in .env to the address that the e-mails come from"
        yield Finding("mail.sender_missing", ERROR, "SMTP_HOST is set, but SMTP_FROM is not", hint)
    user, password = settings["SMTP_USER"], settings["SMTP_PASSWORD_FILE"]
    if bool(user) != bool(password):
        given, missing = ("SMTP_USER", "SMTP_PASSWORD_FILE") if user else ("SMTP_PASSWORD_FILE", "SMTP_USER")
        yield Finding("mail.login_incomplete", ERROR, f"{given} is set, but {missing} is not", "set both, or none")
    if user and settings["SMTP_TLS"] == "none":
        fact = "SMTP_TLS=none would send the password of SMTP_USER for everybody to read"
        yield Finding("mail.password_exposed", ERROR, fact, "set SMTP_TLS=starttls or tls, or leave SMTP_USER empty")


def _backup(settings: Settings) -> Iterator[Finding]:
    """Off-site, secrets are in others' hands."""
    tool = settings["BACKUP_REMOTE"].partition(":")[0]
    if not tool or settings["BACKUP_PASSWORD_FILE"]:
        return
    hint = "set BACKUP_PASSWORD_FILE in .env to a file that holds a password, and keep a copy of it elsewhere"
    if tool == "restic":
        fact = "BACKUP_REMOTE is a restic repository, which needs a password, and there is no BACKUP_PASSWORD_FILE"
        yield Finding("backup.password_missing", ERROR, fact, hint)
    else:
        fact = f"backups go to {settings['BACKUP_REMOTE']} as they are, with every secret and every conversation"
        yield Finding("backup.not_encrypted", WARNING, fact, hint)
