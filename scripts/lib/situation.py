"""What a check may look at."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.lib.host import Host
from scripts.lib.models import Model
from scripts.lib.settings import Settings
from scripts.lib.sources import Choice


@dataclass(frozen=True)
class Situation:
    """A machine, the settings for it, and what follows from both (None where that is not known yet)."""

    host: Host
    settings: Settings
    model: Model | None
    choice: Choice | None
    # GPU=1 was given; and whether the engine will really compute on a card.
    gpu_wished: bool = False
    gpu: bool = False

    @property
    def engine(self) -> str:
        """The engine that will run, as far as it is known."""
        return self.choice.engine if self.choice else self.settings["ENGINE"]

    @property
    def packages(self) -> bool:
        return self.choice is not None and self.choice.kind == "packages"
