"""What a Dockerfile ships, out of stages, arguments and lines that go on."""

from __future__ import annotations

import pytest

from scripts.lib import dockerfiles, paths

TEXT = """\
ARG BASE=debian:bookworm-slim
ARG KIND=cpu
FROM ${BASE} AS builder
RUN apt-get install -y build-essential
USER 0

FROM ${BASE} AS runtime-cpu
# hadolint ignore=DL3008
RUN apt-get update \\
    # a comment between
    && apt-get install -y --no-install-recommends libgomp1 \\
        python3 \\
    && rm -rf /var/lib/apt/lists/*
USER 1
from runtime-${KIND}
COPY --from=builder /out /out
USER 10001:10001
HEALTHCHECK --interval=5s \\
    CMD ["true"]
"""


def test_the_last_stage_with_all_below_it() -> None:
    image = dockerfiles.shipped(TEXT)
    assert image.base == "debian:bookworm-slim"
    assert image.packages == ("libgomp1", "python3")
    assert image.last("USER") == "10001:10001"
    assert image.last("HEALTHCHECK").endswith('CMD ["true"]')
    assert image.last("STOPSIGNAL") == ""


def test_a_target_ends_where_it_ends() -> None:
    assert dockerfiles.shipped(TEXT, "runtime-cpu").last("USER") == "1"
    assert dockerfiles.shipped(TEXT, "builder").packages == ("build-essential",)
    with pytest.raises(KeyError):
        dockerfiles.shipped(TEXT, "nowhere")


def test_the_projects_own() -> None:
    def image(name: str, target: str = "") -> dockerfiles.Shipped:
        return dockerfiles.shipped((paths.IMAGES / name / "Dockerfile").read_text(), target)

    assert image("mongo", "upstream").base.partition("@")[0] == "mongo:8.0.17"
    assert image("mongo", "packages").base == "chatbot-base:local"
    assert image("koboldcpp").packages == ("libstdc++6", "python3", "python3-jinja2", "tini")
    assert "wireguard-tools" in image("wireguard").packages
    assert image("base", "runtime").packages == ("ca-certificates", "python3")
