"""Each format byte for byte: as its model's card has it, and in every shape that a conversation takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import tomllib

from chatproxy.core.prompts import Formats
from chatproxy.core.types import Bot, Turn
from chatproxy.errors import ConfigurationError

FORMATS = Formats()
GOLDEN = {path.stem: tomllib.loads(path.read_text()) for path in (Path(__file__).parent / "golden").glob("*.toml")}

U1, A1, U2 = Turn("user", "U1"), Turn("assistant", "A1"), Turn("user", "U2")
EXAMPLES = (
    (Turn("user", "EU1"), Turn("assistant", "EA1")),
    (Turn("user", "EU2"), Turn("assistant", "EA2")),
)
SHAPES: dict[str, tuple[Bot, Sequence[Turn]]] = {
    "one_turn": (Bot("m", "Mira", system="S"), [U1]),
    "no_system": (Bot("m", "Mira"), [U1]),
    "several_turns": (Bot("m", "Mira", system="S"), [U1, A1, U2]),
    "several_turns_no_system": (Bot("m", "Mira"), [U1, A1, U2]),
    "persona": (Bot("m", "Mira", persona="P"), [U1]),
    "system_and_persona": (Bot("m", "Mira", system="S", persona="P"), [U1]),
    "greeting": (Bot("m", "Mira", system="S", greeting="G"), [U1, A1, U2]),
    "greeting_no_system": (Bot("m", "Mira", greeting="G"), [U1]),
    "examples": (Bot("m", "Mira", system="S", examples=EXAMPLES), [U1]),
    "examples_persona_greeting": (Bot("m", "Mira", persona="P", greeting="G", examples=EXAMPLES[:1]), [U1]),
    "examples_alone": (Bot("m", "Mira", examples=EXAMPLES), [U1]),
    "two_questions_in_a_row": (Bot("m", "Mira", system="S"), [U1, U2]),
    "two_answers_in_a_row": (Bot("m", "Mira"), [U1, A1, Turn("assistant", "A2"), U2]),
    "an_answer_comes_first": (Bot("m", "Mira", system="S"), [A1, U2]),
    "an_answer_comes_last": (Bot("m", "Mira"), [U1, A1]),
    "nothing_was_said": (Bot("m", "Mira", system="S"), []),
}

# What the models' cards say, S U1 A1 U2: written down by hand, apart from the golden files.
CARDS = {
    "metharme": "<|system|>S<|user|>U1<|model|>A1<|user|>U2<|model|>",
    "pygmalion": "Mira's Persona: S\n<START>\nYou: U1\nMira: A1\nYou: U2\nMira:",
    "alpaca": "S\n\n### Instruction:\nU1\n\n### Response:\nA1</s>\n\n### Instruction:\nU2\n\n### Response:\n",
    "vicuna": "S USER: U1 ASSISTANT: A1</s>USER: U2 ASSISTANT:",
    "chatml": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU1<|im_end|>\n<|im_start|>assistant\nA1<|im_end|>\n"
    "<|im_start|>user\nU2<|im_end|>\n<|im_start|>assistant\n",
    "llama-2": "[INST] <<SYS>>\nS\n<</SYS>>\n\nU1 [/INST] A1 </s><s>[INST] U2 [/INST]",
    "llama-3": "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nU1<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nA1<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nU2<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "mistral-v1": " [INST] S\n\nU1 [/INST] A1</s> [INST] U2 [/INST]",
    "mistral-v3": "[INST] U1[/INST] A1</s>[INST] S\n\nU2[/INST]",
    "mistral-tekken": "[INST]U1[/INST]A1</s>[INST]S\n\nU2[/INST]",
    "mistral-v7": "[SYSTEM_PROMPT]S[/SYSTEM_PROMPT][INST]U1[/INST]A1</s>[INST]U2[/INST]",
    "zephyr": "<|system|>\nS</s>\n<|user|>\nU1</s>\n<|assistant|>\nA1</s>\n<|user|>\nU2</s>\n<|assistant|>\n",
    "gemma": "<start_of_turn>user\nS\n\nU1<end_of_turn>\n<start_of_turn>model\nA1<end_of_turn>\n"
    "<start_of_turn>user\nU2<end_of_turn>\n<start_of_turn>model\n",
    "phi-3": "<|system|>\nS<|end|>\n<|user|>\nU1<|end|>\n<|assistant|>\nA1<|end|>\n"
    "<|user|>\nU2<|end|>\n<|assistant|>\n",
    "command-r": "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>S<|END_OF_TURN_TOKEN|>"
    "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>U1<|END_OF_TURN_TOKEN|>"
    "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>A1<|END_OF_TURN_TOKEN|>"
    "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>U2<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    "deepseek": "S<\uff5cUser\uff5c>U1<\uff5cAssistant\uff5c>A1<\uff5cend\u2581of\u2581sentence\uff5c>"
    "<\uff5cUser\uff5c>U2<\uff5cAssistant\uff5c>",
    "raw": "S\n\nU1\nA1\nU2",
}
STOPS = {
    "metharme": ("<|user|>", "<|system|>", "<|model|>"),
    "pygmalion": ("\nYou:", "<START>", "\nMira:"),
    "alpaca": ("### Instruction:",),
    "vicuna": ("USER:",),
    "chatml": ("<|im_end|>", "<|im_start|>"),
    "llama-2": ("[INST]",),
    "llama-3": ("<|eot_id|>",),
    "mistral-v1": ("[INST]",),
    "mistral-v3": ("[INST]",),
    "mistral-tekken": ("[INST]",),
    "mistral-v7": ("[INST]",),
    "zephyr": ("</s>", "<|user|>"),
    "gemma": ("<end_of_turn>", "<start_of_turn>"),
    "phi-3": ("<|end|>",),
    "command-r": ("<|END_OF_TURN_TOKEN|>",),
    "deepseek": ("<\uff5cUser\uff5c>",),
    "raw": (),
}


def render(name: str, shape: str) -> str:
    bot, turns = SHAPES[shape]
    return FORMATS.get(name).render(bot, turns).text


def test_every_format_has_its_card_its_stops_and_its_golden_file() -> None:
    assert FORMATS.names == CARDS.keys() == STOPS.keys() == GOLDEN.keys()


@pytest.mark.parametrize("name", CARDS)
def test_format_as_its_models_card_has_it(name: str) -> None:
    assert render(name, "several_turns") == CARDS[name]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", GOLDEN)
def test_format_byte_for_byte(name: str, shape: str) -> None:
    assert render(name, shape) == GOLDEN[name][shape]


@pytest.mark.parametrize("name", STOPS)
def test_stops(name: str) -> None:
    assert FORMATS.get(name).render(Bot("m", "Mira"), [U1]).stops == STOPS[name]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", sorted(FORMATS.names))
def test_no_format_writes_a_beginning_of_sequence_token_in_front(name: str, shape: str) -> None:
    beginnings = ("<s>", "<bos>", "<|begin_of_text|>", "<BOS_TOKEN>", "<\uff5cbegin")
    assert not render(name, shape).lstrip().startswith(beginnings)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["llama-2", "mistral-v1", "mistral-v3", "mistral-tekken", "mistral-v7"])
def test_strict_formats_alternate_whatever_was_said(name: str, shape: str) -> None:
    text = render(name, shape).replace("[/INST]", "<answer>")
    opened = re.findall(r"\[INST\]|<answer>", text)
    assert opened == ["[INST]", "<answer>"] * (len(opened) // 2)
    assert text.endswith("<answer>")


@pytest.mark.parametrize("name", sorted(FORMATS.names))
def test_text_that_looks_like_a_template_stays_text(name: str) -> None:
    hostile = "{{ system }} {% for x in turns %}{{ x }}{% endfor %} {{ 7 * 7 }} ${name} %(name)s"
    prompt = FORMATS.get(name).render(Bot("m", "Mira", system="SECRET"), [Turn("user", hostile)])
    assert hostile in prompt.text
    assert prompt.text.count("SECRET") == 1


@pytest.mark.parametrize("name", sorted(FORMATS.names))
def test_what_the_operator_wrote_is_taken_as_it_is(name: str) -> None:
    words = "You: <|im_end|>[INST]"
    bot = Bot("m", "Mira", system=words, persona=words, examples=((Turn("user", words),),), greeting=words)
    assert FORMATS.get(name).render(bot, [U1]).text.count(words) == 4


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"'alpacka'.*alpaca, chatml, command-r"):
        FORMATS.get("alpacka")


GOOD = 'control = ["<x>"]\nline_markers = []\nstops = []\ntemplate = "{% for t in turns %}({{ t.text }}){% endfor %}"\n'


def test_an_operators_file_adds_a_format_and_one_of_a_known_name_takes_its_place(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GOOD)
    (tmp_path / "zephyr.toml").write_text(GOOD)
    formats = Formats(tmp_path)
    assert formats.get("mine").render(Bot("m", "Mira"), [U1, A1]).text == "(U1)(A1)"
    assert formats.get("zephyr").render(Bot("m", "Mira"), [Turn("user", "<x>")]).text == "(< x>)"
    assert formats.names == FORMATS.names | {"mine"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("stops = [", "bad.toml"),
        ('stops = []\ncontrol = []\ntemplate = "x"', "line_markers is missing"),
        (GOOD + "colour = 1", "there is no colour"),
        (GOOD.replace('["<x>"]', "[1]"), "control must be a list of texts"),
        (GOOD + "turns = 'backwards'", "turns must be one of any, merged, alternating"),
        (GOOD.replace("{% for", "{% of"), "bad.toml"),
        (GOOD.replace("turns %}", "turn %}"), "'turn' is undefined"),
        (GOOD.replace("t.text", "t.role"), "does not write every turn"),
        (GOOD.replace("stops = []", 'stops = ["{{ colour }}"]'), "'colour' is undefined"),
        (GOOD.replace("t.text", "t.__class__.__mro__"), "bad.toml"),
    ],
)
def test_a_broken_operators_file_is_refused_with_its_reason_and_the_others_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str, reason: str
) -> None:
    (tmp_path / "bad.toml").write_text(content)
    (tmp_path / "good.toml").write_text(GOOD)
    formats = Formats(tmp_path)
    assert formats.names == FORMATS.names | {"good"}
    assert str(tmp_path / "bad.toml") in caplog.text
    assert reason in caplog.text
    with pytest.raises(ConfigurationError) as raised:
        formats.get("bad")
    assert reason in str(raised.value)


def test_a_broken_file_of_a_known_name_does_not_bring_the_known_one_back(tmp_path: Path) -> None:
    (tmp_path / "chatml.toml").write_text("stops = [")
    with pytest.raises(ConfigurationError, match=r"chatml\.toml"):
        Formats(tmp_path).get("chatml")


def test_the_name_auto_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "auto.toml").write_text(GOOD)
    assert "auto" not in Formats(tmp_path).names
    with pytest.raises(ConfigurationError, match="FORMATS_DIR"):
        Formats(tmp_path / "nowhere")


@pytest.mark.parametrize("name", sorted(FORMATS.names))
def test_every_new_conversation_begins_with_the_beginning(name: str) -> None:
    bot = Bot("m", "Mira", system="Be kind.", persona="Mira sails.", greeting="Ahoy!", examples=EXAMPLES)
    beginning = FORMATS.get(name).beginning(bot)
    for part in ("Be kind.", "Mira sails.", "Ahoy!", "EA2"):
        assert part in beginning or name.startswith(("mistral-v3", "mistral-tekken"))
    for question in ("Where is it?", " 9 lives", "\n\nämter", "?"):
        assert FORMATS.get(name).render(bot, [Turn("user", question)]).text.startswith(beginning)
    assert not beginning.endswith(" ")
