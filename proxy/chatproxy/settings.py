"""Every setting of the proxy: its variable, type, default, whether it is secret, and what it means.

Nothing here reads os.environ: wsgi.py (and the command line) hand the environment over, once. A secret is given as a
file in NAME_FILE; a bad value stops the start with a message that names the variable and the value.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from email_validator import EmailNotValidError, validate_email

from chatproxy.errors import ConfigurationError


@dataclasses.dataclass(frozen=True)
class Option:
    """How one variable is read. `kind` is its type in words, as shown to people."""

    name: str
    kind: str
    parse: Callable[[str], Any]
    default: Any
    meaning: str
    secret: bool = False

    @property
    def variable(self) -> str:
        """The variable that an operator sets: secrets come as files only."""
        return f"{self.name}_FILE" if self.secret else self.name


def _whole(low: int, high: int) -> tuple[str, Callable[[str], int]]:
    def parse(raw: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,15}", raw) or not low <= int(raw) <= high:
            raise ValueError
        return int(raw)

    return f"a whole number from {low} to {high}", parse


def _choice(*names: str) -> tuple[str, Callable[[str], str]]:
    def parse(raw: str) -> str:
        if raw not in names:
            raise ValueError
        return raw

    return "one of " + ", ".join(names), parse


def _url(*schemes: str) -> tuple[str, Callable[[str], str]]:
    def parse(raw: str) -> str:
        parts = urlsplit(raw)
        if parts.scheme not in schemes or not parts.netloc:
            raise ValueError
        return raw.rstrip("/")

    return f"a URL starting with {' or '.join(s + '://' for s in schemes)}", parse


def _urls(*schemes: str) -> tuple[str, Callable[[str], tuple[str, ...]]]:
    kind, parse_one = _url(*schemes)

    def parse(raw: str) -> tuple[str, ...]:
        urls = tuple(parse_one(part.strip()) for part in raw.split(","))
        if len(set(urls)) < len(urls):
            raise ValueError
        return urls

    return f"{kind}, or several different ones separated by commas", parse


def _origins(raw: str) -> tuple[str, ...]:
    """Origins as browsers send them: lower case, no path, not even a slash."""
    origins = tuple(origin.strip() for origin in raw.split(","))
    if not all(re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?", origin) for origin in origins):
        raise ValueError
    return origins


def _name(raw: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", raw):
        raise ValueError
    return raw


def _host(raw: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", raw):
        raise ValueError
    return raw


def _mail_address(raw: str) -> str:
    try:
        valid = validate_email(raw, check_deliverability=False, allow_smtputf8=False, globally_deliverable=False)
    except EmailNotValidError:
        raise ValueError from None
    return valid.ascii_email or valid.normalized


def _switch(raw: str) -> bool:
    if raw not in ("on", "off"):
        raise ValueError
    return raw == "on"


_SWITCH = ("on or off", _switch)
_NAME = ("a name of letters, digits, '.', '-' and '_'", _name)
_TEXT = ("text", str)
_HOST = ("a host name or an IPv4 address", _host)
_MAIL_ADDRESS = ("an e-mail address without a name, as chat@example.com", _mail_address)
_PATH = ("a folder", Path)
# Limits of use; 0 = none.
_REQUESTS, _TOKENS, _STREAMS = _whole(0, 100_000), _whole(0, 999_999_999), _whole(0, 4096)
_ORIGINS = ("a list of origins as https://lite.koboldai.net, with commas in between", _origins)
_FILE = ("a file", Path)
_SHORTEST_SECRET = 32  # characters
_BOTS = Path("/etc/chatbot/bots")


def _option(
    name: str, kind: tuple[str, Callable[[str], Any]], default: Any, meaning: str, *, secret: bool = False
) -> Any:
    option = Option(name, kind[0], kind[1], default, meaning, secret)
    return dataclasses.field(default=default, repr=not secret, metadata={"option": option})


@dataclasses.dataclass(frozen=True)
class Settings:
    """The proxy's settings, checked. Build them with `from_environment`; tests give keyword arguments."""

    engine_api: str = _option(
        "ENGINE_API", _choice("koboldcpp", "openai"), "koboldcpp", "the API that the engine speaks"
    )
    engine_urls: tuple[str, ...] = _option(
        "ENGINE_URL",
        _urls("http", "https"),
        ("http://engine:5001",),
        "the engine's base URL; or several, separated by commas, that serve the same model",
    )
    engine_api_key: str = _option("ENGINE_API_KEY", _TEXT, "", "key sent to an external engine", secret=True)
    engine_slots: int = _option("ENGINE_SLOTS", _whole(1, 1024), 1, "answers each engine generates at the same time")
    engine_first_token_timeout: int = _option(
        "ENGINE_FIRST_TOKEN_TIMEOUT",
        _whole(1, 7200),
        600,
        "seconds the engine may read a prompt before its first token",
    )
    engine_idle_timeout: int = _option(
        "ENGINE_IDLE_TIMEOUT",
        _whole(1, 3600),
        120,
        "seconds of silence between two tokens before the engine is given up",
    )
    model: str = _option("MODEL", _TEXT, "model", "the model's name, shown to clients and sent to external engines")
    model_file: Path | None = _option(  # noqa: RUF009 (a field)
        "MODEL_FILE", _FILE, None, "the model's file, as this process sees it"
    )
    prompt_format: str = _option(
        "PROMPT_FORMAT", _NAME, "chatml", "the prompt format that `format: auto` bots use; auto = the model file tells"
    )
    formats_dir: Path | None = _option(  # noqa: RUF009 (a field)
        "FORMATS_DIR", _PATH, None, "folder of the operator's own prompt formats"
    )
    context_size: int = _option(
        "CONTEXT_SIZE", _whole(256, 1 << 20), 4096, "tokens of one conversation's context window"
    )
    mongo_url: str = _option("MONGO_URL", _url("mongodb", "mongodb+srv"), "mongodb://mongo:27017", "MongoDB's address")
    mongo_database: str = _option("MONGO_DATABASE", _NAME, "chatbot", "the database that holds history and keys")
    mongo_user: str = _option("MONGO_USER", _NAME, "", "MongoDB user; empty means no authentication")
    mongo_password: str = _option("MONGO_PASSWORD", _TEXT, "", "that user's password", secret=True)
    chroma_url: str = _option("CHROMA_URL", _url("http", "https"), "http://chroma:8000", "Chroma's base URL")
    chroma_token: str = _option("CHROMA_TOKEN", _TEXT, "", "token that Chroma asks for", secret=True)
    embeddings_url: str = _option(
        "EMBEDDINGS_URL", _url("http", "https"), "http://embeddings:8080", "base URL of the embeddings service"
    )
    bots_dir: Path = _option("BOTS_DIR", _PATH, _BOTS, "folder of the bots' YAML files")  # noqa: RUF009 (a field)
    default_bot: str = _option("DEFAULT_BOT", _NAME, "assistant", "the bot that answers when none is named")
    queue_size: int = _option("QUEUE_SIZE", _whole(0, 10_000), 32, "requests that may wait for the engine")
    stream_cap: int = _option("STREAM_CAP", _whole(1, 4096), 64, "requests that may wait or generate at the same time")
    key_requests_per_minute: int = _option("KEY_REQUESTS_PER_MINUTE", _REQUESTS, 0, "questions per minute of one key")
    key_tokens_per_day: int = _option("KEY_TOKENS_PER_DAY", _TOKENS, 0, "tokens per day of one key")
    key_streams: int = _option("KEY_STREAMS", _STREAMS, 0, "answers in progress at a time of one key")
    address_requests_per_minute: int = _option(
        "ADDRESS_REQUESTS_PER_MINUTE", _REQUESTS, 0, "questions per minute of one address"
    )
    address_tokens_per_day: int = _option("ADDRESS_TOKENS_PER_DAY", _TOKENS, 0, "tokens per day of one address")
    address_streams: int = _option("ADDRESS_STREAMS", _STREAMS, 0, "answers in progress at a time of one address")
    visitor_secret: str = _option(
        "VISITOR_SECRET",
        _TEXT,
        "",
        "what visitors' tokens are signed with; without it they end with the process",
        secret=True,
    )
    visitor_requests_per_minute: int = _option(
        "VISITOR_REQUESTS_PER_MINUTE", _REQUESTS, 20, "questions per minute of one visitor of a web page"
    )
    visitor_tokens_per_day: int = _option("VISITOR_TOKENS_PER_DAY", _TOKENS, 0, "tokens per day of one visitor")
    visitor_streams: int = _option("VISITOR_STREAMS", _STREAMS, 2, "answers in progress at a time of one visitor")
    visitor_address_streams: int = _option(
        "VISITOR_ADDRESS_STREAMS", _STREAMS, 8, "answers in progress at a time of all visitors of one address"
    )
    new_visitors_per_hour: int = _option("NEW_VISITORS_PER_HOUR", _REQUESTS, 60, "new visitors per hour of one address")
    chat_page: bool = _option("CHAT_PAGE", _SWITCH, True, "whether the page /chat is there, for everybody")
    max_body_bytes: int = _option("MAX_BODY_BYTES", _whole(1024, 1 << 30), 10_000_000, "largest request body, in bytes")
    kobold_origins: tuple[str, ...] = _option(
        "KOBOLD_ORIGINS", _ORIGINS, (), "web pages of other origins that may call the Kobold API"
    )
    smtp_host: str = _option("SMTP_HOST", _HOST, "", "the mail server; empty means no e-mail is sent")
    smtp_port: int = _option("SMTP_PORT", _whole(1, 65535), 587, "its port")
    smtp_tls: str = _option("SMTP_TLS", _choice("starttls", "tls", "none"), "starttls", "how its connection is secured")
    smtp_user: str = _option("SMTP_USER", _TEXT, "", "user that it asks for; empty means no log-in")
    smtp_password: str = _option("SMTP_PASSWORD", _TEXT, "", "that user's password", secret=True)
    smtp_from: str = _option("SMTP_FROM", _MAIL_ADDRESS, "", "the address that e-mails come from")
    trusted_hops: int = _option("TRUSTED_HOPS", _whole(0, 5), 1, "reverse proxies in front whose X-Forwarded-* count")
    log_level: str = _option("LOG_LEVEL", _choice("debug", "info", "warning", "error"), "info", "least severe log line")

    def __post_init__(self) -> None:
        if 0 < len(self.visitor_secret) < _SHORTEST_SECRET:
            raise ConfigurationError(
                f"VISITOR_SECRET_FILE: at least {_SHORTEST_SECRET} characters, or it can be guessed"
            )
        slots = self.engine_slots * len(self.engine_urls)
        if slots > self.stream_cap:
            raise ConfigurationError(
                f"ENGINE_SLOTS={self.engine_slots} on {len(self.engine_urls)} engine(s) is more than "
                f"STREAM_CAP={self.stream_cap}: "
                "raise STREAM_CAP, which counts generating and waiting requests together"
            )
        if self.mongo_user and not self.mongo_password:
            raise ConfigurationError(f"MONGO_USER is {self.mongo_user!r} but MONGO_PASSWORD_FILE is not set")
        if self.smtp_host:
            self._check_mail()

    def _check_mail(self) -> None:
        if not self.smtp_from:
            raise ConfigurationError(f"SMTP_HOST is {self.smtp_host!r} but SMTP_FROM is not set")
        if bool(self.smtp_user) != bool(self.smtp_password):
            raise ConfigurationError("SMTP_USER and SMTP_PASSWORD_FILE go together: set both or none")
        if not (self.smtp_user + self.smtp_password).isascii():
            # Python's smtplib encodes both as ASCII, whatever RFC 4954 allows.
            raise ConfigurationError("SMTP_USER and the password in SMTP_PASSWORD_FILE must be ASCII")
        if self.smtp_tls == "none" and self.smtp_user:
            raise ConfigurationError("SMTP_TLS='none' would send SMTP_USER's password for everybody to read")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read every option; an empty variable counts as not set. Raises ConfigurationError for the first bad one."""
        return cls(**{field: _read(option, environment) for field, option in _fields()})


def _fields() -> Iterator[tuple[str, Option]]:
    for field in dataclasses.fields(Settings):
        yield field.name, cast(Option, field.metadata["option"])


OPTIONS: tuple[Option, ...] = tuple(option for _, option in _fields())


def _read(option: Option, environment: Mapping[str, str]) -> Any:
    raw = environment.get(option.variable, "").strip()
    if option.secret:
        if environment.get(option.name):
            raise ConfigurationError(
                f"{option.name} holds a secret: put it into a file and name that in {option.variable}"
            )
        return _read_secret(option.variable, raw) if raw else option.default
    if not raw:
        return option.default
    try:
        return option.parse(raw)
    except ValueError:
        raise ConfigurationError(f"{option.name}={raw!r} is not {option.kind} ({option.meaning})") from None


def _read_secret(variable: str, path: str) -> str:
    try:
        secret = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigurationError(f"{variable}={path!r} cannot be read: {reason}") from None
    if not secret:
        raise ConfigurationError(f"{variable}={path!r} is an empty file")
    return secret
