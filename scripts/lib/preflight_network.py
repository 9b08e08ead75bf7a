"""Checks of ports, DOMAIN, and the places that parts come from."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.lib import network_facts, secret_files, sources
from scripts.lib.findings import ERROR, WARNING, Finding
from scripts.lib.situation import Situation


def ports(s: Situation) -> Iterator[Finding]:
    for name in ("HTTP_PORT", "HTTPS_PORT"):
        port = s.settings[name]
        if port in s.host.ports and port not in s.host.own_ports:
            holder = s.host.ports[port] or "another process (root could see which)"
            hint = f"stop it, or set {name} in .env to a free port"
            yield Finding("port.taken", ERROR, f"port {port} ({name}) is held by {holder}", hint)


def domain(s: Situation) -> Iterator[Finding]:
    name, found = s.settings["DOMAIN"], s.host.domain_addresses
    if found is None:
        return
    if not found:
        fact = f"DOMAIN={name} resolves to no address"
        yield Finding(
            "dns.domain_unknown", ERROR, fact, "make an A (and AAAA) record for it that points to this machine"
        )
        return
    own = set(s.host.addresses)
    elsewhere = sorted(set(found) - own)
    if not elsewhere:
        return
    public = network_facts.public(s.host.addresses)
    here = ", ".join(public or s.host.addresses) or "unknown"
    fact = f"DOMAIN={name} points to {', '.join(elsewhere)}; this machine's addresses are {here}"
    if not public:
        hint = "right if a router forwards ports 80 and 443 to this machine; else no certificate can be had"
        yield Finding("dns.domain_behind_nat", WARNING, fact, hint)
    elif set(found) & own:
        hint = "visitors who get the other address do not arrive here: remove that record"
        yield Finding("dns.domain_partly_elsewhere", WARNING, fact, hint)
    else:
        hint = "point the record here; behind a forwarding service run `make up ACCEPT=dns.domain_elsewhere`"
        yield Finding("dns.domain_elsewhere", ERROR, fact, hint)


def mail(s: Situation) -> Iterator[Finding]:
    name, kind = s.settings["SMTP_PASSWORD_FILE"], s.host.mail_password
    problem = secret_files.problem("SMTP_PASSWORD_FILE", name, kind, "the password")
    if problem:
        yield Finding("mail.password_file", ERROR, *problem)


def homes(s: Situation) -> Iterator[Finding]:
    host = s.host
    if s.settings["SOURCES"] == "upstream" and not host.built:
        silent = [home for home in sources.needed(s.settings) if host.reachable.get(home) is False]
        if silent:
            fact = f"SOURCES=upstream, but there is no answer from {' and '.join(silent)}"
            yield Finding("sources.unreachable", ERROR, fact, "set SOURCES=auto or SOURCES=packages in .env")
    if host.reachable.get(sources.ARCHIVE) is False and not host.built:
        fact = "the mirror in this system's package sources does not answer"
        yield Finding("sources.archive_unreachable", WARNING, fact, "if `apt-get update` fails too, mend that first")
    if s.packages and not host.torch_wheel and not host.built:
        fact = "no CPU wheel of torch lies in a folder that pip is set up with (find-links)"
        hint = "the index's own brings several GB of CUDA: put a CPU wheel in a folder and name it in PIP_FIND_LINKS"
        yield Finding("torch.no_cpu_wheel", WARNING, fact, hint)


def monitoring(s: Situation) -> Iterator[Finding]:
    if s.settings.monitored and s.packages:
        fact = "COMPOSE_PROFILES=monitoring brings Prometheus without Grafana: no package archive carries Grafana"
        hint = "the console's charts need neither; SOURCES=upstream brings Grafana's official image"
        yield Finding("grafana.no_package", WARNING, fact, hint)
