"""The engine image's environment."""

from __future__ import annotations

import pytest

from images.koboldcpp.entrypoint.refusal import RefusedError
from images.koboldcpp.entrypoint.settings import Settings


def test_defaults() -> None:
    settings = Settings.read({})
    assert settings == Settings(model="", context_size=4096, threads=None, gpu_layers=-1, slots=1)
    assert Settings.read({"THREADS": "auto", "GPU_LAYERS": "auto", "KOBOLDCPP_ARGS": " "}) == settings


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("python koboldcpp.py --threads 8", ("--threads", "8")),
        ("python3.11 -u /opt/koboldcpp/koboldcpp.py m.bin", ("m.bin",)),
        (r".\koboldcpp_nocuda.exe --launch", ("--launch",)),
        ("./koboldcpp-linux-x64 --quiet", ("--quiet",)),
        ("--threads 8", ("--threads", "8")),
        ("koboldcpp-model.gguf --quiet", ("koboldcpp-model.gguf", "--quiet")),
        ("python koboldcpp.py", ()),
        ("", ()),
    ],
)
def test_the_program_is_taken_off_a_launch_line(line: str, words: tuple[str, ...]) -> None:
    line = line.replace("\\", "\\\\")
    assert Settings.read({"LAUNCH_COMMAND": line}).words == words


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONTEXT_SIZE", "255"),
        ("CONTEXT_SIZE", "4k"),
        ("THREADS", "0"),
        ("GPU_LAYERS", "-2"),
        ("ENGINE_SLOTS", "33"),
        ("KOBOLDCPP_ARGS", "--model 'half"),
    ],
)
def test_a_bad_value_names_variable_and_value(name: str, value: str) -> None:
    with pytest.raises(RefusedError, match=name):
        Settings.read({name: value})
