"""Preflight's findings about MMPROJ and LORA."""

from __future__ import annotations

import pytest

from tests.unit.scripts.conftest import Judge

THERE = {"model_files": {"eyes.gguf": 9, "style.gguf": 9}, "model_heads": {"eyes.gguf": "GGUF", "style.gguf": "GGUF"}}


def test_files_that_are_there_are_nothing_to_speak_of(judge: Judge) -> None:
    found = judge(THERE, MMPROJ="eyes.gguf", LORA="style.gguf:0.5")
    assert not {id_ for id_ in found if id_.startswith(("attachment.", "lora."))}


@pytest.mark.parametrize(("name", "value"), [("MMPROJ", "ears.gguf"), ("LORA", "style.gguf,other.gguf:2")])
def test_a_file_that_is_missing_stops_the_start_and_names_the_setting(judge: Judge, name: str, value: str) -> None:
    finding = judge(THERE, ENGINE="llamacpp", **{name: value})["attachment.missing"]
    assert finding.level == "error" and name in finding.fact


def test_a_file_that_is_no_gguf_is_told_by_its_beginning(judge: Judge) -> None:
    facts = {"model_files": {"eyes.gguf": 9}, "model_heads": {"eyes.gguf": "<!DO"}}
    assert "b'<!DO'" in judge(facts, MMPROJ="eyes.gguf")["attachment.not_gguf"].fact


def test_koboldcpp_applies_one_adapter(judge: Judge) -> None:
    facts = {"model_files": {"a.gguf": 9, "b.gguf": 9}, "model_heads": {"a.gguf": "GGUF", "b.gguf": "algg"}}
    assert judge(facts, LORA="a.gguf,b.gguf")["lora.too_many"].level == "error"
    assert "lora.too_many" not in judge(facts, LORA="a.gguf,b.gguf", ENGINE="llamacpp")


def test_an_external_engine_loads_its_own(judge: Judge) -> None:
    found = judge(ENGINE="external", ENGINE_URL="http://10.0.0.5:8000", MMPROJ="eyes.gguf")
    assert found["attachment.ignored"].level == "warning" and "attachment.missing" not in found


@pytest.mark.parametrize("value", ["style.gguf:much", "../style.gguf", "style.gguf,,other.gguf", ":0.5"])
def test_a_bad_list_of_adapters_is_refused(judge: Judge, value: str) -> None:
    assert "LORA=" in judge(LORA=value)["setting.invalid"].fact
