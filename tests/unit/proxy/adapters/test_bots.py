"""Bot files: strict, named with file and line when broken, reloaded when changed, the last good one kept."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from chatproxy.adapters.bot_fields import BotReader
from chatproxy.adapters.bots import BotFiles
from chatproxy.core.prompts import Formats
from chatproxy.core.rules import answer_by_rule
from chatproxy.core.sampling import PRESETS
from chatproxy.core.types import Bot, Rule, Turn
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
    assert answer_by_rule(bots.get("support").rules, "Can I SPEAK to a human?")
    assert [turn.role for turn in bots.get("companion").examples[0]] == ["user", "assistant"] * 2
    assert bots.get("support").theme.position == "right"
    assert len(bots.get("support").quick_replies) == 3
    assert [bot.id for bot in bots.all()] == ["assistant", "companion", "guide", "support"]
    assert (bots.get("guide").knowledge, bots.get("guide").mode) == (("site",), "sources-only")


FULL = """\
name: Full
examples:
  - - user: Hi
    - bot: |
        Two
        lines
  - - bot: Alone
max_message: 500
rules:
  - when: [refund, "1"]
    answer: No.
  - {when: [hello], answer: Hi}
retention_days: 30
knowledge: [site, faq-2]
mode: sources-only
refusal: Nothing found.
never_say: [Albatross-7]
"""


def test_examples_rules_and_bounds_are_read(tmp_path: Path) -> None:
    write(tmp_path / "full.yaml", FULL)
    assert load(tmp_path).get("full") == Bot(
        "full",
        "Full",
        examples=((Turn("user", "Hi"), Turn("assistant", "Two\nlines")), (Turn("assistant", "Alone"),)),
        max_message=500,
        rules=(Rule(("refund", "1"), "No."), Rule(("hello",), "Hi")),
        retention_days=30,
        knowledge=("site", "faq-2"),
        mode="sources-only",
        refusal="Nothing found.",
        never_say=("Albatross-7",),
    )


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
        ("name: !!python/object/apply:os.system [id]\n", 1, "name is a list, not text"),
        ("name: !!python/name:os.system\n", 1, "not text"),
        ("name: A\nname: B\n", 2, "name is there twice"),
        ("name: A\n<<: {system: x}\n", 2, "'<<' is not a field"),
        ("name: A\n? [a]\n: b\n", 2, "is not a field"),
        ("name: A\n---\nname: B\n", 2, "but found another document"),
        ("name: A\nsystem:\n", 2, "system is empty"),
        ("name: yes\n", 1, "name is yes, not text; write it in quotes"),
        ('name: "A\\0"\n', 1, "holds the character '\\x00'"),
        ('name: A\nsystem: "a\\uD800b"\n', 2, "holds the character '\\ud800'"),
        ('name: "A\\u202EB"\n', 1, "name is 1 to 60"),
        ("name: A\nsystem: a\x07b\n", 2, "the character '\\x07' does not belong into YAML"),
        ("name: A\nmax_message: 0\n", 2, "max_message is '0', not a whole number from 1 to 200000"),
        ("name: A\nretention_days: 3651\n", 2, "retention_days is '3651', not a whole number from 1 to 3650"),
        ("name: A\nretention_days: [1]\n", 2, "retention_days is a list"),
        ("name: A\nexamples: hi\n", 2, "examples is not a list of dialogues"),
        ("name: A\nexamples:\n  - user: hi\n", 3, "examples[1] is not a list of turns"),
        ("name: A\nexamples:\n  - []\n", 3, "examples[1] is empty"),
        ("name: A\nexamples:\n  - - user: hi\n    - you: hi\n", 4, "'you' is not a field of a turn; fields are user"),
        ("name: A\nexamples:\n  - - user: hi\n      bot: hi\n", 3, "examples[1][1] is not one turn"),
        ("name: A\nexamples:\n  - - user: hi\n    - bot: 5\n", 4, "examples[1][2].bot is 5, not text"),
        ('name: A\nexamples:\n  - - user: ""\n', 3, "examples[1][1].user is empty"),
        ("name: A\nrules: {when: [a]}\n", 2, "rules is not a list of rules"),
        ("name: A\nrules:\n  - refund\n", 3, "rules[1] is not a rule"),
        ("name: A\nrules:\n  - when: [a]\n", 3, "rules[1].answer is missing"),
        ("name: A\nrules:\n  - answer: a\n", 3, "rules[1].when is missing"),
        ("name: A\nrules:\n  - when: refund\n    answer: No\n", 3, "rules[1].when is not a list of phrases"),
        ("name: A\nrules:\n  - when: []\n    answer: No\n", 3, "rules[1].when is empty"),
        ("name: A\nrules:\n  - when:\n      - a\n      - 7\n    answer: No\n", 5, "rules[1].when[2] is 7, not text"),
        ("name: A\nrules:\n  - when: [a]\n    anwser: No\n", 4, "'anwser' is not a field of a rule; fields are when"),
        (f"name: A\nsystem: {'x' * 32_001}\n", 2, "system has 32001 characters, at most 32000 are allowed"),
        (f"name: A\nrules:\n  - when: [{'x' * 201}]\n    answer: a\n", 3, "when[1] has 201 characters"),
        ("name: A\nexamples:\n" + "  - [user: a]\n" * 21, 3, "examples has 21 dialogues, at most 20 are allowed"),
        ("name: A\nrules: &a\n  - *a\n", 2, "rules[1] is not a rule"),
        ("name: A\nknowledge: site\n", 2, "knowledge is not a list of collections"),
        ("name: A\nknowledge: [My Site]\n", 2, "'My Site'; a collection's name is lower-case"),
        ("name: A\nmode: sources\n", 2, "no mode 'sources'"),
        ('name: A\nrefusal: ""\n', 2, "refusal is empty"),
        ("name: A\nnever_say: code\n", 2, "never_say is not a list of phrases"),
        ('name: A\nnever_say: [""]\n', 2, "never_say[1] is empty"),
        ("name: " + "[" * 5000, 1, "nested too deeply"),
        ("name: A\n# " + "x" * 300_000, 1, "it is larger than 262144 bytes"),
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


def test_a_file_that_is_not_utf_8_is_named_with_its_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "latin.yaml").write_bytes("name: A\nsystem: Stra\xdfe\n".encode("latin-1"))
    assert load(tmp_path).all() == []
    assert "latin.yaml, line 2: it is not UTF-8" in caplog.text


def test_all_names_those_that_can_answer_as_they_are_now(tmp_path: Path) -> None:
    write(tmp_path / "b.yaml", "name: B\n")
    write(tmp_path / "a.yaml", "name: A\n")
    write(tmp_path / "broken.yaml", "name: [\n")
    write(tmp_path / "Upper.yaml", "name: Upper\n")
    (tmp_path / "folder.yaml").mkdir()
    bots = load(tmp_path)
    assert [bot.name for bot in bots.all()] == ["A", "B"]
    (tmp_path / "a.yaml").unlink()
    write(tmp_path / "b.yaml", "name: [\n", later=1)
    write(tmp_path / "broken.yaml", "name: Mended\n", later=1)
    assert [bot.name for bot in bots.all()] == ["B", "Mended"]


def test_a_broken_file_is_told_once_and_not_with_every_question(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "a.yaml", "name: [\n")
    bots = load(tmp_path)
    for _ in range(3):
        with pytest.raises(NotFound, match="line 2"):
            bots.get("a")
    assert len(caplog.records) == 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["name", "rules", "examples", "when", "answer", "user", "bot", "x"]), inner, max_size=4
            )
        ),
    )
)
def test_whatever_a_file_holds_it_is_a_bot_or_a_mistake_with_a_line(content: object) -> None:
    try:
        bot = BotReader(("chatml",), ("factual",)).read("a", yaml.safe_dump(content))
    except ConfigurationError as error:
        assert re.match(r"line [0-9]+: .", str(error))
    else:
        assert bot.name


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        BotReader(("chatml",), ("factual",)).read("a", text)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="BOTS_DIR"):
        load(tmp_path / "nowhere")
