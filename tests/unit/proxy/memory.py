"""The core's stores in memory: fakes that implement the real ports."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from chatproxy.core.access import KeyRecord, Limits, SiteKey
from chatproxy.core.condition import Backup
from chatproxy.core.measures import Figures
from chatproxy.core.types import Conversation, Feedback, Image, Message, Page, Past
from chatproxy.errors import InvalidRequest, NotFound, StorageUnavailable

T = TypeVar("T")


class MemoryHistory:
    """Implements History in dictionaries; `down` makes every call fail, `adds_left` those after so many writes."""

    def __init__(self) -> None:
        self.conversations_by_id: dict[str, Conversation] = {}
        self.stored: dict[str, list[Message]] = {}
        self.superseded: set[str] = set()
        self.kept_images: dict[str, Image] = {}
        self.down = False
        self.adds_left: int | None = None

    def conversation(self, owner: str, conversation_id: str) -> Conversation:
        self._check()
        found = self.conversations_by_id.get(conversation_id)
        if found is None or found.owner != owner:
            raise NotFound(public="There is no conversation with this id.")
        return found

    def conversations(self, owner: str, *, limit: int, cursor: str | None) -> Page[Conversation]:
        self._check()
        own = [c for c in self.conversations_by_id.values() if c.owner == owner]
        own.sort(key=lambda c: (c.updated_at, c.id), reverse=True)
        return _page(own, limit, cursor)

    def messages(self, owner: str, conversation_id: str, *, limit: int, cursor: str | None) -> Page[Message]:
        return _page(self.past(owner, conversation_id).messages, limit, cursor)

    def past(self, owner: str, conversation_id: str, *, before: str | None = None) -> Past:
        conversation = self.conversation(owner, conversation_id)
        found = self.stored[conversation_id]
        if before is not None:
            found = found[: _index(found, before)]
        return Past(conversation, [message for message in found if message.id not in self.superseded])

    def message(self, owner: str, message_id: str) -> Message:
        self._check()
        for conversation_id, messages in self.stored.items():
            if self.conversations_by_id[conversation_id].owner == owner:
                for message in messages:
                    if message.id == message_id:
                        return message
        raise NotFound(public="There is no message with this id.")

    def images(self, owner: str, conversation_id: str, ids: Sequence[str]) -> Sequence[Image]:
        self.conversation(owner, conversation_id)
        belonging = (self.kept_images.get(id_) for id_ in ids)
        return [image for image in belonging if image]

    def begin(
        self, conversation: Conversation, messages: Sequence[Message], *, new: bool, instead_of: str | None = None
    ) -> None:
        self._count_write()
        if new and conversation.id not in self.conversations_by_id:
            self.conversations_by_id[conversation.id] = conversation
            self.stored[conversation.id] = []
        known = self.conversation(conversation.owner, conversation.id)
        stored = self.stored[conversation.id]
        if any(message.id == messages[0].id for message in stored):
            return
        if instead_of is not None:
            index = _index(stored, instead_of)
            if instead_of in self.superseded:
                raise NotFound(public="There is no message with this id.")
            self.superseded |= {message.id for message in stored[index:]}
        stored.extend(
            replace(each, images=tuple(replace(image, data=b"") for image in each.images)) for each in messages
        )
        self.kept_images |= {image.id: image for each in messages for image in each.images}
        self.conversations_by_id[conversation.id] = replace(
            known,
            updated_at=messages[-1].created_at if messages else known.updated_at,
            retention_days=conversation.retention_days,
        )

    def finish(self, message: Message, *, durable: bool = True) -> None:
        self._count_write()
        stored = self.stored.get(message.conversation_id, [])
        index = _index(stored, message.id)
        sources = message.sources or stored[index].sources
        said = replace(stored[index], text=message.text, status=message.status, sources=sources)
        stored[index] = replace(said, finish_reason=message.finish_reason, usage=message.usage)

    def rename(self, owner: str, conversation_id: str, title: str) -> Conversation:
        renamed = replace(self.conversation(owner, conversation_id), title=title)
        self.conversations_by_id[conversation_id] = renamed
        return renamed

    def rate(self, owner: str, message_id: str, feedback: Feedback | None) -> None:
        message = self.message(owner, message_id)
        if message.role != "assistant":
            raise InvalidRequest("rating: only answers can be rated, this message is a question")
        stored = self.stored[message.conversation_id]
        stored[_index(stored, message_id)] = replace(message, feedback=feedback)

    def delete(self, owner: str, conversation_id: str) -> None:
        self.conversation(owner, conversation_id)
        gone = self.stored.pop(conversation_id)
        del self.conversations_by_id[conversation_id]
        for image in (image for message in gone for image in message.images):
            del self.kept_images[image.id]

    def delete_all(self, owner: str, *, users: bool = False) -> int:
        self._check()
        own = [
            c
            for c in self.conversations_by_id.values()
            if c.owner == owner or (users and c.owner.startswith(f"{owner}/user:"))
        ]
        for conversation in own:
            self.delete(conversation.owner, conversation.id)
        return len(own)

    @property
    def all_messages(self) -> list[Message]:
        """Those that are shown, conversation by conversation."""
        everything = itertools.chain.from_iterable(self.stored.values())
        return [message for message in everything if message.id not in self.superseded]

    def _count_write(self) -> None:
        if self.adds_left is not None:
            self.adds_left -= 1
            self.down = self.adds_left < 0
        self._check()

    def _check(self) -> None:
        if self.down:
            raise StorageUnavailable("the fake is down")


def _page(items: Sequence[T], limit: int, cursor: str | None) -> Page[T]:
    if cursor is not None and not cursor.isdecimal():
        raise InvalidRequest("cursor: is not one that was given out")
    begin = int(cursor or 0)
    return Page(items[begin : begin + limit], str(begin + limit) if begin + limit < len(items) else None)


def _index(messages: Sequence[Message], message_id: str) -> int:
    for index, message in enumerate(messages):
        if message.id == message_id:
            return index
    raise NotFound(public="There is no message with this id.")


class MemoryKeys:
    """Implements KeyStore in a dictionary; `down` makes noting a use fail."""

    def __init__(self) -> None:
        self.keys: dict[str, KeyRecord] = {}
        self.looked_up: list[str] = []
        self.listed = self.uses = 0
        self.down = False

    def add(self, key: KeyRecord) -> None:
        self.keys[key.id] = key

    def find(self, key_id: str) -> KeyRecord | None:
        self.looked_up.append(key_id)
        return self.keys.get(key_id)

    def all(self) -> Sequence[KeyRecord]:
        self.listed += 1
        return list(self.keys.values())

    def used(self, key_id: str, moment: datetime) -> None:
        self.uses += 1
        if self.down:
            raise StorageUnavailable("the fake is down")
        self.keys[key_id] = replace(self.keys[key_id], last_used_at=moment)

    def revoke(self, key_id: str, moment: datetime) -> bool:
        if key_id not in self.keys:
            return False
        self.keys[key_id] = replace(self.keys[key_id], revoked_at=moment)
        return True

    def remove(self, key_id: str) -> None:
        self.keys.pop(key_id, None)

    def change(self, key_id: str, limits: Limits) -> bool:
        if key_id not in self.keys:
            return False
        self.keys[key_id] = replace(self.keys[key_id], limits=limits)
        return True

    def expire(self, key_id: str, moment: datetime) -> None:
        """Let a key have expired at `moment`."""
        self.keys[key_id] = replace(self.keys[key_id], expires_at=moment)


class MemorySites:
    """Implements SiteStore in a dictionary; `down` makes every call fail."""

    def __init__(self) -> None:
        self.sites: dict[str, SiteKey] = {}
        self.looked_up: list[str] = []
        self.listed = 0
        self.down = False

    def add(self, site: SiteKey) -> None:
        self._check()
        self.sites[site.id] = site

    def find(self, site_id: str) -> SiteKey | None:
        self._check()
        self.looked_up.append(site_id)
        return self.sites.get(site_id)

    def all(self) -> Sequence[SiteKey]:
        self.listed += 1
        self._check()
        return list(self.sites.values())

    def change(self, site_id: str, origins: Sequence[str], bots: Sequence[str], limits: Limits) -> bool:
        self._check()
        if site_id not in self.sites:
            return False
        new = {"origins": tuple(origins), "bots": tuple(bots), "limits": limits}
        self.sites[site_id] = replace(self.sites[site_id], **new)
        return True

    def revoke(self, site_id: str, moment: datetime) -> bool:
        self._check()
        if site_id not in self.sites:
            return False
        self.sites[site_id] = replace(self.sites[site_id], revoked_at=moment)
        return True

    def expire(self, site_id: str, moment: datetime) -> None:
        """Let a key have expired at `moment`."""
        self.sites[site_id] = replace(self.sites[site_id], expires_at=moment)

    def _check(self) -> None:
        if self.down:
            raise StorageUnavailable("the fake is down")


class MemoryUsage:
    """Implements UsageStore in a dictionary; `down` makes every call fail, `slow` is waited for in every `add`."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.expires: dict[str, datetime] = {}
        self.calls = 0
        self.down = False
        self.slow: threading.Event | None = None
        self._lock = threading.Lock()

    def add(self, counter: str, amount: int, *, expires_at: datetime) -> int:
        if self.slow:
            self.slow.wait(10)
        with self._lock:
            self._check()
            self.counters[counter] = self.counters.get(counter, 0) + amount
            self.expires.setdefault(counter, expires_at)
            return self.counters[counter]

    def read(self, counter: str) -> int:
        with self._lock:
            self._check()
            return self.counters.get(counter, 0)

    def _check(self) -> None:
        self.calls += 1
        if self.down:
            raise StorageUnavailable("the fake is down")


class MemoryBackups:
    """Implements BackupRecord; `down` makes every call fail."""

    def __init__(self) -> None:
        self.finished_at: datetime | None = None
        self.down = False

    def last(self) -> Backup:
        if self.down:
            raise StorageUnavailable("down")
        return Backup(self.finished_at)


class MemoryMinutes:
    """Implements MinuteStore; `down` makes every call fail."""

    def __init__(self) -> None:
        self.stored: dict[datetime, Figures] = {}
        self.adds = 0
        self.down = False

    def add(self, minute: datetime, figures: Figures) -> None:
        self._check()
        self.adds += 1
        self.stored[minute] = self.stored.get(minute, Figures()).plus(figures)

    def read(self, since: datetime, until: datetime, step: timedelta) -> Mapping[datetime, Figures]:
        self._check()
        found: dict[datetime, Figures] = {}
        for minute, figures in self.stored.items():
            if since <= minute < until:
                begins = since + (minute - since) // step * step
                found[begins] = found.get(begins, Figures()).plus(figures)
        return found

    def _check(self) -> None:
        if self.down:
            raise StorageUnavailable("down")
