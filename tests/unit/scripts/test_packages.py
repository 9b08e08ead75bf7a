"""The host's package sources are read in both of apt's styles, and never changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.lib import apt, base_image, docker_install
from scripts.lib.apt import Source

ONE_LINE = """\
# deb http://off.example/debian bookworm main
deb [signed-by=/usr/share/keyrings/x.gpg arch=amd64] http://mirror.example/debian/ bookworm main contrib # comment
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/debian-security bookworm-security main
"""
DEB822 = """\
# A comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
 contrib

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
Components: main
"""


def test_one_line_style() -> None:
    assert list(apt.one_line_sources(ONE_LINE)) == [
        Source("http://mirror.example/debian", "bookworm", ("main", "contrib")),
        Source("http://mirror.example/debian-security", "bookworm-security", ("main",)),
    ]


def test_deb822_style() -> None:
    both = ("main", "contrib")
    assert list(apt.deb822_sources(DEB822)) == [
        Source("http://mirror.example/debian", "bookworm", both),
        Source("http://mirror.example/debian", "bookworm-updates", both),
    ]


def test_a_mirror_list_of_a_cloud_image_becomes_its_first_mirror(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    mirrors = tmp_path / "mirrors.list"
    mirrors.write_text("# nearest first\nhttp://near.example/debian\tpriority:1\nhttp://far.example/debian\n")
    (tmp_path / "sources.list.d" / "debian.sources").write_text(
        f"Types: deb\nURIs: mirror+file://{mirrors}\nSuites: bookworm\nComponents: main\n"
    )
    (tmp_path / "sources.list.d" / "old.list.save").write_text("deb http://old.example/debian bookworm main\n")
    assert apt.sources(tmp_path) == [Source("http://near.example/debian", "bookworm", ("main",))]


def test_the_mirror_is_the_one_that_carries_the_main_component() -> None:
    listed = [Source("http://a.example", "bookworm", ("contrib",)), Source("http://b.example", "bookworm", ("main",))]
    assert apt.mirror_of("bookworm", listed) == "http://b.example"
    assert apt.mirror_of("trixie", listed) is None


@pytest.mark.parametrize(
    ("configured", "security"),
    [
        (
            [Source("http://m.example/debian/security", "bookworm-security", ("main",))],
            "http://m.example/debian/security",
        ),
        ([], "http://m.example/debian-security"),
    ],
)
def test_the_base_image_gets_security_updates(configured: list[Source], security: str) -> None:
    text = base_image.sources_for("http://m.example/debian", configured)
    assert [(s.uri, s.suite) for s in apt.deb822_sources(text)] == [
        ("http://m.example/debian", "bookworm"),
        ("http://m.example/debian", "bookworm-updates"),
        (security, "bookworm-security"),
    ]


def test_borrowed_packages_come_through_an_apt_state_of_their_own(tmp_path: Path) -> None:
    words = docker_install.private_apt("http://m.example/debian", tmp_path)
    settings = dict(word.split("=", 1) for word in words if word != "-o")
    for name in ("Dir::Etc::sourcelist", "Dir::Etc::sourceparts", "Dir::State::lists", "Dir::Cache"):
        assert settings[name].startswith(str(tmp_path))
    (source,) = apt.deb822_sources((tmp_path / "donor.sources").read_text())
    assert source == Source("http://m.example/debian", "trixie", ("main",))
    assert "Signed-By: " in (tmp_path / "donor.sources").read_text()


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Docker Compose version v2.26.1-4", (2, 26, 1)),
        ("github.com/docker/buildx 0.13.1+ds1 0.13.1+ds1-3", (0, 13, 1)),
        ("20.10.24+dfsg1", (20, 10, 24)),
        ("12", ()),
        (None, ()),
    ],
)
def test_versions_are_found_in_what_tools_print(text: str | None, version: tuple[int, ...]) -> None:
    assert docker_install.version_of(text) == version
