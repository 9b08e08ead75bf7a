"""What bandit, checkov and pip-audit report, and which of it is explained.

A finding is explained where its reason stands beside it: behind `# nosec B105` or `# noqa: S105` in the line (ruff's
rules S are bandit's), behind `# checkov:skip=ID:` in a Dockerfile, or in tests/audit/advisories.tsv.
An audit passes when every finding is explained, of whatever severity, and nothing was left unlooked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.lib import paths, shell
from scripts.lib.failure import Failure

# One comment may name several rules; what follows them is the reason.
_COMMENT = re.compile(r"#\s*(?:noqa|nosec):?\s+([A-Z]+\d+(?:,\s*[A-Z]+\d+)*)[\s#-]*([^#\n]*)")
# A release with an advisory since 2019 (PYSEC-2019-217). A service that knows nothing against it answers nothing about
# others either: pip-audit takes a release that it cannot find for one without vulnerabilities.
_KNOWN_BAD = ("jinja2", "2.10")
_SERVICES = ("pypi", "osv")
_TIMEOUT_S = 600
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)", re.MULTILINE)


@dataclass(frozen=True)
class Issue:
    """One finding: `check` its id, `where` a path with a line, or a pin; without `reason` unexplained."""

    check: str
    severity: str
    where: str
    text: str
    reason: str = ""


@dataclass(frozen=True)
class Result:
    """What one tool found, and what it could not look at (`unchecked`, in words; "" = nothing was left out)."""

    issues: tuple[Issue, ...] = ()
    unchecked: str = ""
    looked_at: str = ""

    @property
    def unexplained(self) -> tuple[Issue, ...]:
        return tuple(issue for issue in self.issues if not issue.reason)


@dataclass(frozen=True)
class Tools:
    """The tools in an environment's folder `bin`."""

    folder: Path
    run: Callable[..., tuple[int, str, str]] = field(default=shell.capture)

    def report(self, name: str, *words: str | Path) -> Any:
        """The JSON that a tool prints. Failure `audit.tool_failed` where it prints none."""
        status, out, complaint = self.run([str(self.folder / name), *map(str, words)], timeout=_TIMEOUT_S)
        try:
            return json.loads(out)
        except ValueError:
            last = (complaint.strip().splitlines() or ["it says nothing"])[-1]
            raise Failure("audit.tool_failed", f"{name} ended with {status} and no report: {last[:300]}") from None


# --- code: bandit ---------------------------------------------------------------------------------------------------


def code(tools: Tools, files: Sequence[Path]) -> Result:
    """bandit over Python files."""
    # Its own reading of comments is off, so that one without a reason does not count.
    words: list[str | Path] = [
        "--quiet",
        "--format",
        "json",
        "--ignore-nosec",
        "--configfile",
        paths.ROOT / "pyproject.toml",
        *files,
    ]
    report = tools.report("bandit", *words)
    # What it could not read it lists, and passes.
    unread = ", ".join(error["filename"] for error in report["errors"])
    issues = tuple(_of_bandit(found, Path(found["filename"]).read_text("utf-8")) for found in report["results"])
    return Result(issues, f"bandit could not read {unread}" if unread else "", f"{len(files)} files")


def _of_bandit(found: Mapping[str, Any], source: str) -> Issue:
    lines = source.splitlines()[min(found["line_range"]) - 1 : max(found["line_range"])]
    where = f"{_shown(found['filename'])}:{found['line_number']}"
    reason = reason_for(found["test_id"], lines)
    return Issue(found["test_id"], found["issue_severity"].lower(), where, found["issue_text"], reason)


def reason_for(rule: str, lines: Iterable[str]) -> str:
    """The reason beside a line for a rule of bandit's, as B105; "" where none is given."""
    for rules, reason in (match.groups() for line in lines for match in _COMMENT.finditer(line)):
        if rule[1:] in {name.strip()[1:] for name in rules.split(",") if name.strip()[0] in "BS"}:
            return str(reason).strip()
    return ""


# --- images: checkov ------------------------------------------------------------------------------------------------


