"""What a check has to say: one line each, with an id that stays the same for ever."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

from scripts.lib import log

ERROR = "error"
WARNING = "warning"
INFO = "info"
_ORDER = {ERROR: 0, WARNING: 1, INFO: 2}


@dataclass(frozen=True)
class Finding:
    """id: stable, dotted; level: error (stops), warning, info; fact: what is so; hint: what to do about it."""

    id: str
    level: str
    fact: str
    hint: str = ""


def accepted() -> frozenset[str]:
    """Ids that the operator waves through: `make up ACCEPT=dns.domain_elsewhere` turns that error into a warning."""
    return frozenset(os.environ.get("ACCEPT", "").replace(",", " ").split())


def report(findings: Iterable[Finding], waved: frozenset[str] = frozenset()) -> bool:
    """Print all findings, the worst first. True when no error is among them."""
    softened = [replace(f, level=WARNING) if f.id in waved and f.level == ERROR else f for f in findings]
    for finding in sorted(softened, key=lambda f: _ORDER[f.level]):
        text = f"{finding.id}: {finding.fact}" + (f" -> {finding.hint}" if finding.hint else "")
        {ERROR: log.error, WARNING: log.warn, INFO: log.info}[finding.level](text)
    return not any(finding.level == ERROR for finding in softened)
