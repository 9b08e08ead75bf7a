"""Bot files: strict, named with file and line when broken, reloaded when changed, the last good one kept."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from chatproxy.adapters.bots import BotFiles
from chatproxy.core.prompts import Formats
from chatproxy.core.sampling import PRESETS
from chatproxy.errors import ConfigurationError, NotFound

SHIPPED = Path(__file__).resolve().parents[4] / "compose" / "bots"


def load(folder: Path) -> BotFiles:
    return BotFiles(folder, formats=Formats().names, presets=PRESETS)


def write(path: Path, text: str, *, later: int = 0) -> None:
    path.write_text(text)
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + later * 10**9))


def test_the_shipped_bots_are_good() -> None:
    bots = load(SHIPPED)
    assert bots.get("assistant").format == "auto"
    assert (bots.get("support").format, bots.get("support").sampling) == ("metharme", "factual")
    assert (bots.get("companion").format, bots.get("companion").name) == ("pygmalion", "Mira")


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("name: A\nsystem: [unclosed", 2, "expected"),
        ("name: A\ncolour: red\n", 2, "'colour' is not a field"),
        ("system: hi\n", 1, "name is missing"),
        ("name: A\n\nmax_tokens: lots\n", 3, "max_tokens is 'lots'"),
        ("name: A\nmax_tokens: true\n", 2, "max_tokens"),
        ("name: A\nformat: alpacka\n", 2, "no prompt format 'alpacka'"),
        ("name: A\nsampling: wild\n", 2, "no sampling preset 'wild'"),
        ('name: "A:\\nYou"\n', 1, "name is 1 to 60"),
        ("name: A\nsystem: 5\n", 2, "system is 5, not text"),
        ("- a\n- b\n", 1, "a bot is a list of"),
        ("", 1, "a bot is a list of"),
        ("name: !!python/object/apply:os.system [id]\n", 1, "could not determine a constructor"),
    ],
)
def test_a_broken_file_is_named_with_line_and_reason_and_the_others_answer(
    tmp_path: Path, text: str, line: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "broken.yaml", text)
    write(tmp_path / "good.yaml", "name: Good\n")
    bots = load(tmp_path)
    told = rf"broken\.yaml, line {line}: .*{re.escape(reason)}"
    assert re.search(told, caplog.text), caplog.text
    assert bots.get("good").name == "Good"
    with pytest.raises(NotFound, match=told):
        bots.get("broken")


def test_a_changed_file_counts_from_the_next_question_on(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "name: Before\n")
    bots = load(tmp_path)
    write(tmp_path / "a.yaml", "name: After\n", later=1)
    assert bots.get("a").name == "After"


def test_a_file_broken_by_a_change_leaves_the_last_good_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "a.yaml", "name: Good\n")
    bots = load(tmp_path)
    write(tmp_path / "a.yaml", "name: [\n", later=1)
    assert bots.get("a").name == "Good"
    assert "line 2" in caplog.text


def test_a_new_file_is_a_new_bot_and_a_deleted_one_is_gone(tmp_path: Path) -> None:
    bots = load(tmp_path)
    write(tmp_path / "late.yaml", "name: Late\n")
    assert bots.get("late").name == "Late"
    (tmp_path / "late.yaml").unlink()
    with pytest.raises(NotFound):
        bots.get("late")


@pytest.mark.parametrize("name", ["../secret", "A", "", "a/b", ".hidden"])
def test_a_name_never_leaves_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "bots").mkdir()
    write(tmp_path / "secret.yaml", "name: Secret\n")
    with pytest.raises(NotFound):
        load(tmp_path / "bots").get(name)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="BOTS_DIR"):
        load(tmp_path / "nowhere")
