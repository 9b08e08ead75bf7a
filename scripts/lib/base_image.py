"""The common base image made from the distribution's own archive, for hosts that reach no image hub.

The result stands in for `debian:bookworm-slim`: the same packages and certificates, documentation and caches left out,
and apt set up for the mirror (security updates included) that the host itself uses.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.lib import apt, docker_daemon, log, shell
from scripts.lib.failure import Failure

SUITE = "bookworm"
TAG = f"chatbot-debian:{SUITE}"

_DEBIAN_KEYRING = "debian-archive-keyring"

# As in the official slim image: what a container never reads, now and for every package installed later.
_LEFT_OUT = ("/usr/share/doc", "/usr/share/man", "/usr/share/info", "/usr/share/locale", "/usr/share/lintian")
_DPKG_SLIM = "".join(f"path-exclude {folder}/*\n" for folder in _LEFT_OUT) + (
    "path-include /usr/share/doc/*/copyright\npath-include /usr/share/locale/locale.alias\n"
)
_APT_SLIM = """\
APT::Install-Recommends "false";
APT::AutoRemove::SuggestsImportant "false";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };
"""
# No service may start while an image is built.
_POLICY = "#!/bin/sh\nexit 101\n"

# A host whose mirror is a frozen snapshot says so in its apt settings; inside the image the same mirror needs the same.
_INHERITED = ("Acquire::Check-Valid-Until", "Acquire::Check-Date")

_PRUNE = r"""
set -eu
root=$1
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log "$root"/var/log/apt "$root"/debootstrap
rm -rf "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/lintian "$root"/var/cache/debconf/*-old
find "$root/usr/share/doc" -depth \( -type f -o -type l \) ! -name copyright -delete
find "$root/usr/share/doc" -depth -type d -empty -delete
find "$root/usr/share/locale" -mindepth 1 -maxdepth 1 ! -name locale.alias -exec rm -rf {} +
rm -f "$root"/etc/machine-id "$root"/var/lib/dbus/machine-id "$root"/etc/resolv.conf "$root"/etc/hostname
: > "$root/etc/machine-id"
"""


def present() -> bool:
    return docker_daemon.ask("image", "inspect", TAG)[0] == 0


def ensure() -> bool:
    """Make the base image unless it is there. Returns True when it was made; takes about half a minute."""
    if present():
        return False
    log.step(f"making the base image {TAG} with debootstrap")
    _install_debootstrap()
    # Device nodes and set-uid files must survive until `tar` reads them, so not on a nodev or noexec /tmp.
    scratch = "/var/tmp" if Path("/var/tmp").is_dir() else None  # noqa: S108 - mkdtemp makes a folder of its own in it
    folder = Path(tempfile.mkdtemp(prefix="chatbot-base-", dir=scratch))
    try:
        root = folder / "root"
        _bootstrap(root)
        _import(root)
    finally:
        shell.capture(shell.as_root(["rm", "-rf", "--one-file-system", str(folder)]), timeout=120)
    return True


def _install_debootstrap() -> None:
    wanted = ["debootstrap", _DEBIAN_KEYRING]
    if not all(apt.installed(name) for name in wanted):
        apt.update()
        apt.install(wanted)


def _bootstrap(root: Path) -> None:
    configured = apt.sources()
    mirror = apt.mirror_of(SUITE, configured) or _any_debian_mirror(configured)
    command = [
        "debootstrap", "--variant=minbase", "--include=ca-certificates",
        f"--keyring=/usr/share/keyrings/{_DEBIAN_KEYRING}.gpg", SUITE, str(root),
    ]  # fmt: skip
    shell.logged(
        # Without a Debian mirror in the host's own sources (Ubuntu), debootstrap's built-in one is used.
        [*command, mirror] if mirror else command,
        what="debootstrap",
        failure_id="base_image.debootstrap_failed",
        hint="the log says what was missing; debootstrap needs root, and a disk not mounted nodev or noexec",
        root=True,
        show=_milestone,
    )
    for path, text in _configuration(root, configured, mirror).items():
        _write_as_root(root / path, text)
    shell.logged(
        ["sh", "-c", _PRUNE, "prune", str(root)],
        what="slimming the base image",
        failure_id="base_image.failed",
        root=True,
    )


def _milestone(line: str) -> str | None:
    last_of_a_phase = ("I: Retrieving ca-certificates", "I: Extracting zlib1g", "I: Base system installed")
    return line.removeprefix("I: ") if line.startswith(last_of_a_phase) else None


def _any_debian_mirror(configured: Sequence[apt.Source]) -> str | None:
    """A Debian 13 host names its mirror with its own suite; the same address carries Debian 12."""
    for suite in ("trixie", "stable"):
        mirror = apt.mirror_of(suite, configured)
        if mirror:
            return mirror
    return None


def _configuration(root: Path, configured: Sequence[apt.Source], mirror: str | None) -> dict[str, str]:
    """{path inside the image: text} that makes apt usable and thrifty in image builds."""
    if mirror is None:
        (mirror,) = [source.uri for source in apt.sources(root / "etc/apt") if source.suite == SUITE][:1]
    settings = [f'{name} "{value}";\n' for name in _INHERITED if (value := _apt_setting(name))]
    return {
        "etc/apt/sources.list": "",
        "etc/apt/sources.list.d/debian.sources": sources_for(mirror, configured),
        "etc/apt/apt.conf.d/90slim": _APT_SLIM + "".join(settings),
        "etc/dpkg/dpkg.cfg.d/90slim": _DPKG_SLIM,
        "usr/sbin/policy-rc.d": _POLICY,
    }


def sources_for(mirror: str, configured: Sequence[apt.Source]) -> str:
    """A deb822 sources file for the image: the release, its updates, and its security suite."""
    # The security archive lies beside the main one on full mirrors; the host's own entry knows better where it has one.
    security = next((s.uri for s in configured if s.suite.endswith("-security") and "debian" in s.uri), None)
    if security is None:
        security = mirror.removesuffix("/debian") + "/debian-security"
    stanza = "Types: deb\nURIs: {}\nSuites: {}\nComponents: main\nSigned-By: /usr/share/keyrings/{}.gpg\n"
    return "\n".join(
        (
            stanza.format(mirror, f"{SUITE} {SUITE}-updates", _DEBIAN_KEYRING),
            stanza.format(security, f"{SUITE}-security", _DEBIAN_KEYRING),
        )
    )


def _apt_setting(name: str) -> str:
    found = shell.output(["apt-config", "shell", "value", name]) or ""
    return found.removeprefix("value=").strip("'\"")


def _write_as_root(path: Path, text: str) -> None:
    mode = "0755" if text.startswith("#!") else "0644"
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as draft:
        draft.write(text)
        draft.flush()
        shell.logged(
            ["install", "-D", "-m", mode, draft.name, str(path)],
            what=f"writing {path.name}",
            failure_id="base_image.failed",
            root=True,
        )


def _import(root: Path) -> None:
    """`tar | docker import`; numeric owners, so that the host's user names do not leak into the image."""
    pack = shell.as_root(["tar", "-C", str(root), "--numeric-owner", "--one-file-system", "-c", "."])
    load = docker_daemon.docker("import", "--change", 'CMD ["bash"]', "-", TAG)
    log.info("importing the base image into Docker")
    with (
        log.file().open("ab") as log_file,
        subprocess.Popen(pack, stdout=subprocess.PIPE, stderr=log_file, env=shell.environment()) as packing,
    ):
        loading = subprocess.run(
            load, stdin=packing.stdout, stdout=log_file, stderr=log_file, env=shell.environment(), check=False
        )
        if packing.stdout:
            # A tar that still writes learns that its reader is gone.
            packing.stdout.close()
        packed = packing.wait()
    if packed or loading.returncode:
        raise Failure(
            "base_image.failed",
            f"the base image could not be imported (tar {packed}, docker import {loading.returncode})",
            f"read {log.file()}; a full disk is the usual reason",
        )
