"""ENGINE=external: which model is meant, what people see, and what tells the format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from scripts.lib import external, models, resolve, sources
from scripts.lib.preflight import Verdict
from scripts.lib.settings import Settings
from tests.unit.scripts.conftest import GOOD

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
WHERE = {"ENGINE": "external", "ENGINE_URL": "http://10.0.0.5:8000"}
FORMATS = ("chatml", "metharme", "llama-3")
Wanted = Callable[..., Settings]


@pytest.mark.parametrize(
    ("wishes", "name"),
    [({}, LLAMA), ({"MODEL": "Our own"}, "Our own"), ({"MODEL": "smollm2-135m-instruct"}, LLAMA)],
)
def test_model_is_what_people_see_and_the_starters_name_says_nothing(
    wanted: Wanted, wishes: dict[str, str], name: str
) -> None:
    chosen = wanted(**WHERE, ENGINE_MODEL=LLAMA, PROMPT_FORMAT="llama-3", **wishes)
    model, findings = external.model(chosen, models.load_catalog(), FORMATS)
    assert findings == []
    assert model is not None
    assert (model.name, model.format, model.file, model.source) == (name, "llama-3", "", None)


def test_a_name_of_the_catalogue_tells_the_format(wanted: Wanted) -> None:
    catalog = {"metharme-7b": models.Model("metharme-7b", "Metharme 7B", "m.bin", 5, "metharme", 2048)}
    model, findings = external.model(wanted(**WHERE, ENGINE_MODEL="x/y", MODEL="metharme-7b"), catalog, FORMATS)
    assert findings == []
    assert model is not None and (model.format, model.context) == ("metharme", 2048)


def test_what_nothing_tells_is_asked_for(verdict: Callable[..., Verdict]) -> None:
    judged = verdict(**WHERE, ENGINE_MODEL=LLAMA)
    (finding,) = judged.findings
    assert finding.id == "model.format_unknown"
    assert "PROMPT_FORMAT" in finding.hint
    assert verdict(**WHERE, ENGINE_MODEL=LLAMA, PROMPT_FORMAT="chatml").findings == ()


def test_what_compose_is_given(wanted: Wanted) -> None:
    chosen = wanted(**WHERE, ENGINE_MODEL=LLAMA, PROMPT_FORMAT="llama-3")
    model, _ = external.model(chosen, {}, FORMATS)
    assert model is not None
    values = resolve.resolve(chosen, GOOD, sources.decide(chosen, GOOD.reachable), model, gpu=None, ca_bundle="")
    given = {name: values[name] for name in ("MODEL_NAME", "ENGINE_MODEL_RESOLVED", "MODEL_PATH_RESOLVED")}
    assert given == {"MODEL_NAME": LLAMA, "ENGINE_MODEL_RESOLVED": LLAMA, "MODEL_PATH_RESOLVED": ""}
    assert values["PROMPT_FORMAT_RESOLVED"] == "llama-3"


def test_a_file_in_models_that_the_operator_names_tells_what_it_knows(wanted: Wanted) -> None:
    """The weights that the server has, laid beside: their head tells template and control tokens."""
    chosen = wanted(**WHERE, MODEL="mine.gguf")
    host = replace(GOOD, model_files={"mine.gguf": 5})
    model, _ = models.choose("mine.gguf", "auto", {}, host.model_files, FORMATS)
    assert model is not None
    values = resolve.resolve(chosen, host, sources.decide(chosen, host.reachable), model, gpu=None, ca_bundle="")
    assert (values["MODEL_PATH_RESOLVED"], values["PROMPT_FORMAT_RESOLVED"]) == ("/models/mine.gguf", "auto")


def test_the_starter_model_describes_no_other_server(wanted: Wanted) -> None:
    chosen = wanted(**WHERE)
    starter = models.load_catalog()["smollm2-135m-instruct"]
    host = replace(GOOD, model_files={starter.file: starter.size})
    values = resolve.resolve(chosen, host, sources.decide(chosen, host.reachable), starter, gpu=None, ca_bundle="")
    assert values["MODEL_PATH_RESOLVED"] == ""
