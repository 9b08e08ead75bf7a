"""Stopping everything: answers in progress are finished first, data stays."""

from __future__ import annotations

from scripts.lib import compose, log, shell, trials
from scripts.lib.compose import Compose


def stop(appliance: Compose) -> None:
    """Stop and remove the containers, of every profile. Failure `appliance.down_failed`."""
    log.step("stopping; answers in progress are finished first, which may take minutes on a CPU")
    every_profile = [f"--profile={profile}" for profile in compose.PROFILES.values()]
    shell.logged(
        appliance.command(*every_profile, "down", "--remove-orphans"),
        what="docker compose down",
        failure_id="appliance.down_failed",
        hint="`docker ps` shows what still runs",
        env=appliance.environment(),
        show=lambda line: line.strip() if line.strip().endswith("Stopped") else None,
    )
    trials.remove_left(appliance.project)
