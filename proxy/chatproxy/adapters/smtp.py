"""E-mail through the operator's mail server (SMTP, RFC 5321; submission, RFC 6409)."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid

from chatproxy.core.types import Letter
from chatproxy.errors import MailFailed

_TIMEOUT_S = 15.0  # for each step of the conversation with the server
_LONGEST_REASON = 200  # characters of what the server says that go to the log


class SmtpMailer:
    """Implements core.ports.Mailer. A connection for each letter: they are rare."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: str,
        sender: str,
        user: str = "",
        password: str = "",
        context: ssl.SSLContext | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        """`tls` is starttls, tls (from the first byte) or none. `context` says whom to trust, without it the system's
        certificate authorities; the name in the server's certificate must be `host` in either case."""
        self._host, self._port, self._tls, self._sender = host, port, tls, sender
        self._user, self._password, self._timeout_s = user, password, timeout_s
        self._context = context or ssl.create_default_context()

    def send(self, letter: Letter) -> None:
        """See core.ports.Mailer."""
        try:
            message = self._message(letter)
            connection = self._connected()
            try:
                connection.send_message(message, self._sender, [letter.to])
            finally:
                # The letter has been taken, or not; whatever the goodbye is like.
                with contextlib.suppress(OSError, smtplib.SMTPException):
                    connection.quit()
                connection.close()
        except (OSError, smtplib.SMTPException, ValueError, MessageError) as error:
            raise MailFailed(f"{self._host}:{self._port}: {_reason(error)}") from error

    def _message(self, letter: Letter) -> EmailMessage:
        # This policy refuses a header with a line break in it.
        message = EmailMessage(policy=SMTP)
        message["From"] = self._sender
        message["To"] = letter.to
        message["Reply-To"] = letter.reply_to
        message["Subject"] = letter.subject
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=self._domain)
        # So that nobody's holiday notice answers (RFC 3834).
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(letter.text)
        return message

    def _connected(self) -> smtplib.SMTP:
        # Without a name of our own to greet with, smtplib would ask the DNS for one.
        if self._tls == "tls":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                self._host, self._port, self._domain, timeout=self._timeout_s, context=self._context
            )
        else:
            connection = smtplib.SMTP(self._host, self._port, self._domain, timeout=self._timeout_s)
        try:
            if self._tls == "starttls":
                connection.starttls(context=self._context)
            if self._user:
                connection.login(self._user, self._password)
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def _domain(self) -> str:
        return self._sender.rpartition("@")[2]


def _reason(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        return f"{error.smtp_code} {said}"[:_LONGEST_REASON]
    return f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
