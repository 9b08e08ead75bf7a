"""A conversation handed over to people: its transcript as an e-mail to whom the bot's file names.

The visitor's own address is where answers go, and nowhere else: whom the mail is sent to, and from whom, the operator
alone decides.
"""

from __future__ import annotations

import threading
import unicodedata
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from email_validator import EmailNotValidError, validate_email

from chatproxy.core.addresses import counted_as
from chatproxy.core.hourly import Hourly
from chatproxy.core.ports import Bots, History, Mailer, UsageStore
from chatproxy.core.types import Bot, Conversation, Letter, Message, now
from chatproxy.errors import Busy, InvalidRequest, MailFailed, NotFound

_MOST_AN_HOUR = 5  # for one owner
# Visitors are made easily; an office has one address.
_MOST_OF_ADDRESS = 15
# A slow mail server must not hold all of the proxy's threads.
_AT_ONCE, _RETRY_S = 4, 15
_PAGE = 200  # messages read at once
# What a letter holds of a conversation, in characters: mail servers take 10 MB as a rule, and base64 in UTF-8 makes
# each character up to 6 bytes. Of a longer one the newest messages are sent.
_LONGEST_TRANSCRIPT = 1_000_000
_LONGEST_SUBJECT = 120
_CONTROLS = ("Cc", "Cs", "Zl", "Zp")


class Handoff:
    """Hands conversations over. Thread-safe."""

    def __init__(
        self,
        history: History,
        bots: Bots,
        usage: UsageStore,
        mailer: Mailer | None,
        *,
        clock: Callable[[], datetime] = now,
    ) -> None:
        """Without a `mailer` nothing can be handed over."""
        self._history, self._bots, self._mailer = history, bots, mailer
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        self._from_owner = Hourly(usage, "handoffs", _MOST_AN_HOUR, clock=clock)
        self._from_address = Hourly(usage, "handoffs/address", _MOST_OF_ADDRESS, clock=clock)

    def send(self, owner: str, conversation_id: str, address: str, note: str = "", *, client: str = "") -> None:
        """Send the owner's conversation; returns when a mail server has taken it. `client` is the asking IP address.

        Raises NotFound (no such conversation, a bot that hands nothing over, no mail server), InvalidRequest (the
        address), RateLimited, Busy, MailFailed, StorageUnavailable.
        """
        reply_to = _checked(address)
        conversation = self._history.conversation(owner, conversation_id)
        bot = self._bots.get(conversation.bot)
        if self._mailer is None or not bot.handoff_email:
            raise NotFound("no mail server, or no handoff_email", public="This bot hands no conversations over.")
        if not self._places.acquire(blocking=False):
            public = "Several e-mails are being sent already. Please try again shortly."
            raise Busy("mails in progress", public=public, retry_after=_RETRY_S)
        try:
            letter = _letter(bot, conversation, self._transcript(bot, conversation), reply_to, note)
            self._from_address.count(counted_as(client), "Too many e-mails have been sent from this address.")
            self._post(self._mailer, owner, letter)
        finally:
            self._places.release()

    def _post(self, mailer: Mailer, owner: str, letter: Letter) -> None:
        refusal = f"You have sent {_MOST_AN_HOUR} e-mails within the hour, which is as many as can be sent."
        hour = self._from_owner.count(owner, refusal)
        try:
            mailer.send(letter)
        except MailFailed as error:
            self._from_owner.give_back(owner, hour)
            public = f"{MailFailed.public} You can also write to {letter.to} yourself."
            raise MailFailed(str(error), public=public) from error

    def _transcript(self, bot: Bot, conversation: Conversation) -> _Transcript:
        """The newest messages that fit."""
        entries: deque[str] = deque()
        length = left_out = 0
        cursor: str | None = None
        while True:
            page = self._history.messages(conversation.owner, conversation.id, limit=_PAGE, cursor=cursor)
            for message in page.items:
                entries.append(_entry(bot, message))
                length += len(entries[-1])
                while length > _LONGEST_TRANSCRIPT and len(entries) > 1:
                    length -= len(entries.popleft())
                    left_out += 1
            cursor = page.next_cursor
            if cursor is None:
                return _Transcript("\n\n".join(entries), left_out)


@dataclass(frozen=True, slots=True)
class _Transcript:
    text: str
    left_out: int  # messages


def _checked(address: str) -> str:
    """The address as a mail server takes it, in ASCII. Raises InvalidRequest."""
    # Mail programs would decode it (RFC 2047) into any name and any further addresses.
    if "=?" in address:
        raise InvalidRequest("email: holds an encoded word, which no address needs")
    try:
        valid = validate_email(address, check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError as error:
        raise InvalidRequest(f"email: {error}") from None
    return valid.ascii_email or valid.normalized


def _letter(bot: Bot, conversation: Conversation, transcript: _Transcript, reply_to: str, note: str) -> Letter:
    parts = [
        f"{reply_to} would like an answer from a person. Your reply to this e-mail goes there.",
        f"Bot: {bot.name} ({bot.id})\nConversation: {conversation.id}\nBegun: {_time(conversation.created_at)}",
    ]
    if note.strip():
        parts.append(f"They add:\n{_quoted(note)}")
    if transcript.left_out:
        count = transcript.left_out
        parts.append(f"The oldest {count} message{'' if count == 1 else 's'} did not fit into this e-mail.")
    parts.append(transcript.text)
    subject = _one_line(f"{bot.name}: {conversation.title}")
    return Letter(bot.handoff_email, reply_to, subject, "\n\n".join(parts) + "\n")


def _entry(bot: Bot, message: Message) -> str:
    who = "Visitor" if message.role == "user" else bot.name
    state = " (interrupted)" if message.status == "interrupted" else ""
    return f"{_time(message.created_at)}, {who}{state}:\n{_quoted(message.text)}"


def _quoted(text: str) -> str:
    """Each line as a quotation, so that nothing inside it passes for another speaker."""
    return "\n".join(f"> {_plain(line)}".rstrip() for line in text.splitlines() or [""])


def _plain(line: str) -> str:
    """Without what has no business in a line of an e-mail: control characters, halves of surrogate pairs."""
    return "".join(c if c == "\t" or unicodedata.category(c) not in _CONTROLS else "\ufffd" for c in line)


def _one_line(text: str) -> str:
    line = " ".join(_plain(part) for part in text.split())
    return line if len(line) <= _LONGEST_SUBJECT else line[: _LONGEST_SUBJECT - 1] + "\u2026"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
