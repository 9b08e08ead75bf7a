"""What `make audit` makes of its tools' reports. The tools themselves run in tests/integration/scripts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import audit, image_names, paths
from scripts.lib.failure import Failure
from scripts.lib.image_names import ImageName, Place

Answer = Callable[[list[str]], tuple[int, str, str]]


def tools(answer: Answer) -> audit.Tools:
    def run(words: list[str], timeout: float) -> tuple[int, str, str]:
        return answer([Path(words[0]).name, *words[1:]])

    return audit.Tools(Path("/nowhere/bin"), run)


def service(knows: Mapping[str, Mapping[str, Any]]) -> tuple[audit.Tools, list[tuple[str, list[str]]]]:
    """pip-audit at services that know these releases; and what it was asked, where."""
    asked: list[tuple[str, list[str]]] = []

    def answer(words: list[str]) -> tuple[int, str, str]:
        name, file = words[words.index("--vulnerability-service") + 1], words[words.index("--requirement") + 1]
        pins = Path(file).read_text().split()
        asked.append((name, pins))
        if name not in knows:
            return 1, "", "Traceback\nConnectionError: no such host"
        found = [_dependency(pin, knows[name]) for pin in pins]
        return 0, json.dumps({"dependencies": found, "fixes": []}), "No known vulnerabilities found"

    return tools(answer), asked


def _dependency(pin: str, known: Mapping[str, Any]) -> dict[str, Any]:
    name, version = pin.split("==")
    if pin not in known:
        return {"name": name, "skip_reason": f"Dependency not found and could not be audited: {name} ({version})"}
    vulns = [{"id": vuln, "aliases": ["CVE-1"], "fix_versions": ["9"], "description": ""} for vuln in known[pin]]
    return {"name": name, "version": version, "vulns": vulns}


CONTROL = {"jinja2==2.10": ["PYSEC-2019-217"]}
PINS = {"proxy/requirements.txt": [("flask", "3.1.3"), ("requests", "2.34.2")]}


def test_a_service_that_answers_finds_nothing_in_good_pins(tmp_path: Path) -> None:
    given, asked = service({"pypi": {**CONTROL, "flask==3.1.3": [], "requests==2.34.2": []}})
    result = audit.advisories(given, PINS, tmp_path)
    assert (result.issues, result.unchecked) == ((), "")
    assert asked == [("pypi", ["jinja2==2.10"]), ("pypi", ["flask==3.1.3", "requests==2.34.2"])]


def test_a_service_that_knows_nothing_is_no_clean_bill(tmp_path: Path) -> None:
    """pip-audit itself ends with 0 and `No known vulnerabilities found` where an index has no advisories at all."""
    given, asked = service({"pypi": {}, "osv": {}})
    result = audit.advisories(given, PINS, tmp_path)
    assert "knows nothing against jinja2==2.10" in result.unchecked
    assert [name for name, _ in asked] == ["pypi", "osv"]


def test_without_a_network_nothing_counts_as_checked(tmp_path: Path) -> None:
    given, _ = service({})
    assert "no advisory service answers" in audit.advisories(given, PINS, tmp_path).unchecked


def test_the_second_service_is_asked_where_the_first_is_silent(tmp_path: Path) -> None:
    given, asked = service({"pypi": {}, "osv": {**CONTROL, "flask==3.1.3": [], "requests==2.34.2": []}})
    assert audit.advisories(given, PINS, tmp_path).unchecked == ""
    assert asked[-1][0] == "osv"


def test_a_pin_that_the_service_does_not_know_is_named(tmp_path: Path) -> None:
    given, _ = service({"pypi": {**CONTROL, "flask==3.1.3": []}})
    assert "requests (proxy/requirements.txt)" in audit.advisories(given, PINS, tmp_path).unchecked


def test_a_vulnerable_pin_is_a_finding_unless_its_reason_is_written_down(tmp_path: Path) -> None:
    known = {**CONTROL, "flask==3.1.3": ["PYSEC-1"], "requests==2.34.2": ["PYSEC-2026-1325"]}
    found = audit.advisories(service({"pypi": known})[0], PINS, tmp_path)
    assert [issue.check for issue in found.issues] == ["PYSEC-1", "PYSEC-2026-1325"]
    assert [(issue.check, issue.where) for issue in found.unexplained] == [
        ("PYSEC-1", "flask==3.1.3 in proxy/requirements.txt")
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('x = "/tmp"  # noqa: S108 - the container\'s own', "the container's own"),
        ('x = "/tmp"  # noqa: S108  the container\'s own', "the container's own"),
        ('x = "/tmp"  # nosec B108 - nobody else is here', "nobody else is here"),
        ('x = "/tmp"  # noqa: PLR0913, S108 # two rules', "two rules"),
        ('x = "/tmp"  # noqa: S108', ""),
        ('x = "/tmp"  # noqa: S104 - another rule', ""),
        ('x = "/tmp"  # noqa: SIM108 - another family', ""),
        ('x = "/tmp"  # a plain comment', ""),
    ],
)
def test_a_finding_in_code_is_explained_by_a_reason_for_its_own_rule(line: str, reason: str) -> None:
    assert audit.reason_for("B108", ["before", line]) == reason


def test_code_that_bandit_cannot_read_is_not_checked(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("import os\n\nx = '/tmp'\n")
    found = {
        "test_id": "B108", "issue_severity": "MEDIUM", "issue_text": "tmp", "filename": str(file),
        "line_number": 3, "line_range": [3],
    }  # fmt: skip
    report = {"errors": [{"filename": "b.py", "reason": "syntax error"}], "results": [found]}
    result = audit.code(tools(lambda _: (1, json.dumps(report), "")), [file])
    assert [(issue.check, issue.severity, issue.where) for issue in result.unexplained] == [
        ("B108", "medium", f"{file}:3")
    ]
    assert "b.py" in result.unchecked


def test_a_dockerfiles_skips_count_with_their_reasons() -> None:
    def one(check: str, **result: str) -> dict[str, Any]:
        where = {"file_path": "images/x/Dockerfile", "file_line_range": [7, 9]}
        return {"check_id": check, "check_name": "name", "severity": None, "check_result": result, **where}

    results = {
        "failed_checks": [one("CKV_DOCKER_3")],
        "skipped_checks": [one("CKV_DOCKER_7", suppress_comment="the tag is above"), one("CKV_DOCKER_2")],
        "parsing_errors": [],
    }
    found = audit.images(tools(lambda _: (1, json.dumps({"results": results}), "")), [Path("Dockerfile")])
    assert [issue.check for issue in found.unexplained] == ["CKV_DOCKER_3", "CKV_DOCKER_2"]
    assert found.issues[0].where == "images/x/Dockerfile:7"


@pytest.mark.parametrize("said", ["", "Traceback", '{"passed": 0}'])
def test_a_tool_without_a_report_is_a_failure(said: str) -> None:
    with pytest.raises(Failure) as failure:
        audit.images(tools(lambda _: (2, said, "it broke")), [Path("Dockerfile")])
    assert failure.value.id == "audit.tool_failed"


def test_every_pin_of_a_file_is_asked_about() -> None:
    for file in sorted(paths.ROOT.glob("images/*/requirements.txt")):
        lines = [line for line in file.read_text().splitlines() if line and line[0] not in " #"]
        assert [f"{name}=={version}" for name, version in audit.pins_of(file.read_text())] == [
            line.split(" ")[0] for line in lines
        ]


# --- the command's verdict ------------------------------------------------------------------------------------------

LOOSE, PINNED = ImageName("mongo", "8"), ImageName("mongo", "8", f"sha256:{'0' * 64}")


@pytest.mark.parametrize(
    ("image", "offline", "status", "told", "untold"),
    [
        (PINNED, False, 0, "ok audit: bandit, checkov, pip-audit, digests", "NOT"),
        # Where registries are reached one command mends it; where they are not, it is told and no pass.
        (LOOSE, False, 1, "error audit: NOT PINNED, see above: mongo:8", "ok audit"),
        (LOOSE, True, 0, "error audit: NOT PINNED, see above: mongo:8", "ok audit"),
        (PINNED, True, 0, "error audit: NOT CHECKED, see above: pip-audit", "NOT PINNED"),
    ],
)
def test_an_image_without_a_digest_is_named_and_never_a_pass(
    image: ImageName,
    offline: bool,
    status: int,
    told: str,
    untold: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    loader = SourceFileLoader("audit_command", str(paths.ROOT / "scripts" / "audit"))
    spec = spec_from_loader(loader.name, loader)
    assert spec
    command = module_from_spec(spec)
    loader.exec_module(command)
    for name in ("code", "images", "advisories"):
        monkeypatch.setattr(audit, name, lambda *_: audit.Result())
    monkeypatch.setattr(command.venv, "ensure_audit", lambda: Path("/nowhere/python"))
    monkeypatch.setattr(command.sbom, "write", lambda tools: [])
    monkeypatch.setattr(image_names, "places", lambda: [Place(Path("images/mongo/Dockerfile"), 3, 0, image)])
    monkeypatch.setenv("OFFLINE", "1" if offline else "0")
    monkeypatch.setenv("NO_COLOR", "1")
    assert command.main() == status
    said = capsys.readouterr().err
    assert told in said and untold not in said
    finding = "warning pins.unpinned: mongo:8 has no digest in images/mongo/Dockerfile:3 -> `make pins` where its"
    assert (finding in said) == (image is LOOSE)
