""" "The answer was wrong": a rule that says another one at once, or a document that the model answers from."""

from __future__ import annotations

import re

from flask import Blueprint, request
from werkzeug.wrappers import Response as AnyResponse

from chatproxy.core.added_rules import LONGEST_ANSWER, LONGEST_PHRASE, MOST_PHRASES, AddedRules
from chatproxy.core.archive import Archive, Found
from chatproxy.core.library import Library, collection_of
from chatproxy.core.ports import Bots, History
from chatproxy.core.types import Bot
from chatproxy.errors import InvalidRequest, NotFound
from chatproxy.web import ids
from chatproxy.web.console.shell import Page, about, acts, done, page, session

_LONGEST_QUESTION = 500  # characters
_LONGEST_RIGHT_ANSWER = 20_000


def blueprint(archive: Archive, history: History, bots: Bots, rules: AddedRules, library: Library) -> Blueprint:
    """The routes."""
    routes = Blueprint("corrections", __name__)

    @routes.get("/conversations/rules")
    def all_rules() -> Page:
        return _rules_page()

    @routes.post("/conversations/rules")
    @acts("rule.add")
    def add_rule() -> Page | AnyResponse:
        form = {name: request.form.get(name, "") for name in ("bot", "phrases", "answer")}
        about(form["bot"] or "all bots")
        try:
            if form["bot"]:
                bots.get(form["bot"])
            rules.add(form["bot"], form["phrases"].splitlines(), form["answer"], made_by=session().admin)
        except InvalidRequest as error:
            return _rules_page(error.public, form)
        return done("/conversations/rules")

    @routes.post("/conversations/rules/<rule_id>/remove")
    @acts("rule.remove")
    def remove_rule(rule_id: str) -> AnyResponse:
        about(rule_id)
        rules.remove(ids.conversation_id(rule_id))
        return done("/conversations/rules")

    @routes.get("/conversations/<conversation_id>/wrong/<message_id>")
    def form(conversation_id: str, message_id: str) -> Page:
        return _form(*_wrong(conversation_id, message_id))

    @routes.post("/conversations/<conversation_id>/wrong/<message_id>/rule")
    @acts("rule.add")
    def to_rule(conversation_id: str, message_id: str) -> Page | AnyResponse:
        found, question = _wrong(conversation_id, message_id)
        where, answer = found.conversation, found.message
        bot = "" if request.form.get("for") == "all" else where.bot
        about(f"{bot or 'all bots'}, answer {answer.id}")
        given = {"phrases": request.form.get("phrases", ""), "said": request.form.get("answer", "")}
        try:
            phrases = given["phrases"].splitlines()
            rules.add(bot, phrases, given["said"], made_by=session().admin, message_id=answer.id)
        except InvalidRequest as error:
            return _form(found, question, error.public, given)
        return done(f"/conversations/{where.id}")

    @routes.post("/conversations/<conversation_id>/wrong/<message_id>/source")
    @acts("source.from-answer")
    def to_source(conversation_id: str, message_id: str) -> Page | AnyResponse:
        found, question = _wrong(conversation_id, message_id)
        where, answer = found.conversation, found.message
        about(f"{where.bot}, answer {answer.id}")
        given = {"asked": request.form.get("question", ""), "right": request.form.get("right", "")}
        try:
            document = _document(given["asked"], given["right"])
            # The same name again when it is corrected again: the new document takes the old one's place.
            library.add_file(
                collection_of(bots.get(where.bot)),
                f"correction-{answer.id[:16]}.md",
                document.encode(),
                media_type="text/markdown",
            )
        except InvalidRequest as error:
            return _form(found, question, error.public, given)
        return done(f"/conversations/{where.id}")

    def _wrong(conversation_id: str, message_id: str) -> tuple[Found, str]:
        """The answer in its conversation, and what was asked."""
        found = archive.message(ids.conversation_id(conversation_id), ids.message_id(message_id))
        where, answer = found.conversation, found.message
        if answer.role != "assistant":
            raise NotFound(public="There is no answer with this id in this conversation.")
        turns = history.past(where.owner, where.id, before=answer.id).turns
        asked = next((turn.text for turn in reversed(turns) if turn.role == "user"), "")
        return found, asked

    def _form(found: Found, question: str, wrong: str = "", given: dict[str, str] | None = None) -> Page:
        bot = _bot(found.conversation.bot)
        asked = " ".join(question.split())[:_LONGEST_QUESTION]
        values = {"phrases": asked[:LONGEST_PHRASE], "said": "", "asked": asked, "right": "", **(given or {})}
        return page(
            "wrong.html",
            400 if wrong else 200,
            conversation=found.conversation,
            answer=found.message,
            cursor=found.cursor,
            question=question,
            bot=bot,
            collection=bot.knowledge[0] if bot and bot.knowledge else "",
            wrong=wrong,
            most_phrases=MOST_PHRASES,
            longest=LONGEST_ANSWER,
            **values,
        )

    def _rules_page(wrong: str = "", form: dict[str, str] | None = None) -> Page:
        return page(
            "rules.html",
            400 if wrong else 200,
            rules=rules.all(),
            bots=bots.all(),
            wrong=wrong,
            form=form or {"bot": "", "phrases": "", "answer": ""},
        )

    def _bot(bot_id: str) -> Bot | None:
        try:
            return bots.get(bot_id)
        except NotFound:
            return None

    return routes


def _document(question: str, right: str) -> str:
    """Question and answer as a document, found by either's words. Raises InvalidRequest naming the field."""
    asked, said = " ".join(question.split()), right.replace("\r\n", "\n").strip()
    if not 1 <= len(asked) <= _LONGEST_QUESTION:
        raise InvalidRequest(f"question: must have 1 to {_LONGEST_QUESTION} characters")
    if not 1 <= len(said) <= _LONGEST_RIGHT_ANSWER:
        raise InvalidRequest(f"right: the answer must have 1 to {_LONGEST_RIGHT_ANSWER} characters")
    # What people ask is a heading, whatever signs of Markdown it holds.
    heading = re.sub(r"([\\`*_\[\]<>#])", r"\\\1", asked)
    return f"# {heading}\n\n{said}\n"
