"""Images of messages in MongoDB, in a collection of their own: messages are read by the hundred, images one by one.

    images  _id (the message's id and a number), conversation_id, media_type, width, height, data, expires_at

They come in front of their message, so that none is without its images, and go with its conversation: with the owner's
delete, or when the message itself expires. A message's document holds all of this but the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from bson.binary import Binary
from pymongo.database import Database as MongoDatabase
from pymongo.errors import BulkWriteError

from chatproxy.adapters.mongo import Document
from chatproxy.core.types import Image, Message

_IMAGES = "images"
_DUPLICATE_KEY = 11000


def keep(database: MongoDatabase[Document], message: Message, expires_at: datetime | None) -> None:
    """Store the images of a message that is about to be; again with the same ones nothing is stored twice."""
    belongs = {"conversation_id": message.conversation_id, "expires_at": expires_at}
    documents = [{**told(image), **belongs, "data": Binary(image.data)} for image in message.images]
    if not documents:
        return
    try:
        database[_IMAGES].insert_many(documents, ordered=False)
    except BulkWriteError as error:
        if any(failed["code"] != _DUPLICATE_KEY for failed in error.details["writeErrors"]):
            raise


def read(database: MongoDatabase[Document], conversation_id: str, ids: Sequence[str]) -> Sequence[Image]:
    """Those that are there, in the order of `ids`."""
    found = database[_IMAGES].find({"_id": {"$in": list(ids)}, "conversation_id": conversation_id})
    known = {document["_id"]: document for document in found}
    return [image_of(known[id_], known[id_]["data"]) for id_ in ids if id_ in known]


def forget(database: MongoDatabase[Document], conversations: Iterable[str]) -> None:
    """Delete those of whole conversations."""
    database[_IMAGES].delete_many({"conversation_id": {"$in": list(conversations)}})


def forget_of(database: MongoDatabase[Document], messages: Iterable[Message]) -> None:
    """Delete those of messages that are taken back."""
    ids = [image.id for message in messages for image in message.images]
    if ids:
        database[_IMAGES].delete_many({"_id": {"$in": ids}})


def shorten(database: MongoDatabase[Document], condition: Document, end: datetime) -> None:
    """Let those that `condition` is for expire at `end`."""
    database[_IMAGES].update_many(condition, {"$set": {"expires_at": end}})


def told(image: Image) -> Document:
    """What a message's document holds of an image."""
    return {"_id": image.id, "media_type": image.media_type, "width": image.width, "height": image.height}


def image_of(document: Document, data: bytes = b"") -> Image:
    """The image of which a document tells."""
    return Image(document["media_type"], document["width"], document["height"], data, document["_id"])
