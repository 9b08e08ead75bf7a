"""A model's own chat template: Jinja as Hugging Face's tokenizers render it.

Whoever made the model file wrote this program. It runs in Jinja's immutable sandbox (llama-cpp-python had
CVE-2024-34359 for not doing so), every loop and every piece of its output looks at the clock, and `probe` runs it in a
child process with limits before it is used at all.

Environment: the transformers documentation ("Writing a chat template") and `_compile_jinja_template` in
transformers/utils/chat_template_utils.py. Runs as a program too (the child of `probe`), so it imports nothing of the
package.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, cast

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

# One rendering takes milliseconds; a conversation is a few megabytes at the very most.
_RENDER_S = 2.0
_LONGEST = 1 << 25
# Limits of the probing child.
_PROBE_S = 20.0
_PROBE_CPU_S = 3
_PROBE_BYTES = 256 << 20

ChatMessage = Mapping[str, str]
_deadline: ContextVar[float] = ContextVar("deadline")


class TemplateFailed(Exception):
    """The template refused the conversation, took too long or is no template; the text says which."""


class ChatTemplate:
    """One template with its model's beginning and end of sequence."""

    def __init__(self, source: str, *, bos: str, eos: str) -> None:
        """Raises TemplateFailed for a template that does not compile."""
        self._words = {"bos_token": bos, "eos_token": eos}
        try:
            self._template = _ENVIRONMENT.from_string(source)
        except (jinja2.TemplateError, RecursionError, ValueError) as error:
            raise TemplateFailed(f"it does not compile: {error}") from error

    def render(self, messages: Sequence[ChatMessage], *, add_generation_prompt: bool = True) -> str:
        """The conversation as text, a beginning-of-sequence token in front where the template writes one.

        `messages` have a role (system, user, assistant) and content. Raises TemplateFailed.
        """
        token = _deadline.set(time.monotonic() + _RENDER_S)
        try:
            pieces, length = [], 0
            for piece in self._template.generate(
                messages=[dict(message) for message in messages],
                add_generation_prompt=add_generation_prompt,
                tools=None,
                documents=None,
                **self._words,
            ):
                pieces.append(piece)
                length += len(piece)
                _tick(length)
            return "".join(pieces)
        except TemplateFailed:
            raise
        except Exception as error:  # somebody else's program: whatever it runs into is its failure
            raise TemplateFailed(f"{type(error).__name__}: {error}"[:300]) from error
        finally:
            _deadline.reset(token)


def probe(source: str, cases: Sequence[tuple[Sequence[ChatMessage], bool]], *, bos: str, eos: str) -> list[str | None]:
    """Render each (messages, add_generation_prompt) in a child process of its own; None where the template refuses.

    Raises TemplateFailed where it does not compile, hangs or needs too much memory.
    """
    order = {"template": source, "bos": bos, "eos": eos, "cases": [[list(messages), flag] for messages, flag in cases]}
    words = [sys.executable, "-I", str(Path(__file__).resolve())]
    try:
        child = subprocess.run(
            words, input=json.dumps(order), capture_output=True, text=True, timeout=_PROBE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise TemplateFailed(f"it did not come to an end within {_PROBE_S:.0f} s") from None
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or [""])[-1]
        raise TemplateFailed(last[:300] or f"it needed more than {_PROBE_CPU_S} s of a CPU, or too much memory")
    rendered: list[str | None] = json.loads(child.stdout)
    return rendered


def _tick(length: int = 0) -> None:
    if length > _LONGEST:
        raise TemplateFailed("its output is too long")
    if time.monotonic() > _deadline.get(float("inf")):
        raise TemplateFailed(f"it took longer than {_RENDER_S:.0f} s")


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with a look at the clock in every round of a loop and every call of a macro."""

    def _parse(self, source: str, name: str | None, filename: str | None) -> jinja2.nodes.Template:
        tree = super()._parse(source, name, filename)
        for node in tree.find_all((jinja2.nodes.For, jinja2.nodes.Macro)):
            block = cast("jinja2.nodes.For | jinja2.nodes.Macro", node)
            look = jinja2.nodes.Call(jinja2.nodes.ImportedName(f"{__name__}._tick"), [], [], None, None)
            block.body.insert(0, jinja2.nodes.ExprStmt(look).set_lineno(node.lineno))
        return tree


class _Generation(jinja2.ext.Extension):
    """{% generation %} marks the assistant's words for training; here it is only its content."""

    tags = {"generation"}  # noqa: RUF012 (as Jinja's own extensions declare it)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _refuse(message: str = "") -> NoReturn:
    raise TemplateFailed(f"the template says: {message}")


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    # Jinja's own filter escapes < and > for HTML.
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _environment() -> _Environment:
    environment = _Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        autoescape=False,
        extensions=["jinja2.ext.loopcontrols", _Generation],
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda shape: datetime.now().astimezone().strftime(shape)
    return environment


_ENVIRONMENT = _environment()


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (_PROBE_CPU_S, _PROBE_CPU_S))
    resource.setrlimit(resource.RLIMIT_DATA, (_PROBE_BYTES, _PROBE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    order = json.load(sys.stdin)
    rendered: list[str | None] = []
    try:
        template = ChatTemplate(order["template"], bos=order["bos"], eos=order["eos"])
    except TemplateFailed as failure:
        sys.exit(str(failure))
    for messages, flag in order["cases"]:
        try:
            rendered.append(template.render(messages, add_generation_prompt=flag))
        except TemplateFailed:
            rendered.append(None)
    json.dump(rendered, sys.stdout)


if __name__ == "__main__":
    _main()
