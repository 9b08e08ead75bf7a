"""Prints what a GGUF file tells about its model, as JSON: the child process of adapters.gguf.

    python -I gguf_head.py FILE MEMORY_BYTES CPU_SECONDS

Parsers of this format have had their share of holes (CVE-2025-53630, CVE-2026-27940), so the file is read with limits
on memory and time, in a process that ends afterwards and holds nothing worth having.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal

_CONTROL, _USER_DEFINED = 3, 4


def _limit(memory_bytes: int, cpu_seconds: int) -> None:
    # RLIMIT_DATA and not RLIMIT_AS: the file itself is mapped, and it is larger than any sensible limit.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _facts(path: str) -> dict[str, Any]:
    import numpy as np
    from gguf import GGUFReader, GGUFValueType, ReaderField

    class Head(GGUFReader):
        """The metadata alone. gguf's own reader makes two arrays for each item of each list: for a vocabulary of
        262,144 tokens with its merges that is a gigabyte and half a minute."""

        def _get(self, offset: int, dtype: Any, count: Any = 1, override_order: Any = None) -> Any:
            # gguf's own takes what there is.
            values = super()._get(offset, dtype, count, override_order)
            if len(values) != count:
                raise ValueError("the file ends inside its head")
            return values

        def _build_tensor_info(self, offs: int, count: int) -> tuple[int, list[ReaderField]]:
            return offs, []

        def _get_field_parts(
            self, orig_offs: int, raw_type: int
        ) -> tuple[int, list[Any], list[int], list[GGUFValueType]]:
            if raw_type != GGUFValueType.ARRAY:
                return super()._get_field_parts(orig_offs, raw_type)
            kind = GGUFValueType(self._get(orig_offs, np.uint32)[0])
            count = int(self._get(orig_offs + 4, np.uint64)[0])
            start = orig_offs + 12
            if kind == GGUFValueType.STRING:
                size, texts = self._texts(start, count)
                return size + 12, [texts], [0], [GGUFValueType.ARRAY, kind]
            values = self._get(start, self.gguf_scalar_to_np[kind], count)
            return values.nbytes + 12, [values], [0], [GGUFValueType.ARRAY, kind]

        def _texts(self, start: int, count: int) -> tuple[int, list[bytes]]:
            view, place, texts = self.data.data, start, []
            same = self.byte_order == "I"
            order: Literal["little", "big"] = "little" if same == (sys.byteorder == "little") else "big"
            if 8 * count > len(view) - start:
                raise ValueError("a list runs past the end of the file")
            for _ in range(count):
                size = int.from_bytes(view[place : place + 8], order)
                text = bytes(view[place + 8 : place + 8 + size])
                if len(text) != size:
                    raise ValueError("a text runs past the end of the file")
                texts.append(text)
                place += 8 + size
            return place - start, texts

    fields = Head(path).fields

    def _content(field: ReaderField) -> Callable[[], Any]:
        texts = field.types[-1:] == [GGUFValueType.STRING] and field.types[:1] == [GGUFValueType.ARRAY]
        return lambda: field.parts[field.data[0]] if texts else field.contents()

    def value(name: str, read: Callable[[ReaderField], Any], otherwise: Any) -> Any:
        return read(fields[name]) if name in fields else otherwise

    texts: list[bytes] = value("tokenizer.ggml.tokens", lambda f: f.parts[f.data[0]], [])
    types = value("tokenizer.ggml.token_type", lambda f: f.parts[f.data[0]].tolist(), [])

    def token(name: str) -> str:
        number = value(f"tokenizer.ggml.{name}_token_id", lambda f: int(f.contents()), -1)
        return texts[number].decode("utf-8", "replace") if 0 <= number < len(texts) else ""

    def of_type(wanted: int) -> list[str]:
        return [t.decode("utf-8", "replace") for t, kind in zip(texts, types, strict=False) if kind == wanted and t]

    architecture = value("general.architecture", lambda f: str(f.contents()), "")
    return {
        "architecture": architecture,
        "context_length": value(f"{architecture}.context_length", lambda f: int(f.contents()), None),
        "chat_template": value("tokenizer.chat_template", lambda f: str(f.contents()), ""),
        "bos": token("bos"),
        "eos": token("eos"),
        "adds_bos": value("tokenizer.ggml.add_bos_token", lambda f: bool(f.contents()), None),
        "control": of_type(_CONTROL),
        "user_defined": of_type(_USER_DEFINED),
        "title": value("general.name", lambda f: str(f.contents()), ""),
        "shape": _shape(architecture, {name: _content(field) for name, field in fields.items()}),
    }


def _shape(architecture: str, contents: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """What core.fitting.Shape reads: the architecture's own numbers, and how long the lists of the tokenizer are."""
    told: dict[str, Any] = {"general.architecture": architecture}
    for name, content in contents.items():
        if name in ("tokenizer.ggml.tokens", "tokenizer.ggml.merges"):
            told[name] = len(content())
        elif name.startswith(f"{architecture}."):
            value = content()
            if isinstance(value, int) or (isinstance(value, list) and all(isinstance(item, int) for item in value)):
                told[name] = value
    return told


if __name__ == "__main__":
    _limit(int(sys.argv[2]), int(sys.argv[3]))
    try:
        json.dump(_facts(sys.argv[1]), sys.stdout)
    except MemoryError:
        sys.exit("it needs too much memory to be read")
    except Exception as error:  # whatever a damaged file leads into, one line tells it
        sys.exit(f"{type(error).__name__}: {error}"[:300])
