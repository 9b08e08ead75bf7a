"""`python -m chatproxy keys` says what went wrong and with what; with a database it is tested in integration."""

from __future__ import annotations

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


def test_bad_wishes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "--name", "a", "--scopes", "root"], NOWHERE) == 1
    assert "scopes: one or more of admin, chat, kobold" in capsys.readouterr().err
