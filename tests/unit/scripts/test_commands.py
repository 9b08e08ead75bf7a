"""The commands themselves: help from the Makefile, how they end, what they print where."""

from __future__ import annotations

import io
import os
import re
import signal
import stat
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from scripts.lib import cli, findings, images, log, secret_files, services, upgrade_steps
from scripts.lib.failure import Failure
from scripts.lib.findings import ERROR, INFO, WARNING, Finding
from scripts.lib.observed import Running

ROOT = Path(__file__).resolve().parents[3]
MAKEFILE = (ROOT / "Makefile").read_text()


def _targets() -> dict[str, str]:
    return dict(re.findall(r"^([a-z-]+):.*\n\t@(.+)$", MAKEFILE, re.MULTILINE))


def test_help_is_what_make_says_first_and_shows_every_target() -> None:
    told = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in _targets():
        assert f"make {target} " in told
    assert "Run it" in told


def test_every_target_is_one_command_of_its_own_name() -> None:
    for target, command in _targets().items():
        assert command.split()[0] == f"scripts/{target}"
        assert os.access(ROOT / "scripts" / target, os.X_OK)


def test_every_target_is_phony() -> None:
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert phony and set(phony[1].split()) == set(_targets())


def _end(error: BaseException) -> int:
    def work() -> int:
        raise error

    return cli.run("test-command", work)


def test_a_failure_ends_with_its_id_fact_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert _end(Failure("port.taken", "port 80 is held", "stop it")) == 1
    told = capsys.readouterr()
    assert all(part in told.err for part in ("port.taken", "port 80 is held", "stop it"))
    assert told.out == ""


def test_of_a_version_that_is_only_tried_no_advice_stays_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its containers are gone when it is read, and its `make up` goes on from nowhere: the upgrade says what to do."""
    monkeypatch.setenv(upgrade_steps.STEP, upgrade_steps.TRY)
    assert _end(Failure("service.unhealthy", "proxy did not become healthy", "`make up` goes on")) == 1
    assert capsys.readouterr().err.endswith("error service.unhealthy: proxy did not become healthy\n")
    assert _end(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err.endswith("error interrupted\n")
    # What keeps it from being made ready can be mended.
    monkeypatch.setenv(upgrade_steps.STEP, upgrade_steps.PREPARE)
    assert _end(Failure("disk.full", "the disk is full", "free some space")) == 1
    assert "free some space" in capsys.readouterr().err


def test_ctrl_c_ends_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    assert _end(KeyboardInterrupt()) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_defect_is_told_in_one_line_and_reported_in_full_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert _end(ZeroDivisionError("division by zero")) == 70
        told = capsys.readouterr().err
        assert "division by zero" in told and "Traceback" not in told
        assert "Traceback" in log.file().read_text()
        assert str(log.file()) in told
    finally:
        log.file().unlink()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [({"GPU": "1"}, True), ({"GPU": "yes"}, True), *(({"GPU": no}, False) for no in ("", "0", "false")), ({}, False)],
)
def test_a_flag_is_off_where_it_says_so(given: dict[str, str], wanted: bool) -> None:
    assert cli.flag("GPU", given) is wanted


_UNDOING = """
import signal, sys, time
from scripts.lib import cli
# Set in both cases: whoever runs the tests may run them under nohup.
signal.signal(signal.SIGHUP, signal.SIG_IGN if "nohup" in sys.argv else signal.SIG_DFL)
cli.undo_when_ended()
try:
    print("began", flush=True)
    time.sleep(0.5 if "nohup" in sys.argv else 30)
except KeyboardInterrupt:
    print("undoing", flush=True)
    time.sleep(0.5)
    print("undone", flush=True)
