"""The first page: how the appliance does and has done, and what wants the owner's attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce

from flask import Blueprint, request

from chatproxy.core.condition import Condition, Observer
from chatproxy.core.measures import Figures, MinuteStore, Point, minutes
from chatproxy.core.types import now
from chatproxy.web.console import shown
from chatproxy.web.console.charts import Chart, Series, draw
from chatproxy.web.console.shell import Page, page

_HOUR, _MINUTE = timedelta(hours=1), timedelta(minutes=1)
_OLD_BACKUP = timedelta(days=7)
# What is short: the same shares as in compose/prometheus/rules.yml.
_DISK_SHARE, _DISK_LEAST, _MEMORY_SHARE, _CERTIFICATE_SHARE = 0.1, 2_000_000_000, 0.05, 0.2
# Of two answers one may fail without anything being wrong.
_MOST_FAILED, _FAILED_SHARE = 2, 0.05


@dataclass(frozen=True, slots=True)
class Span:
    """What the charts look back on, and how long each of their points is."""

    name: str
    length: timedelta
    step: timedelta


SPANS = {
    "hour": Span("the last hour", _HOUR, _MINUTE),
    "day": Span("the last day", timedelta(days=1), 30 * _MINUTE),
    "month": Span("the last 30 days", timedelta(days=30), timedelta(days=1)),
}


@dataclass(frozen=True, slots=True)
class Warned:
    """What is wrong, and what to do."""

    fact: str
    hint: str


def blueprint(store: MinuteStore, observer: Observer) -> Blueprint:
    """The route."""
    routes = Blueprint("today", __name__)

    @routes.get("/")
    def today() -> Page:
        chosen = request.args.get("span", "")
        span_name = chosen if chosen in SPANS else "day"
        span, moment = SPANS[span_name], now()
        until = moment + _MINUTE
        points = minutes(store, until - span.length, until, span.step)
        last_hour = points if span_name == "hour" else minutes(store, until - _HOUR, until)
        condition = observer.look()
        return page(
            "today.html",
            spans=SPANS,
            chosen=span_name,
            span=span,
            total=_sum(points),
            charts=_charts(points, span),
            points=[point for point in reversed(points) if point.figures != Figures()],
            condition=condition,
            warnings=list(_warnings(condition, _sum(last_hour), moment)),
        )

    return routes


def _sum(points: Sequence[Point]) -> Figures:
    return reduce(Figures.plus, (point.figures for point in points), Figures())


def _charts(points: Sequence[Point], span: Span) -> list[Chart]:
    moments, all_figures = [point.at for point in points], [point.figures for point in points]
    first_token = [
        Series(name, [figures.first_token_s(share) for figures in all_figures])
        for name, share in (("half of the answers", 0.5), ("95 of 100", 0.95))
    ]
    told = span.name[0].upper() + span.name[1:]
    requests = Series("requests", [figures.requests for figures in all_figures])
    errors = Series("errors", [figures.errors + figures.failed for figures in all_figures])
    read = Series("tokens read", [figures.prompt_tokens for figures in all_figures])
    written = Series("tokens written", [figures.completion_tokens for figures in all_figures])
    waiting = Series("waiting", [figures.waiting for figures in all_figures])
    return [
        draw("requests", "Requests", "bars", moments, [requests], told=told),
        draw("tokens", "Tokens", "bars", moments, [read, written], told=told),
        draw("first-token", "Time to the first token", "lines", moments, first_token, unit=" s", told=told),
        draw("queue", "Most who waited at a time", "bars", moments, [waiting], told=told),
        draw("errors", "Errors of ours and failed answers", "bars", moments, [errors], told=told),
    ]


def _warnings(condition: Condition, hour: Figures, moment: datetime) -> Iterator[Warned]:
    for name, reason in condition.dependencies.items():
        if reason is not None:
            known = name.partition("-")[0]
            yield Warned(f"{name} does not work: {reason}.", f"make logs SERVICE={known}, or make doctor")
    if condition.gate.queue and hour.waiting >= condition.gate.queue:
        fact = f"The queue was full in the last hour; {shown.counted(hour.refused, 'question was', 'questions were')}"
        yield Warned(f"{fact} refused.", "A faster machine, a smaller model or more ENGINE_SLOTS")
    answered = hour.answers + hour.failed
    if hour.failed > _MOST_FAILED and hour.failed > _FAILED_SHARE * answered:
        yield Warned(f"{hour.failed} of {answered} answers failed in the last hour.", "make logs SERVICE=proxy")
    yield from _machine_warnings(condition)
    certificate, backup = condition.certificate, condition.backup
    if certificate:
        left = certificate.ends_at - moment
        if left < _CERTIFICATE_SHARE * (certificate.ends_at - certificate.begins_at):
            hint = "make logs SERVICE=caddy; ports 80 and 443 must reach this machine under DOMAIN"
            yield Warned(f"The certificate ends at {shown.moment(certificate.ends_at)} UTC.", hint)
    if backup and backup.finished_at and moment - backup.finished_at > _OLD_BACKUP:
        yield Warned(f"The last backup was made {shown.ago(backup.finished_at)}.", "Make another one")


def _machine_warnings(condition: Condition) -> Iterator[Warned]:
    machine = condition.machine
    if not machine:
        return
    if machine.disk_free < max(_DISK_SHARE * machine.disk_size, _DISK_LEAST):
        hint = "With less than 512 MiB nothing new is taken in. make prune gives back what builds have left"
        yield Warned(f"Only {shown.size(machine.disk_free)} of the disk are left.", hint)
    if machine.memory_available < _MEMORY_SHARE * machine.memory_size:
        yield Warned(
            f"Only {shown.size(machine.memory_available)} of memory are left.", "A smaller MODEL or CONTEXT_SIZE"
        )
