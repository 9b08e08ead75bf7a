"""Documents' bytes in MongoDB's GridFS, bucket `originals`: a file's id is the key it is kept under."""

from __future__ import annotations

from typing import BinaryIO

from gridfs import GridFSBucket
from gridfs.errors import NoFile

from chatproxy.adapters.mongo import Database
from chatproxy.errors import NotFound

_BUCKET = "originals"


class MongoOriginals:
    """Implements core.knowledge_ports.Originals."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, key: str, data: bytes | BinaryIO) -> None:
        """See core.knowledge_ports.Originals."""
        with self._database.opened(growing=True) as database:
            if database[f"{_BUCKET}.files"].count_documents({"_id": key}, limit=1):
                return
            # GridFS writes the pieces first: those without a file are what an earlier attempt left.
            database[f"{_BUCKET}.chunks"].delete_many({"files_id": key})
            GridFSBucket(database, _BUCKET).upload_from_stream_with_id(key, key, data)

    def read(self, key: str) -> bytes:
        """See core.knowledge_ports.Originals."""
        with self._database.opened() as database:
            try:
                with GridFSBucket(database, _BUCKET).open_download_stream(key) as stream:
                    return bytes(stream.read())
            except NoFile:
                raise NotFound(public="The document as it was given is no longer there.") from None

    def forget(self, key: str) -> None:
        """See core.knowledge_ports.Originals."""
        with self._database.opened() as database:
            try:
                GridFSBucket(database, _BUCKET).delete(key)
            except NoFile:
                return