print("over", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_kill_or_a_connection_that_breaks_undoes_and_does_so_once(number: signal.Signals) -> None:
    words = [sys.executable, "-c", _UNDOING]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "began\n"
        process.send_signal(number)
        assert process.stdout.readline() == "undoing\n"
        # `make` passes on what it was sent, and a shell tells its jobs what the kernel tells them too.
        process.send_signal(number)
        assert process.stdout.read() == "undone\nover\n"


def test_under_nohup_a_connection_that_breaks_ends_nothing() -> None:
    words = [sys.executable, "-c", _UNDOING, "nohup"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "began\n"
        process.send_signal(signal.SIGHUP)
        assert process.stdout.read() == "over\n"


def test_a_reader_who_has_left_does_not_break_off_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(sys, "stderr", os.fdopen(writing, "w"))
    log.step("first")
    log.redraw("second")
    log.error("third")


@pytest.mark.parametrize("command", ["model", "tune", "bench-model", "backup", "restore", "upgrade"])
def test_what_leaves_something_behind_undoes_it_when_it_is_ended(command: str) -> None:
    assert "cli.undo_when_ended()" in (ROOT / "scripts" / command).read_text()


def test_two_commands_do_not_change_the_appliance_at_once() -> None:
    code = "from scripts.lib import cli\nwith cli.exclusive(): print('in')"
    other = [sys.executable, "-c", code]
    with cli.exclusive():
        refused = subprocess.run(other, cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode != 0 and "appliance.busy" in refused.stderr
    assert subprocess.run(other, cwd=ROOT, capture_output=True, text=True, check=False).stdout == "in\n"


def test_the_worst_findings_come_first_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    found = [Finding("a.info", INFO, "fact"), Finding("b.error", ERROR, "fact", "hint"), Finding("c.odd", WARNING, "f")]
    assert findings.report(found) is False
    lines = capsys.readouterr().err.splitlines()
    assert [re.findall(r"\w\.\w+", line)[0] for line in lines] == ["b.error", "c.odd", "a.info"]
    assert lines[0].endswith("fact -> hint")


def test_an_error_that_the_operator_accepts_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert findings.report([Finding("b.error", ERROR, "fact", "hint")], frozenset({"b.error"})) is True
    assert "warning" in capsys.readouterr().err


def test_a_secret_that_a_newer_version_brings_is_made_beside_the_old_ones(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving files to the containers' user needs root")
    secret_files.ensure(tmp_path)
    before = (tmp_path / "mongo_root_password").read_text()
    (tmp_path / "visitor_secret").unlink()
    assert not secret_files.all_there(tmp_path)
    assert secret_files.ensure(tmp_path) == ["visitor_secret"]
    assert secret_files.all_there(tmp_path)
    assert (tmp_path / "mongo_root_password").read_text() == before


def test_secrets_are_made_once_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    if os.geteuid() != 0:
        pytest.skip("giving files to the containers' user needs root")
    assert secret_files.ensure(folder) == list(secret_files.NAMES)
    before = {path.name: path.read_text() for path in folder.iterdir()}
    assert secret_files.ensure(folder) == []
    assert {path.name: path.read_text() for path in folder.iterdir()} == before
    assert len(set(before.values())) == len(before) == len(secret_files.NAMES)
    assert all(len(value) >= 40 for value in before.values())
    for path in folder.iterdir():
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) == (0o600, secret_files.UID)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_secret_of_the_operators_own_is_looked_at_through_the_containers_users_eyes(tmp_path: Path) -> None:
    file = tmp_path / "password"
    assert secret_files.kind_of("") == ""
    assert (secret_files.kind_of(str(file)), secret_files.kind_of(str(tmp_path))) == ("missing", "missing")
    file.touch()
    file.chmod(0o600)
    own, strange = file.stat().st_uid, file.stat().st_uid + 1
    assert secret_files.kind_of(str(file), own) == "empty"
    file.write_text("s3cret")
    assert (secret_files.kind_of(str(file), own), secret_files.kind_of(str(file), strange)) == ("readable", "closed")
    file.chmod(0o604)
    assert secret_files.kind_of(str(file), strange) == "readable"


def test_a_folder_s_digest_changes_with_names_modes_and_contents_alone(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "file"
    file.write_text("one")
    file.chmod(0o644)
    seen = [images.digest_of(tmp_path)]
    os.utime(file, (1, 1))
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").write_text("x")
    assert images.digest_of(tmp_path) == seen[0]
    file.write_text("two")
    seen.append(images.digest_of(tmp_path))
    file.chmod(0o755)
    seen.append(images.digest_of(tmp_path))
    file.rename(tmp_path / "sub" / "other")
    seen.append(images.digest_of(tmp_path))
    (tmp_path / os.fsdecode(b"t\xfcr")).touch()
    seen.append(images.digest_of(tmp_path))
    assert len(set(seen)) == 5


def test_a_build_shows_each_of_its_steps_once() -> None:
    show = images.StepLines("base")
    lines = [
        "#1 [internal] load build definition from Dockerfile",
        "#7 [builder 2/3] RUN --mount=type=secret,id=ca     pip-install   -r requirements.txt",
        "#7 1.234 Collecting flask",
        "#7 [builder 2/3] RUN pip-install",
        "#8 [proxy] exporting to image",
        "#9 DONE 0.1s",
    ]
    assert [told for line in lines if (told := show(line))] == [
        "[base builder 2/3] RUN pip-install -r requirements.txt"
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (184, "3 min 04 s"), (3660, "1 h 01 min"), (90000, "1 d 1 h")]
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert log.duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(5, "5 B"), (2048, "2 KB"), (98362432, "93.8 MB"), (2**33, "8.0 GB")])
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert log.size(count) == text


def test_models_names_a_setting_that_is_no_value_for_it() -> None:
    given = {**os.environ, "CONTEXT_SIZE": "abc"}
    refused = subprocess.run(["scripts/models"], cwd=ROOT, env=given, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "setting.invalid: CONTEXT_SIZE=abc" in refused.stderr


def _command(name: str) -> ModuleType:
    loader = SourceFileLoader(f"command_{name}", str(ROOT / "scripts" / name))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("oom_killed", [False, True])
def test_status_has_a_line_for_an_engine_elsewhere_and_for_want_of_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], oom_killed: bool
) -> None:
    status = _command("status")
    values = {"ENGINE_RESOLVED": "external", "MODEL_NAME": "mistral"}
    ready = {"checks": {"engine": {"ok": False, "reason": "connection refused"}}}
    proxy = Running("proxy", "running", "healthy", 0, oom_killed, 0, 60.0, 1, 2, "")
    monkeypatch.setattr(status.compose, "current", lambda: None)
    monkeypatch.setattr(status.observed, "containers", lambda appliance: [proxy])
    monkeypatch.setattr(status.observed, "readyz_inside", lambda appliance: ready)
    monkeypatch.setattr(status.resolve, "earlier", lambda: values)
    assert status.main() == 1
    said = capsys.readouterr().out
    assert re.search(r"^engine +elsewhere .*not ready: connection refused$", said, re.MULTILINE)
    assert bool(re.search(r"^proxy .*ran out of memory, `make doctor` says more$", said, re.MULTILINE)) == oom_killed


def test_models_says_how_to_get_the_best_one() -> None:
    told = subprocess.run(["scripts/models"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    best = re.search(r"^\*  +(\S+) +(here)?", told, re.MULTILINE)
    assert best and (best[2] or f"`make model NAME={best[1]}`" in told)


@pytest.mark.parametrize(("shells", "files"), [(0o000, 0o644), (0o022, 0o644), (0o077, 0o600)])
def test_nobody_else_may_write_to_what_a_command_makes(tmp_path: Path, shells: int, files: int) -> None:
    before = os.umask(shells)
    try:
        cli.run("test-command", lambda: (tmp_path / "made").touch())
    finally:
        os.umask(before)
    assert (tmp_path / "made").stat().st_mode & 0o777 == files


@pytest.mark.parametrize(
    ("err", "wanted"),
    [
        ("key.unknown: there is none\n  -> `make keys`\n", Failure("key.unknown", "there is none", "`make keys`")),
        ("a warning\nkey.unknown: there is none\n", Failure("key.unknown", "there is none", "")),
        ("Traceback: it broke\n", None),
        ("", None),
    ],
)
def test_what_a_command_inside_was_refused_is_taken_out_of_its_stderr(err: str, wanted: Failure | None) -> None:
    assert services.refusal(err) == wanted


def test_who_reads_no_further_hears_no_more_whatever_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Left(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Left())
    log.info("one")
    log.info(os.fsdecode(b"t\xfcr.txt"))
    sys.stderr.close()
