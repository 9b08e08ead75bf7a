"""`python -m chatproxy keys` says what went wrong and with what; with a database it is tested in integration."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatproxy.commands import main

NOWHERE = {"MONGO_URL": "mongodb://127.0.0.1:1"}


def test_wrong_usage_is_status_2() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["keys", "create"], {})
    assert caught.value.code == 2


def test_a_bad_setting_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "list"], {"QUEUE_SIZE": "many"}) == 1
    assert "QUEUE_SIZE='many'" in capsys.readouterr().err


def test_a_database_that_is_not_there_is_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "list"], NOWHERE) == 1
    captured = capsys.readouterr()
    assert "MongoDB" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("wish", "finding"),
    [
        (["--scopes=root"], "key.scopes_invalid: scopes must be one or more of admin, chat, kobold\n  -> as SCOPES="),
        (["--name=a\nb"], "key.name_invalid: name must be 1 to 80 printable characters\n  -> "),
        (["--expires-days=0"], "key.expires_days_invalid: expires-days must be from 1 to 3650\n  -> as DAYS=90"),
        (["--expires-days=soon"], "key.expires_days_invalid: expires-days must be a whole number, not 'soon'\n  -> "),
        (["--requests-per-minute=-5"], "key.requests_per_minute_invalid: requests-per-minute must be a whole number"),
        (["--tokens-per-day=1000000000"], "key.tokens_per_day_invalid: tokens-per-day must be from 0 (no limit) to"),
        (["--streams=1e3"], "key.streams_invalid: streams must be a whole number, not '1e3'\n  -> as STREAMS=4"),
    ],
)
def test_bad_wishes_end_with_an_id_a_fact_and_a_hint(
    wish: list[str], finding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", "create", "--name=a", "--scopes=chat", *wish], NOWHERE) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(finding)
    assert captured.err.count("\n") == 2
    assert captured.out == ""


@pytest.mark.parametrize(
    ("wish", "finding"),
    [
        (["--origins="], "key.origins_invalid: origins must be from 1 to 100; without one no page could use the key\n"),
        (["--bots=support"], "key.origins_invalid: origins must be from 1 to 100"),
        (
            ["--origins=https://Example.com"],
            "key.origins_invalid: origins must be as browsers send them, not 'https://E",
        ),
        (
            ["--origins=https://a.org,*"],
            "key.origins_invalid: origins must be as browsers send them, not '*'\n  -> as O",
        ),
        (
            ["--origins=https://a.org", "--bots=../x"],
            "key.bots_invalid: bots must be names of bots, at most 100\n  -> ",
        ),
        (["--origins=https://a.org", "--scopes=chat"], "key.scopes_invalid: scopes must be left out for a site key"),
        (["--origins=https://a.org", "--streams=-1"], "key.streams_invalid: streams must be a whole number, not '-1'"),
    ],
)
def test_bad_wishes_for_a_site_key(wish: list[str], finding: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "--name=a", *wish], NOWHERE) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(finding)
    assert captured.err.count("\n") == 2
    assert captured.out == ""


def test_a_site_key_for_a_bot_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "support.yaml").write_text("name: Support")
    words = ["keys", "create", "--name=a", "--origins=https://a.org", "--bots=support,suport"]
    assert main(words, {**NOWHERE, "BOTS_DIR": str(tmp_path)}) == 1
    assert capsys.readouterr().err.startswith(
        "key.bots_invalid: bots must be the names of bots that there are, not 'sup"
    )


@pytest.mark.parametrize("key_id", ["nope", "site_x", "-x", '{"$gt": ""}'])
def test_an_id_that_is_none_never_reaches_the_database(key_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "revoke", "--", key_id], NOWHERE) == 1
    assert capsys.readouterr().err.startswith(f"key.unknown: There is no key with the id {key_id!r}\n  -> ")


@pytest.mark.parametrize(
    ("words", "finding"),
    [
        (["schedule", "ab", "--every="], "ingest.every_invalid: every is missing; 0 = not any more.\n  -> as EVERY=24"),
        (["schedule", "ab", "--every=soon"], "ingest.every_invalid: every must be a whole number, not 'soon'.\n  -> "),
        (["add-url", "--depth=x", "--", "https://a.org"], "ingest.depth_invalid: depth must be a whole number"),
        (["add-url", "--", "mailto:a@b.c"], "ingest.start_invalid: start 'mailto:a@b.c' cannot be used"),
    ],
)
def test_bad_wishes_for_sources_end_with_an_id_a_fact_and_a_hint(
    words: list[str], finding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sources", *words], NOWHERE) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(finding)
    assert captured.err.count("\n") == 2
    assert captured.out == ""


def test_a_bot_without_knowledge_has_no_collection(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mute.yaml").write_text("name: Mute\nsystem: Be brief.\n")
    assert main(["sources", "collection", "mute"], {**NOWHERE, "BOTS_DIR": str(tmp_path)}) == 1
    assert capsys.readouterr().err.startswith("ingest.bot_invalid: bot mute answers from no collection")
