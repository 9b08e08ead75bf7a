"""A TLS server with a certificate of one's own, good or not."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def certificate(folder: Path, name: str, begins: str, ends: str) -> Path:
    """A self-signed certificate and its key in one file; times as openssl writes them (20260101000000Z)."""
    file, key = folder / "certificate.pem", folder / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"]
    signing = ["openssl", "x509", "-in", str(file), "-signkey", str(key)]
    subprocess.run([*made, "-keyout", str(key), "-out", str(file)], check=True, capture_output=True)
    database = folder / "index.txt"
    database.touch()
    config = folder / "ca.cnf"
    config.write_text(
        f"[ca]\ndefault_ca=x\n[x]\ndatabase={database}\nnew_certs_dir={folder}\nserial={folder}/serial\n"
        "default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n"
    )
    request = folder / "request.pem"
    subprocess.run([*signing, "-x509toreq", "-out", str(request)], check=True, capture_output=True)
    words = ["openssl", "ca", "-batch", "-selfsign", "-create_serial", "-config", str(config), "-keyfile", str(key)]
    words += ["-in", str(request), "-out", str(file), "-startdate", begins, "-enddate", ends, "-notext"]
    subprocess.run(words, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text(file.read_text() + key.read_text())
    return both


@contextmanager
def serving(file: Path) -> Iterator[tuple[int, list[str | None]]]:
    """A TLS server on loopback, and the names that clients asked for."""
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.sni_callback = lambda _, name, __: asked.append(name)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], asked
        server.shutdown(socket.SHUT_RDWR)
