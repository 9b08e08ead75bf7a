"""The proxy's parts, built from its settings and put together: adapters, and the core that works with them.

With building.py and the worker's worker.py the only place that knows an adapter; app.py puts the web in front.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chatproxy import building
from chatproxy.adapters import machine
from chatproxy.adapters.bots import BotFiles
from chatproxy.adapters.chroma import Chroma
from chatproxy.adapters.embeddings import QUESTION_TIMEOUT_S, Embeddings
from chatproxy.adapters.model_folder import ModelFolder
from chatproxy.adapters.mongo_admins import MongoAdmins, MongoAdminSessions, MongoAudit
from chatproxy.adapters.mongo_archive import MongoArchive
from chatproxy.adapters.mongo_backups import MongoBackups
from chatproxy.adapters.mongo_expiry import MongoExpiry
from chatproxy.adapters.mongo_history import MongoHistory
from chatproxy.adapters.mongo_keys import MongoKeys
from chatproxy.adapters.mongo_minutes import MongoMinutes
from chatproxy.adapters.mongo_passages import MongoPassages
from chatproxy.adapters.mongo_rules import MongoRules
from chatproxy.adapters.mongo_sites import MongoSites
from chatproxy.adapters.mongo_usage import MongoUsage
from chatproxy.adapters.passwords import Argon2
from chatproxy.adapters.prometheus import ProxyMetrics
from chatproxy.adapters.reranker import Reranker
from chatproxy.adapters.words import WordIndex
from chatproxy.core.added_rules import AddedRules, RuleStore
from chatproxy.core.admin_ports import AdminSessionStore, AdminStore, AuditStore, PasswordHasher
from chatproxy.core.admins import Admins
from chatproxy.core.answer import Answers
from chatproxy.core.archive import Archive
from chatproxy.core.asking import Asking
from chatproxy.core.audit import Audit
from chatproxy.core.completions import Completions
from chatproxy.core.condition import BackupRecord, Observer
from chatproxy.core.engine_pages import EnginePages
from chatproxy.core.engine_ui import EngineUi
from chatproxy.core.engines import AnyEngine, Engines, watch
from chatproxy.core.expiry import Expiry
from chatproxy.core.generation import Generations
from chatproxy.core.grounding import Grounding
from chatproxy.core.keys import Keyring
from chatproxy.core.library import Library
from chatproxy.core.measures import MinuteStore
from chatproxy.core.minutes import Minutes
from chatproxy.core.models import ModelShelf
from chatproxy.core.ports import (
    Bots,
    Embedder,
    Engine,
    HealthCheck,
    History,
    KeyStore,
    Mailer,
    Passages,
    SiteStore,
    UsageStore,
)
from chatproxy.core.prompts import Formats
from chatproxy.core.readiness import Readiness
from chatproxy.core.retrieval import Retrieval
from chatproxy.core.running import Running
from chatproxy.core.sampling import PRESETS
from chatproxy.core.sites import Sites
from chatproxy.core.slots import Gate
from chatproxy.core.tally import Tally
from chatproxy.core.trials import Trials
from chatproxy.core.unkept import Unkept
from chatproxy.core.visitors import Visitors
from chatproxy.core.window import Window
from chatproxy.settings import Settings


@dataclass(frozen=True, slots=True)
class Given:
    """What takes the place of the adapter that would be built; None for all that are not given."""

    engines: Sequence[Engine] | None = None
    history: History | None = None
    archive: Archive | None = None
    rules: RuleStore | None = None
    keys: KeyStore | None = None
    sites: SiteStore | None = None
    usage: UsageStore | None = None
    bots: Bots | None = None
    embedder: Embedder | None = None
    passages: Passages | None = None
    mailer: Mailer | None = None
    library: Library | None = None
    models: ModelShelf | None = None
    admins: AdminStore | None = None
    admin_sessions: AdminSessionStore | None = None
    hasher: PasswordHasher | None = None
    audit: AuditStore | None = None
    engine_pages: EnginePages | None = None
    minutes: MinuteStore | None = None
    backups: BackupRecord | None = None
    checks: Sequence[HealthCheck] | None = None


NOTHING_GIVEN = Given()


@dataclass(frozen=True, slots=True)
class Parts:
    """What the web works with. `mailer` is None where no e-mail is sent."""

    settings: Settings
    bots: Bots
    history: History
    archive: Archive
    rules: AddedRules
    keys: Keyring
    sites: Sites
    usage: UsageStore
    visitors: Visitors
    library: Library
    passages: Passages
    embedder: Embedder
    mailer: Mailer | None
    gate: Gate
    generations: Generations
    window: Window
    running: Running
    answers: Answers
    completions: Completions
    formats: Formats
    models: ModelShelf
    trials: Trials
    admins: Admins
    audit: Audit
    engine_ui: EngineUi
    measures: Tally
    minutes: MinuteStore
    observer: Observer
    readiness: Readiness
    # For Prometheus: the page, and its content type.
    metrics_page: Callable[[], tuple[bytes, str]]


def build(settings: Settings, given: Given = NOTHING_GIVEN) -> Parts:
    """All parts, connected to nothing yet.

    Raises ConfigurationError for bots, prompt formats and settings that do not fit together.
    """
    database = building.database(settings)
    real_engines = [building.engine(settings, number) for number in range(len(settings.engine_urls))]
    embeddings = Embeddings(settings.embeddings_url, timeout_s=QUESTION_TIMEOUT_S)
    history, usage = given.history or MongoHistory(database), given.usage or MongoUsage(database)
    formats = building.formats(settings)
    bots = given.bots or BotFiles(settings.bots_dir, formats=formats.names, presets=PRESETS)
    building.check_default_bot(bots, settings.default_bot)

    sites = Sites(given.sites or MongoSites(database))
    shared = Engines(given.engines or real_engines)
    gate = building.gate(settings, shared)
    if given.engines is None and len(real_engines) > 1:
        watch(real_engines, gate)
    if given.engines is None:
        building.obey_hold(settings, gate)
    tally = Tally()
    minutes = given.minutes or MongoMinutes(database)
    if given.minutes is None:
        building.write_minutes(Minutes(minutes, tally, gate.status))
    if given.history is None:
        building.delete_what_is_old(Expiry(MongoExpiry(database)))
    generations = Generations(shared, gate, building.limiter(settings, usage), tally)
    window, running = Window(shared, settings.context_size), Running()
    if given.engines is None and settings.warm_start:
        building.keep_warm(real_engines, settings, bots, formats, window, gate)
    rules = AddedRules(given.rules or MongoRules(database))
    asking = Asking(history, bots, formats, default_bot=settings.default_bot, added=rules.of)
    unkept = Unkept()
    trying = Asking(unkept, bots, formats, default_bot=settings.default_bot, added=rules.of)
    chroma = Chroma(settings.chroma_url, token=settings.chroma_token, model=embeddings.model)
    passages = given.passages
    if passages is None:
        words, chunks = WordIndex(settings.words_dir), MongoPassages(database)
        reranker = Reranker(settings.embeddings_url)
        passages = Retrieval(chroma, words, chunks, given.embedder or embeddings, reranker)
    grounding = Grounding(passages, window)
    engine_check = real_engines[0] if len(real_engines) == 1 else AnyEngine(real_engines)
    real_checks = (engine_check, database, chroma, embeddings)
    readiness = Readiness(real_checks if given.checks is None else given.checks)
    observer = Observer(
        settings.model,
        tally,
        gate.status,
        readiness,
        given.backups or MongoBackups(database),
        machine=lambda: machine.look(settings.words_dir),
        certificate=building.certificate(settings),
    )
    return Parts(
        settings=settings,
        bots=bots,
        history=history,
        archive=given.archive or MongoArchive(database),
        rules=rules,
        keys=Keyring(given.keys or MongoKeys(database)),
        sites=sites,
        usage=usage,
        visitors=building.visitors(settings, sites, usage),
        library=given.library or building.library(database),
        passages=passages,
        embedder=given.embedder or Embeddings(settings.embeddings_url),
        mailer=given.mailer or building.mailer(settings),
        gate=gate,
        generations=generations,
        window=window,
        running=running,
        answers=Answers(asking, grounding, generations, window, history, running),
        completions=Completions(generations, window, bots, formats, running),
        formats=formats,
        models=given.models or ModelFolder(settings.models_dir),
        trials=Trials(Answers(trying, grounding, generations, window, unkept, running)),
        admins=Admins(
            given.admins or MongoAdmins(database),
            given.admin_sessions or MongoAdminSessions(database),
            given.hasher or Argon2(),
            usage,
        ),
        audit=Audit(given.audit or MongoAudit(database)),
        engine_ui=EngineUi(given.engine_pages or building.engine_pages(settings), gate),
        measures=tally,
        minutes=minutes,
        observer=observer,
        readiness=readiness,
        metrics_page=ProxyMetrics(observer.look).render,
    )


def admins(settings: Settings) -> Admins:
    """The console's admins alone, for the command line."""
    database = building.database(settings)
    return Admins(MongoAdmins(database), MongoAdminSessions(database), Argon2(), MongoUsage(database))


def audit(settings: Settings) -> Audit:
    """The record of what was done, for the command line."""
    return Audit(MongoAudit(building.database(settings)))


def keyring(settings: Settings) -> Keyring:
    """The API keys alone, for the command line."""
    return Keyring(MongoKeys(building.database(settings)))


def site_keys(settings: Settings) -> Sites:
    """The site keys alone, for the command line."""
    return Sites(MongoSites(building.database(settings)))


def library(settings: Settings) -> Library:
    """The sources of knowledge alone, for the command line."""
    return building.library(building.database(settings))


def bot_files(settings: Settings) -> Bots:
    """The bots alone, for the command line. Raises ConfigurationError as `build` does."""
    return BotFiles(settings.bots_dir, formats=building.formats(settings).names, presets=PRESETS)
