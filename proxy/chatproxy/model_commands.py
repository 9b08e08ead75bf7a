"""What `make model` asks of the proxy, inside its container, as `python -m chatproxy hold 120`.

hold SECONDS    admit nobody to the engine while it is exchanged; a hold ends by itself
release         end it now
try-engine      have the engine say a few words, past the queue
check-model     whether the proxy could start with another model: its file and prompt format
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from chatproxy import building
from chatproxy.core.prompts import AUTO
from chatproxy.core.types import Finish, Generation, Sampling, Text
from chatproxy.errors import ChatProxyError, ConfigurationError
from chatproxy.findings import not_done
from chatproxy.settings import Settings

FAMILIES = ("hold", "release", "try-engine", "check-model")
_LONGEST_S = 3600.0
# The running proxy looks twice a second; when `hold` returns, it counts.
_SEEN_AFTER_S = 1.0
# Any text goes on from here, in whatever format the model was trained.
_TRIAL = Generation("The capital of France is", 16, sampling=Sampling(temperature=0.7, ban_eos_token=True))


def add_parsers(families: Any) -> None:
    """Their arguments, into the subparsers of the whole command line."""
    hold = families.add_parser("hold", help="admit nobody to the engine for so long; who comes waits in the queue")
    hold.add_argument("seconds", type=float)
    hold.add_argument("--turn-away", action="store_true", help="also send away who waits: this process is to end")
    families.add_parser("release", help="end the hold")
    families.add_parser("try-engine", help="have the engine say a few words, past the queue")
    check = families.add_parser("check-model", help="whether the proxy could start with a model")
    check.add_argument("--file", type=Path, required=True)
    check.add_argument("--format", required=True)
    check.add_argument("--name", required=True)


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Run one command; returns its exit status."""
    try:
        settings = Settings.from_environment(environment)
        if options.family == "try-engine":
            return _try_engine(settings)
        if options.family == "check-model":
            return _check_model(settings, options)
        if options.family == "release":
            building.hold_file(settings).remove()
            return 0
        return _hold(settings, options)
    except ConfigurationError as error:
        return not_done("setting.invalid", str(error), "correct the setting that is named")
    except OSError as error:
        return not_done("hold.impossible", f"HOLD_FILE: {error.strerror}", "is the container's /tmp full?")


def _hold(settings: Settings, options: argparse.Namespace) -> int:
    if not 0 < options.seconds <= _LONGEST_S:
        return not_done("hold.seconds_invalid", f"SECONDS must be above 0 and at most {_LONGEST_S:.0f}", "as hold 120")
    building.hold_file(settings).write(options.seconds, turn_away=options.turn_away)
    time.sleep(_SEEN_AFTER_S)
    return 0


def _check_model(settings: Settings, options: argparse.Namespace) -> int:
    """What the proxy does with the model's file when it starts; the name of its prompt format goes to stdout."""
    wanted = replace(settings, model=options.name, model_file=options.file, prompt_format=options.format)
    try:
        print(building.formats(wanted).get(AUTO).name)
    except ConfigurationError as error:
        hint = "set PROMPT_FORMAT to the model's own format, as its card says: `make model NAME=... PROMPT_FORMAT=...`"
        return not_done("model.format_unknown", str(error), hint)
    return 0


def _try_engine(settings: Settings) -> int:
    """Each of the engines has to say something; what they say goes to stdout."""
    for number in range(len(settings.engine_urls)):
        said = ""
        try:
            with closing(building.engine(settings, number).generate(_TRIAL)) as events:
                for event in events:
                    if isinstance(event, Text):
                        said += event.text
                    if isinstance(event, Finish):
                        break
        except ChatProxyError as error:
            return not_done("engine.no_answer", f"the engine gave no answer: {error}", "`make logs SERVICE=engine`")
        if not any(letter.isalnum() for letter in said):
            fact = f"the engine runs, but to {_TRIAL.prompt!r} it says {said!r}"
            return not_done("engine.no_answer", fact, "the file of the model is broken, or not what its name says")
        print(said.strip())
    return 0
