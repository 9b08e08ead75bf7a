"""Docker Engine, Compose v2 and buildx from the distribution's own packages.

Debian 12 carries an engine but neither Compose v2 nor buildx. Debian 13's packages of these two hold one static-enough
Go binary each (they need glibc 2.34, Debian 12 has 2.36), so they are fetched from the host's own Debian mirror through
apt, in an apt state of their own, and only the two plugin binaries are put in place: the system's package sources and
its package database stay as they were.
"""

from __future__ import annotations

import functools
import re
import tempfile
from pathlib import Path

from scripts.lib import apt, docker_daemon, log, shell
from scripts.lib.failure import Failure

PLUGIN_FOLDER = Path("/usr/local/lib/docker/cli-plugins")
PLUGINS = {"compose": "docker-compose", "buildx": "docker-buildx"}

# `include` with paths relative to the project came with 2.20; `--env-file` may be given twice since 2.17.
MIN_COMPOSE = (2, 20)
# 20.10 is Debian 12's; BuildKit's secret and cache mounts work from there on.
MIN_ENGINE = (20, 10)

_DONOR_SUITE = "trixie"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def version_of(text: str | None) -> tuple[int, ...]:
    """(2, 26, 1) of 'Docker Compose version v2.26.1-4'; () when there is no number in it."""
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text or "")
    return tuple(int(part) for part in match.groups() if part is not None) if match else ()


def plugin_version(plugin: str) -> tuple[int, ...]:
    """Version of a docker CLI plugin (`compose`, `buildx`); () when it is missing."""
    return version_of(shell.output(["docker", plugin, "version"]))


def missing_plugins() -> list[str]:
    least = {"compose": MIN_COMPOSE, "buildx": (0,)}
    return [plugin for plugin in PLUGINS if plugin_version(plugin) < least[plugin] or not plugin_version(plugin)]


def ensure(distribution: str, release: str) -> bool:
    """Install what is missing and start the daemon. `distribution` and `release` are os-release's ID and VERSION_ID.

    Returns True when something was installed.
    """
    changed = False
    engine = shell.which("dockerd") is not None
    if not engine or shell.which("docker") is None:
        log.step("Docker Engine is missing: installing the distribution's own")
        apt.update()
        # Debian 13 keeps the command line in a package of its own. On a kernel with AppArmor dockerd wants its parser.
        extra = [name for name in ("docker-cli", "apparmor") if apt.available(name)]
        apt.install(["docker.io", "ca-certificates", *extra])
        changed = True
    docker_daemon.ensure_running()
    plugins = missing_plugins()
    if plugins:
        log.step(f"docker plugins are missing: installing {' and '.join(plugins)}")
        _install_plugins(plugins, distribution, release, fresh=changed)
        changed = True
        still = missing_plugins()
        if still:
            raise Failure(
                "docker.plugins_failed",
                f"docker still has no usable {' and '.join(still)} plugin after installing it",
                f"look at `docker info` and at {PLUGIN_FOLDER} and /usr/libexec/docker/cli-plugins",
            )
    return changed


def _install_plugins(plugins: list[str], distribution: str, release: str, *, fresh: bool) -> None:
    names = {
        "compose": "docker-compose-v2" if distribution == "ubuntu" else "docker-compose",
        "buildx": "docker-buildx",
    }
    own = distribution == "ubuntu" or version_of(release + ".0") >= (13,)
    # The distribution's plugins depend on the distribution's command line: beside Docker's own packages only the
    # binaries are taken.
    if own and apt.installed("docker.io"):
        if not fresh:
            apt.update()
        apt.install([names[plugin] for plugin in plugins])
    elif distribution == "debian":
        _borrow_from_debian(plugins)
    else:
        raise Failure(
            "compose.missing",
            "Docker did not come from Ubuntu's packages and lacks a plugin: " + ", ".join(plugins),
            "install docker-compose-plugin and docker-buildx-plugin from the place where your Docker came from",
        )


def _borrow_from_debian(plugins: list[str]) -> None:
    mirror = debian_mirror()
    log.info(f"taking {', '.join(PLUGINS[p] for p in plugins)} of Debian 13 from {mirror} (plugin binaries only)")
    with tempfile.TemporaryDirectory(prefix="chatbot-apt-") as folder:
        for plugin, binary in fetch_debian_plugins(plugins, mirror, Path(folder)).items():
            target = PLUGIN_FOLDER / f"docker-{plugin}"
            shell.logged(
                ["install", "-D", "-m", "0755", str(binary), str(target)],
                what=f"placing {target}",
                failure_id="docker.plugins_failed",
                root=True,
            )


def debian_mirror() -> str:
    """The Debian mirror that the host itself is set up with."""
    codename = shell.output(["sh", "-c", '. /etc/os-release && echo "$VERSION_CODENAME"']) or ""
    mirror = apt.mirror_of(codename, apt.sources())
    if mirror is None:
        raise Failure(
            "apt.no_mirror",
            f"no package source in /etc/apt carries `{codename or 'this release'} main`",
            "add the distribution's own archive to /etc/apt/sources.list.d, then `make up` again",
        )
    return mirror


def fetch_debian_plugins(plugins: list[str], mirror: str, folder: Path) -> dict[str, Path]:
    """Download the plugins' packages into `folder` with a private apt state and unpack them: {plugin: binary}."""
    if not _KEYRING.exists():
        apt.install(["debian-archive-keyring"])
    options = private_apt(mirror, folder)
    hint = "is debian-archive-keyring up to date (it must know Debian 13's keys), and does the mirror carry Debian 13?"
    run = functools.partial(shell.logged, failure_id="docker.plugins_failed", hint=hint)
    run(["apt-get", *options, "update", "-q"], what="reading Debian 13's package list", root=True)
    binaries = {}
    for plugin in plugins:
        package = PLUGINS[plugin]
        target = folder / plugin
        target.mkdir()
        run(["apt-get", *options, "download", "-q", package], what=f"downloading {package}", root=True, cwd=target)
        (archive,) = target.glob("*.deb")
        run(["dpkg", "-x", str(archive), str(target)], what=f"unpacking {package}")
        found = sorted(target.glob(f"usr/**/cli-plugins/docker-{plugin}"))
        if not found:
            raise Failure("docker.plugins_failed", f"{archive.name} holds no docker-{plugin}", hint)
        binaries[plugin] = found[0]
    return binaries


def private_apt(mirror: str, folder: Path) -> list[str]:
    """Options that point apt at one Debian 13 source and at lists and caches under `folder` alone."""
    for name in ("lists/partial", "cache/archives/partial", "empty"):
        (folder / name).mkdir(parents=True)
    sources = folder / "donor.sources"
    sources.write_text(
        f"Types: deb\nURIs: {mirror}\nSuites: {_DONOR_SUITE}\nComponents: main\nSigned-By: {_KEYRING}\n",
        encoding="utf-8",
    )
    settings = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": folder / "empty",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        # The folder is the operator's own; apt's helper user could not enter it. Signatures are checked all the same.
        "APT::Sandbox::User": "root",
        "APT::Get::List-Cleanup": "0",
        "Acquire::Languages": "none",
        "APT::Update::Post-Invoke-Success::": "true",
    }
    return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
