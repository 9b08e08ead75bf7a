"""Letters through a real SMTP server: TLS with a certificate that is checked, log-in, refusals, silence."""

from __future__ import annotations

import email
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

from chatproxy.adapters.smtp import SmtpMailer
from chatproxy.core.types import Letter
from chatproxy.errors import MailFailed
from scripts.lib.native import free_port
from tests.unit.proxy.fakes import PEOPLE, World

SENDER, USER, PASSWORD = "chat@example.com", "chat", "pass word"
LETTER = Letter(
    PEOPLE,
    "visitor@example.com",
    "Support: Pa\u00efd \u2014 twice?",
    "> Gr\u00fc\u00dfe \U0001f642\n.\n" + "x" * 5000 + "\n",
)


class Post:
    """What an SMTP server has taken; `refuse` is its answer to every letter instead."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.refuse = ""

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        if self.refuse:
            return self.refuse
        self.envelopes.append(envelope)
        return "250 taken"

    def letter(self) -> EmailMessage:
        """The only one, parsed."""
        (envelope,) = self.envelopes
        assert isinstance(envelope.content, bytes)
        return email.message_from_bytes(envelope.content, policy=default)  # type: ignore[arg-type, return-value]


def logs_in(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(certificate for localhost, its key)."""
    folder = tmp_path_factory.mktemp("mail")
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    words += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(words, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def trusting(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[0]))


@pytest.fixture
def server_context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, certificate))
    return context


class Server:
    """aiosmtpd on a free port of localhost."""

    def __init__(self, **options: Any) -> None:
        self.post = Post()
        self.port = free_port()
        self._controller = Controller(self.post, hostname="127.0.0.1", port=self.port, **options)
        self._controller.start()

    def close(self) -> None:
        self._controller.stop(no_assert=True)


@pytest.fixture
def submission(server_context: ssl.SSLContext) -> Iterator[Server]:
    """Wants STARTTLS, then a log-in."""
    options = {"tls_context": server_context, "require_starttls": True, "auth_required": True}
    server = Server(**options, authenticator=logs_in)
    yield server
    server.close()


def mailer(server: Server, context: ssl.SSLContext | None = None, **options: Any) -> SmtpMailer:
    given = {"tls": "starttls", "user": USER, "password": PASSWORD, "timeout_s": 5.0, **options}
    return SmtpMailer(given.pop("host", "localhost"), server.port, sender=SENDER, context=context, **given)


def test_a_letter_arrives_whole_over_starttls_and_after_a_log_in(submission: Server, trusting: ssl.SSLContext) -> None:
    mailer(submission, trusting).send(LETTER)
    envelope, letter = submission.post.envelopes[0], submission.post.letter()
    assert (envelope.mail_from, envelope.rcpt_tos) == (SENDER, [PEOPLE])
    shown = {name: str(letter[name]) for name in ("From", "To", "Reply-To", "Subject")}
    assert shown == {"From": SENDER, "To": PEOPLE, "Reply-To": "visitor@example.com", "Subject": LETTER.subject}
    assert letter.get_content().replace("\r\n", "\n") == LETTER.text
    assert letter["Message-ID"].endswith("@example.com>")
    assert (letter["Auto-Submitted"], letter["Bcc"], letter["Cc"]) == ("auto-generated", None, None)
    assert letter["Date"]


