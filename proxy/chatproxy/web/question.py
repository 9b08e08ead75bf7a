"""POST /api/question: one call for a bot, a help desk or a script that speaks for many users, and keeps nothing itself.

    {"question", "user_id", "bot"?, "conversation_id"?} -> the answer, as POST /api/v1/chat gives it

Each user_id has one conversation that goes on: the newest (of that bot, where one is named). Users of one key cannot
see each other's, and another key's users of the same id are others.
"""

from __future__ import annotations

from flask import Blueprint, Response, request

from chatproxy.core.answer import Answers
from chatproxy.core.asking import Question
from chatproxy.core.ports import Bots, History
from chatproxy.errors import InvalidRequest
from chatproxy.web.auth import caller, needs
from chatproxy.web.body import Fields, read_object
from chatproxy.web.chat import respond

_FIELDS = ("question", "user_id", "bot", "conversation_id")
_LONGEST_QUESTION = 200_000  # characters, as in /api/v1/chat
_LONGEST_USER_ID = 200
# How many of a user's conversations are looked through for one that can go on.
_LOOKED_THROUGH = 50


def blueprint(answers: Answers, history: History, bots: Bots) -> Blueprint:
    """The route, answering through `answers`."""
    routes = Blueprint("question", __name__)

    @routes.post("/api/question")
    @needs("chat")
    def question() -> Response:
        fields = Fields(read_object(request, known=_FIELDS))
        text = fields.text("question", most=_LONGEST_QUESTION)
        if text is None or not text.strip():
            raise InvalidRequest("question: is missing or empty")
        asker = caller(_read_user_id(fields))
        bot = fields.pattern("bot", r"[a-z0-9][a-z0-9_-]{0,63}", "the name of a bot")
        conversation_id = fields.pattern("conversation_id", r"[0-9a-f]{32}", "the id of a conversation")
        conversation_id = conversation_id or _ongoing(history, bots, asker.owner, bot)
        return respond(answers.reply(Question(asker, text, conversation_id, bot)), streamed=False)

    return routes


def _read_user_id(fields: Fields) -> str:
    user_id = fields.text("user_id", most=_LONGEST_USER_ID)
    if user_id is None or not user_id.strip():
        raise InvalidRequest("user_id: is missing or empty")
    if not user_id.isprintable():
        raise InvalidRequest("user_id: must be printable characters")
    return user_id


def _ongoing(history: History, bots: Bots, owner: str, bot: str | None) -> str | None:
    """The newest conversation, with that bot or any that still answers: one whose bot is gone cannot go on."""
    answering = {bot} if bot else {known.id for known in bots.all()}
    newest = history.conversations(owner, limit=_LOOKED_THROUGH, cursor=None).items
    return next((conversation.id for conversation in newest if conversation.bot in answering), None)