def images(tools: Tools, dockerfiles: Sequence[Path]) -> Result:
    """checkov's rules for Dockerfiles. It knows none for Compose: those are tests/unit/compose/test_cis.py."""
    # --skip-download: its maker's server has nothing that is wanted here.
    words: list[str | Path] = [
        "--skip-download",
        "--framework",
        "dockerfile",
        "--compact",
        "--output",
        "json",
        "--file",
        *dockerfiles,
    ]
    report = tools.report("checkov", *words)
    if "results" not in report:
        raise Failure("audit.tool_failed", "checkov looked at no Dockerfile")
    results = report["results"]
    issues = [_of_checkov(found) for part in ("failed_checks", "skipped_checks") for found in results[part]]
    unread = ", ".join(_shown(name) for name in results["parsing_errors"])
    looked_at = f"{len(dockerfiles)} Dockerfiles"
    return Result(tuple(issues), f"checkov could not read {unread}" if unread else "", looked_at)


def _of_checkov(found: Mapping[str, Any]) -> Issue:
    where = f"{_shown(found['file_path'])}:{found['file_line_range'][0]}"
    reason = (found["check_result"].get("suppress_comment") or "").strip()
    return Issue(found["check_id"], (found.get("severity") or "unrated").lower(), where, found["check_name"], reason)


# --- pins: pip-audit ------------------------------------------------------------------------------------------------


def pins_of(text: str) -> tuple[tuple[str, str], ...]:
    """Names and versions in a requirements.txt."""
    return tuple(_PIN.findall(text))


def advisories(tools: Tools, pins: Mapping[str, Sequence[tuple[str, str]]], scratch: Path) -> Result:
    """Known vulnerabilities of pinned releases, by the file that pins them; `scratch` is an empty folder."""
    accepted = _accepted_advisories()
    service, why = _service(tools, scratch)
    if not service:
        return Result(unchecked=f"no advisory service answers: {why}")
    issues: list[Issue] = []
    skipped: list[str] = []
    for name, listed in pins.items():
        for found in _ask(tools, service, listed, scratch):
            if "vulns" not in found:
                skipped.append(f"{found['name']} ({name})")
            issues += [_of_pip_audit(found, vuln, name, accepted) for vuln in found.get("vulns", ())]
    known = {pin for listed in pins.values() for pin in listed}
    unchecked = f"{service} knows nothing of {', '.join(sorted(skipped))}" if skipped else ""
    return Result(tuple(issues), unchecked, f"{len(known)} pins in {len(pins)} files, at {service}")


def _service(tools: Tools, scratch: Path) -> tuple[str, str]:
    """The first service that knows of what all know; else "" and why not."""
    why = ""
    for service in _SERVICES:
        try:
            found = _ask(tools, service, [_KNOWN_BAD], scratch)
        except Failure as failure:
            why = failure.fact
            continue
        if any(dependency.get("vulns") for dependency in found):
            return service, ""
        why = f"{service} knows nothing against {'=='.join(_KNOWN_BAD)}, which has known vulnerabilities"
    return "", why


def _ask(tools: Tools, service: str, pins: Sequence[tuple[str, str]], scratch: Path) -> list[dict[str, Any]]:
    asked = scratch / "requirements.txt"
    asked.write_text("".join(f"{name}=={version}\n" for name, version in pins), encoding="utf-8")
    words: list[str | Path] = ["--vulnerability-service", service, "--requirement", asked, "--no-deps", "--disable-pip"]
    report = tools.report("pip-audit", *words, "--format", "json", "--progress-spinner", "off")
    dependencies: list[dict[str, Any]] = report["dependencies"]
    return dependencies


def _of_pip_audit(found: Mapping[str, Any], vuln: Mapping[str, Any], file: str, accepted: Mapping[str, str]) -> Issue:
    names = [vuln["id"], *vuln.get("aliases", ())]
    reason = next((accepted[name] for name in names if name in accepted), "")
    fixed = ", ".join(vuln.get("fix_versions", ())) or "no release"
    where = f"{found['name']}=={found['version']} in {file}"
    return Issue(vuln["id"], "unrated", where, f"{', '.join(names[1:]) or 'no other name'}; fixed in {fixed}", reason)


def _accepted_advisories(file: Path = paths.ROOT / "tests" / "audit" / "advisories.tsv") -> dict[str, str]:
    """Reasons by id; lines with `#` are comments."""
    lines = [line for line in file.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return {name: reason for name, _, reason in (line.partition("\t") for line in lines)}


def _shown(name: str) -> str:
    path = Path(name)
    return str(path.relative_to(paths.ROOT)) if path.is_relative_to(paths.ROOT) else name
