"""The proxy's arithmetic of models, for scripts: the one module of its package that they import.

It needs nothing but the standard library, so that the host's own Python can read it.
"""

from __future__ import annotations

import sys

from scripts.lib import paths

if str(paths.ROOT / "proxy") not in sys.path:
    sys.path.append(str(paths.ROOT / "proxy"))

from chatproxy.core.fitting import (
    MB,
    Need,
    Shape,
    active_bytes,
    layers_on_gpu,
    need,
    parameters,
    tokens_per_second,
)

__all__ = ["MB", "Need", "Shape", "active_bytes", "layers_on_gpu", "need", "parameters", "tokens_per_second"]
