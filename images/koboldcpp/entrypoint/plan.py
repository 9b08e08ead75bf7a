"""What the entrypoint decides on: koboldcpp's command line, and what is to be said about it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Plan:
    """koboldcpp's flags, in order, and one sentence for each thing that was done otherwise than asked.

    `environment` holds the variables that koboldcpp is started with besides.
    """

    words: list[str]
    warnings: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, *values: object) -> None:
        self.words += [name, *map(str, values)]
