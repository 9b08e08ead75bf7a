"""How the protocol differs between the koboldcpp versions that the double speaks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dialect:
    """One version's own ways.

    Attributes:
        version: as ``/api/extra/version`` reports it.
        pending_finish_reason: a stream event's ``finish_reason`` while generation goes on. Old servers send the
            *string* ``"null"``, which is truthy and has misled clients.
        parses_numbers: newer servers replace a sampler value of the wrong type by its default; older ones fail
            and answer 200 with the body ``null``.
        abort_corrupts_cache: an abort while the prompt is still being read leaves a wrong prompt cache, so that
            the next identical prompt is answered from a wrong context (mended upstream in 1.80).
        reports_usage: results carry ``prompt_tokens`` and ``completion_tokens``.
    """

    version: str
    pending_finish_reason: str | None
    parses_numbers: bool
    abort_corrupts_cache: bool
    reports_usage: bool


DIALECTS: dict[str, Dialect] = {
    dialect.version: dialect
    for dialect in (
        Dialect("1.74", "null", parses_numbers=False, abort_corrupts_cache=True, reports_usage=False),
        Dialect("1.76", "null", parses_numbers=False, abort_corrupts_cache=True, reports_usage=False),
        Dialect("1.115.1", None, parses_numbers=True, abort_corrupts_cache=False, reports_usage=True),
    )
}
