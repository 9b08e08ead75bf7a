"""The console's words for what is done: by the names under which the audit keeps it."""

from __future__ import annotations

# Name -> what a page says when it has been done.
ACTS = {
    "admin.put": "The password is set.",
    "admin.remove": "The admin is taken away.",
    "bot.check": "The file has been looked at.",
    "bot.try": "The bot has been asked.",
    "conversation.delete": "The conversation is deleted.",
    "conversation.delete-all": "All conversations of that owner are deleted.",
    "conversation.export": "The conversation is exported.",
    "job.cancel": "The job ends. What was read stays.",
    "job.pause": "The job pauses after the page that it reads.",
    "job.resume": "The job goes on.",
    "key.change": "The key is changed, from the next request on.",
    "key.create": "The key is made.",
    "key.revoke": "The key is revoked: it works no more.",
    "knowledge.rebuild": "Everything is being indexed anew.",
    "knowledge.try": "This has been searched for.",
    "log-in": "You are logged in.",
    "log-out": "You are logged out.",
    "rule.add": "The rule is made. It counts within five seconds.",
    "rule.remove": "The rule is removed.",
    "site.create": "The site key is made.",
    "source.add": "The website is being read.",
    "source.from-answer": "The document is added. It is read now, and counts when that is done.",
    "source.remove": "The source is being removed, with everything that was made of it.",
    "source.schedule": "The schedule is changed.",
    "source.sync": "The source is being read again.",
    "source.upload": "The file is taken in and being read.",
}
# The pages that every page leads to: path -> its name.
NAV = {
    "/": "Today",
    "/conversations": "Conversations",
    "/knowledge": "Knowledge",
    "/bots": "Bots",
    "/keys": "Keys",
    "/models": "Models",
    "/audit": "Audit",
}
