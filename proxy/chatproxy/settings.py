"""Every setting of the proxy: its variable, type, default, whether it is secret, and what it means.

Nothing here reads os.environ: wsgi.py (and the command line) hand the environment over, once. A secret is given as a
file in NAME_FILE; a bad value stops the start with a message that names the variable and the value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from chatproxy import setting_kinds as kinds
from chatproxy.errors import ConfigurationError
from chatproxy.setting_kinds import Kind


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


_SHORTEST_SECRET = 32  # characters
_BOTS = Path("/etc/chatbot/bots")
_HOLD = Path("/tmp/chatbot-hold.json")  # noqa: S108  nobody else is in the container
_EVERYWHERE = ("0.0.0.0", 8080)  # noqa: S104  all its networks are internal


def _option(name: str, kind: Kind, default: Any, meaning: str, *, secret: bool = False) -> Any:
    option = Option(name, kind[0], kind[1], default, meaning, secret)
    return dataclasses.field(default=default, repr=not secret, metadata={"option": option})


@dataclasses.dataclass(frozen=True)
class Settings:
    """The proxy's settings, checked. Build them with `from_environment`; tests give keyword arguments."""

    engine_api: str = _option(
        "ENGINE_API", kinds.choice("koboldcpp", "openai"), "koboldcpp", "the API that the engine speaks"
    )
    engine_urls: tuple[str, ...] = _option(
        "ENGINE_URL",
        kinds.urls("http", "https"),
        ("http://engine:5001",),
        "the engine's base URL; or several, separated by commas, that serve the same model",
    )
    engine_api_key: str = _option("ENGINE_API_KEY", kinds.TEXT, "", "key sent to an external engine", secret=True)
    engine_slots: int = _option(
        "ENGINE_SLOTS", kinds.whole(1, 1024), 1, "answers each engine generates at the same time"
    )
    engine_first_token_timeout: int = _option(
        "ENGINE_FIRST_TOKEN_TIMEOUT",
        kinds.whole(1, 7200),
        600,
        "seconds the engine may read a prompt before its first token",
    )
    engine_idle_timeout: int = _option(
        "ENGINE_IDLE_TIMEOUT",
        kinds.whole(1, 3600),
        120,
        "seconds of silence between two tokens before the engine is given up",
    )
    warm_start: bool = _option(
        "WARM_START",
        kinds.SWITCH,
        False,
        "whether the engine reads each bot's instructions before the first visitor comes",
    )
    model: str = _option("MODEL", kinds.TEXT, "model", "the model's name, shown to clients")
    engine_model: str = _option(
        "ENGINE_MODEL", kinds.TEXT, "", "the model's name as an external engine has it; empty: MODEL"
    )
    model_file: Path | None = _option(  # noqa: RUF009 (a field)
        "MODEL_FILE", kinds.FILE, None, "the model's file, as this process sees it"
    )
    models_dir: Path = _option(  # noqa: RUF009 (a field)
        "MODELS_DIR", kinds.PATH, Path("/models"), "folder of model files with their catalogue, for the console"
    )
    prompt_format: str = _option(
        "PROMPT_FORMAT",
        kinds.NAME,
        "chatml",
        "the prompt format that `format: auto` bots use; auto = the model file tells",
    )
    formats_dir: Path | None = _option(  # noqa: RUF009 (a field)
        "FORMATS_DIR", kinds.PATH, None, "folder of the operator's own prompt formats"
    )
    context_size: int = _option(
        "CONTEXT_SIZE", kinds.whole(256, 1 << 20), 4096, "tokens of one conversation's context window"
    )
    image_tokens: int | None = _option(
        "IMAGE_TOKENS",
        kinds.whole(1, 1 << 16),
        None,
        "tokens that one image takes at most; empty: as the engine tells, or a careful estimate",
    )
    hold_file: Path = _option(  # noqa: RUF009 (a field)
        "HOLD_FILE", kinds.FILE, _HOLD, "the file that tells to admit nobody for a while, on a tmpfs of the container"
    )
    mongo_url: str = _option(
        "MONGO_URL", kinds.url("mongodb", "mongodb+srv"), "mongodb://mongo:27017", "MongoDB's address"
    )
    mongo_database: str = _option("MONGO_DATABASE", kinds.NAME, "chatbot", "the database that holds history and keys")
    mongo_user: str = _option("MONGO_USER", kinds.NAME, "", "MongoDB user; empty means no authentication")
    mongo_password: str = _option("MONGO_PASSWORD", kinds.TEXT, "", "that user's password", secret=True)
    chroma_url: str = _option("CHROMA_URL", kinds.url("http", "https"), "http://chroma:8000", "Chroma's base URL")
    chroma_token: str = _option("CHROMA_TOKEN", kinds.TEXT, "", "token that Chroma asks for", secret=True)
    embeddings_url: str = _option(
        "EMBEDDINGS_URL", kinds.url("http", "https"), "http://embeddings:8080", "base URL of the embeddings service"
    )
    words_dir: Path = _option(  # noqa: RUF009 (a field)
        "WORDS_DIR", kinds.PATH, Path("/var/lib/chatbot/words"), "folder of the word index, shared with the worker"
    )
    worker_port: int = _option(
        "WORKER_PORT", kinds.whole(1, 65535), 8081, "port of the worker's own /healthz, on loopback"
    )
    crawler_agent: str = _option(
        "CRAWLER_AGENT",
        kinds.AGENT,
        "chatbot-crawler/1.0",
        "how the worker names itself to websites: NAME/VERSION (+URL)",
    )
    ocr_languages: str = _option(
        "OCR_LANGUAGES", kinds.LANGUAGES, "eng", "languages of scanned pages, as tesseract calls them, joined by +"
    )
    vision_descriptions: str = _option(
        "VISION_DESCRIPTIONS",
        kinds.choice("auto", "off"),
        "auto",
        "whether an engine that can see describes the pictures that are read",
    )
    bots_dir: Path = _option("BOTS_DIR", kinds.PATH, _BOTS, "folder of the bots' YAML files")  # noqa: RUF009 (a field)
    default_bot: str = _option("DEFAULT_BOT", kinds.NAME, "assistant", "the bot that answers when none is named")
    queue_size: int = _option("QUEUE_SIZE", kinds.whole(0, 10_000), 32, "requests that may wait for the engine")
    stream_cap: int = _option(
        "STREAM_CAP", kinds.whole(1, 4096), 64, "requests that may wait or generate at the same time"
    )
    key_requests_per_minute: int = _option(
        "KEY_REQUESTS_PER_MINUTE", kinds.REQUESTS, 0, "questions per minute of one key"
    )
    key_tokens_per_day: int = _option("KEY_TOKENS_PER_DAY", kinds.TOKENS, 0, "tokens per day of one key")
    key_streams: int = _option("KEY_STREAMS", kinds.STREAMS, 0, "answers in progress at a time of one key")
    address_requests_per_minute: int = _option(
        "ADDRESS_REQUESTS_PER_MINUTE", kinds.REQUESTS, 0, "questions per minute of one address"
    )
    address_tokens_per_day: int = _option("ADDRESS_TOKENS_PER_DAY", kinds.TOKENS, 0, "tokens per day of one address")
    address_streams: int = _option("ADDRESS_STREAMS", kinds.STREAMS, 0, "answers in progress at a time of one address")
    visitor_secret: str = _option(
        "VISITOR_SECRET",
        kinds.TEXT,
        "",
        "what visitors' tokens are signed with; without it they end with the process",
        secret=True,
    )
    visitor_requests_per_minute: int = _option(
        "VISITOR_REQUESTS_PER_MINUTE", kinds.REQUESTS, 20, "questions per minute of one visitor of a web page"
    )
    visitor_tokens_per_day: int = _option("VISITOR_TOKENS_PER_DAY", kinds.TOKENS, 0, "tokens per day of one visitor")
    visitor_streams: int = _option("VISITOR_STREAMS", kinds.STREAMS, 2, "answers in progress at a time of one visitor")
    visitor_address_streams: int = _option(
        "VISITOR_ADDRESS_STREAMS", kinds.STREAMS, 8, "answers in progress at a time of all visitors of one address"
    )
    new_visitors_per_hour: int = _option(
        "NEW_VISITORS_PER_HOUR", kinds.REQUESTS, 60, "new visitors per hour of one address"
    )
    chat_page: bool = _option("CHAT_PAGE", kinds.SWITCH, True, "whether the page /chat is there, for everybody")
    max_body_bytes: int = _option(
        "MAX_BODY_BYTES", kinds.whole(1024, 1 << 30), 10_000_000, "largest request body, in bytes"
    )
    kobold_origins: tuple[str, ...] = _option(
        "KOBOLD_ORIGINS", kinds.ORIGINS, (), "web pages of other origins that may call the Kobold API"
    )
    smtp_host: str = _option("SMTP_HOST", kinds.HOST, "", "the mail server; empty means no e-mail is sent")
    smtp_port: int = _option("SMTP_PORT", kinds.whole(1, 65535), 587, "its port")
    smtp_tls: str = _option(
        "SMTP_TLS", kinds.choice("starttls", "tls", "none"), "starttls", "how its connection is secured"
    )
    smtp_user: str = _option("SMTP_USER", kinds.TEXT, "", "user that it asks for; empty means no log-in")
    smtp_password: str = _option("SMTP_PASSWORD", kinds.TEXT, "", "that user's password", secret=True)
    smtp_from: str = _option("SMTP_FROM", kinds.MAIL_ADDRESS, "", "the address that e-mails come from")
    listen: tuple[str, int] = _option(
        "LISTEN", kinds.LISTENER, _EVERYWHERE, "where the proxy listens for what comes from the world"
    )
    console_listen: tuple[str, int] | None = _option(
        "CONSOLE_LISTEN", kinds.LISTENER, None, "where the console listens; empty means there is none"
    )
    engine_ui_listen: tuple[str, int] | None = _option(
        "ENGINE_UI_LISTEN", kinds.LISTENER, None, "where the engine's own page is; empty means nowhere"
    )
    domain: str = _option("DOMAIN", kinds.TEXT, "localhost", "the public name, whose certificate is looked at")
    edge: tuple[str, int] | None = _option(
        "EDGE_ADDRESS",
        kinds.LISTENER,
        None,
        "the TLS server that shows that certificate; empty means it is not looked at",
    )
    metrics_listen: tuple[str, int] | None = _option(
        "METRICS_LISTEN", kinds.LISTENER, None, "where the worker tells its figures to Prometheus; empty means nowhere"
    )
    public_url: str = _option(
        "PUBLIC_URL", kinds.url("https", "http"), "https://localhost", "where the world reaches this server"
    )
    trusted_hops: int = _option(
        "TRUSTED_HOPS", kinds.whole(0, 5), 1, "reverse proxies in front whose X-Forwarded-* count"
    )
    log_level: str = _option(
        "LOG_LEVEL", kinds.choice("debug", "info", "warning", "error"), "info", "least severe log line"
    )

    def __post_init__(self) -> None:
        if 0 < len(self.visitor_secret) < _SHORTEST_SECRET:
            raise ConfigurationError(
                f"VISITOR_SECRET_FILE: at least {_SHORTEST_SECRET} characters, or it can be guessed"
            )
        if not (self.engine_api_key.isascii() and self.engine_api_key.isprintable()):
            raise ConfigurationError("ENGINE_API_KEY_FILE: a key is one line of ASCII characters, or it cannot be sent")
        slots = self.engine_slots * len(self.engine_urls)
        if slots > self.stream_cap:
            raise ConfigurationError(
                f"ENGINE_SLOTS={self.engine_slots} on {len(self.engine_urls)} engine(s) is more than "
                f"STREAM_CAP={self.stream_cap}: "
                "raise STREAM_CAP, which counts generating and waiting requests together"
            )
        if self.mongo_user and not self.mongo_password:
            raise ConfigurationError(f"MONGO_USER is {self.mongo_user!r} but MONGO_PASSWORD_FILE is not set")
        ports = [place[1] for place in (self.listen, self.console_listen, self.engine_ui_listen) if place]
        if len(set(ports)) < len(ports):
            # What a request is for is told by the port that it came to.
            raise ConfigurationError("LISTEN, CONSOLE_LISTEN and ENGINE_UI_LISTEN need different ports")
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

    @property
    def asked_model(self) -> str:
        """The name that the engine is asked for."""
        return self.engine_model or self.model

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
