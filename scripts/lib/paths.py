"""Where things lie in a checkout. Nothing here touches the disk."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(os.path.realpath(__file__)).parents[2]

ENV_FILE = ROOT / ".env"
ENV_EXAMPLE = ROOT / ".env.example"

# Everything that `make up` makes for itself, and that git ignores.
STATE = ROOT / ".appliance"
RESOLVED_ENV = STATE / "resolved.env"
SECRETS = STATE / "secrets"
WIREGUARD = STATE / "wireguard"
STAMPS = STATE / "stamps"
# In there: which sources, and which commit, last came up here. What a restore replaces takes them along.
SOURCES_STAMP, VERSION_STAMP = "sources", "version"
LOGS = STATE / "logs"
# There while `make upgrade` is at work, or was killed: see upgrading.py.
UPGRADE_JOURNAL = STATE / "upgrade" / "journal.json"

MODELS = ROOT / "models"
CATALOG = MODELS / "catalog.toml"
IMAGES = ROOT / "images"
VENV = ROOT / ".venv"
AUDIT_VENV = ROOT / ".venv-audit"
