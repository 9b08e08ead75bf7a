"""What NAME means, and what becomes of a PROMPT_FORMAT that was chosen for the model before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from scripts.lib import another_model, models
from scripts.lib.failure import Failure
from scripts.lib.settings import Settings

FORMATS = ("chatml", "metharme", "llama-3")
FILES = {"own.gguf": 1000, "old.bin": 1000}
CATALOG = models.load_catalog()
STARTER = "smollm2-135m-instruct"

Make = Callable[..., Settings]


@pytest.mark.parametrize(
    ("before", "name", "typed", "env"),
    [
        ("auto", STARTER, "", {"MODEL": STARTER}),
        ("auto", "models/own.gguf", "", {"MODEL": "own.gguf"}),
        ("chatml", STARTER, "", {"MODEL": STARTER}),
        ("metharme", STARTER, "", {"MODEL": STARTER, "PROMPT_FORMAT": "auto"}),
        ("metharme", "own.gguf", "", {"MODEL": "own.gguf", "PROMPT_FORMAT": "auto"}),
        # Nothing else tells the format of such a file.
        ("metharme", "old.bin", "", {"MODEL": "old.bin"}),
        ("metharme", "old.bin", "llama-3", {"MODEL": "old.bin", "PROMPT_FORMAT": "llama-3"}),
        ("auto", STARTER, "llama-3", {"MODEL": STARTER, "PROMPT_FORMAT": "llama-3"}),
    ],
)
def test_the_format_of_the_model_before_goes_where_the_new_one_has_its_own(
    wanted: Make, before: str, name: str, typed: str, env: dict[str, str]
) -> None:
    current = wanted(MODEL="before.gguf", PROMPT_FORMAT=before)
    wish = another_model.of(name, current, CATALOG, FILES, FORMATS, typed)
    assert wish.env == env
    assert {key: wish.settings[key] for key in env} == env
    assert bool(wish.remark) == (env.get("PROMPT_FORMAT") == "auto")


def test_a_model_of_the_last_command_line_gives_way(wanted: Make) -> None:
    current = wanted()
    typed = Settings({**current.values, "MODEL": "typed.gguf"}, {"MODEL": "typed.gguf", "THREADS": "4"}, current.raw)
    wish = another_model.of("own.gguf", typed, CATALOG, FILES, FORMATS)
    assert wish.settings["MODEL"] == "own.gguf"
    assert wish.settings.overrides == {"THREADS": "4"}


def test_without_a_name_it_says_how_one_is_given(wanted: Make) -> None:
    with pytest.raises(Failure) as raised:
        another_model.of("", wanted(), CATALOG, FILES, FORMATS)
    assert raised.value.id == "model.name_missing"
    assert "NAME=" in raised.value.hint


def test_models_for_searching_are_no_models_for_chat() -> None:
    catalog = {**CATALOG, "finder": replace(CATALOG[STARTER], name="finder", file="finder", use=models.EMBEDDING)}
    found = another_model.for_searching("finder", catalog)
    assert found is not None and found.file == "finder"
    assert another_model.for_searching(STARTER, catalog) is None
    assert another_model.for_searching("own.gguf", catalog) is None
