"""Sampling presets for bots. API clients that name samplers themselves are checked in web/kobold.py."""

from __future__ import annotations

from chatproxy.core.types import Sampling

PRESETS: dict[str, Sampling] = {
    # Low temperature keeps to what the prompt says; the mild penalty stops small models from looping.
    "factual": Sampling(temperature=0.2, top_p=0.9, top_k=40, rep_pen=1.05, rep_pen_range=256),
    # KoboldAI's long-standing defaults for chat.
    "balanced": Sampling(temperature=0.7, top_p=0.92, rep_pen=1.08, rep_pen_range=256),
    # min_p cuts the nonsense tail that a high temperature would otherwise reach.
    "creative": Sampling(temperature=1.0, top_p=0.98, min_p=0.05, rep_pen=1.1, rep_pen_range=512),
}