def test_a_letter_arrives_over_tls_from_the_first_byte(
    server_context: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    server = Server(ssl_context=server_context)
    try:
        mailer(server, trusting, tls="tls", user="", password="").send(LETTER)
        assert server.post.letter()["Subject"] == LETTER.subject
    finally:
        server.close()


def test_a_letter_arrives_at_a_relay_without_tls() -> None:
    server = Server()
    try:
        mailer(server, tls="none", user="", password="").send(LETTER)
        assert server.post.letter()["Subject"] == LETTER.subject
    finally:
        server.close()


def test_a_visitors_conversation_arrives_through_the_whole_proxy(submission: Server, trusting: ssl.SSLContext) -> None:
    world = World(mailer=mailer(submission, trusting))  # type: ignore[arg-type]
    client = world.client()
    asked = client.post("/api/v1/chat", json={"message": "Wo bleibt es?\r\nBcc: x@example.com"}).get_json()
    url = f"/api/v1/conversations/{asked['conversation_id']}/handoff"
    response = client.post(url, json={"email": "visitor@example.com", "note": "Eilig \U0001f642"})
    assert response.status_code == 202
    letter = submission.post.letter()
    assert (letter["Reply-To"], letter["Bcc"]) == ("visitor@example.com", None)
    for part in ("> Eilig \U0001f642", "> Bcc: x@example.com", "> Hello there.", asked["conversation_id"]):
        assert part in letter.get_content()


def test_a_certificate_that_nobody_vouches_for_ends_it_before_the_password(submission: Server) -> None:
    with pytest.raises(MailFailed, match="CERTIFICATE_VERIFY_FAILED"):
        mailer(submission).send(LETTER)
    assert submission.post.envelopes == []


def test_a_certificate_for_another_name_ends_it(submission: Server, trusting: ssl.SSLContext) -> None:
    with pytest.raises(MailFailed, match="CERTIFICATE_VERIFY_FAILED"):
        mailer(submission, trusting, host="127.0.0.1").send(LETTER)


def test_a_server_without_starttls_gets_neither_password_nor_letter() -> None:
    server = Server(auth_require_tls=False, authenticator=logs_in)
    try:
        with pytest.raises(MailFailed, match="STARTTLS"):
            mailer(server).send(LETTER)
        assert server.post.envelopes == []
    finally:
        server.close()


def test_a_wrong_password_is_told_in_the_log_without_the_password(submission: Server, trusting: ssl.SSLContext) -> None:
    with pytest.raises(MailFailed, match=f"localhost:{submission.port}: 535 ") as failed:
        mailer(submission, trusting, password="wr0ng").send(LETTER)
    assert "wr0ng" not in str(failed.value)
    assert failed.value.status == 502


def test_what_the_server_refuses_has_not_been_sent(submission: Server, trusting: ssl.SSLContext) -> None:
    submission.post.refuse = "451 try later"
    with pytest.raises(MailFailed, match="451 try later") as failed:
        mailer(submission, trusting).send(LETTER)
    assert "localhost" not in failed.value.public


@pytest.mark.parametrize("field", ["subject", "reply_to", "to"])
def test_a_header_cannot_hold_a_line_break(field: str, submission: Server, trusting: ssl.SSLContext) -> None:
    given = {"to": PEOPLE, "reply_to": "a@example.com", "subject": "x", "text": "x"}
    with pytest.raises(MailFailed):
        mailer(submission, trusting).send(Letter(**{**given, field: "a@example.com\r\nBcc: b@example.com"}))
    assert submission.post.envelopes == []


def test_nobody_there_and_nobody_who_speaks_end_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        closed = SmtpMailer("127.0.0.1", port, tls="none", sender=SENDER, timeout_s=0.5)
        with pytest.raises(MailFailed, match="ConnectionRefusedError"):
            closed.send(LETTER)
        silent.listen()
        begun = time.monotonic()
        with pytest.raises(MailFailed, match="timed out"):
            closed.send(LETTER)
        assert time.monotonic() - begun < 5


def test_a_letter_that_was_taken_is_sent_whatever_the_goodbye_is_like() -> None:
    """A server that hangs up behind its 250, spoken by hand: aiosmtpd is too polite for that."""
    received = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, connection.makefile("rwb") as lines:
                for answer in ("220 hi", "250 hi", "250 from", "250 to", "354 go on"):
                    lines.write(f"{answer}\r\n".encode())
                    lines.flush()
                    received.append(lines.readline())
                while received[-1] != b".\r\n":
                    received.append(lines.readline())
                lines.write(b"250 taken\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        SmtpMailer("127.0.0.1", listening.getsockname()[1], tls="none", sender=SENDER, timeout_s=5).send(LETTER)
        thread.join(10)
    assert received[0] == b"ehlo example.com\r\n"
