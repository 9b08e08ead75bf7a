"""The right passage for questions in other words than the page's, and none for questions about something else.

The short form of `make bench ONLY=knowledge`: a small museum's site, the real worker, embedding model, Chroma and
word index, asked through the proxy.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.proxy.conftest import Client
from tests.integration.proxy.knowledge.sites import add, found, page
from tests.integration.proxy.knowledge.worker_process import Worker
from tests.unit.proxy.adapters.crawled_site import Site

_PAGES = {
    "hours": ("Opening hours", "From April to October we are open daily from ten to six, in winter at weekends."),
    "tickets": ("Tickets", "Adults pay nine euros, students five. Children under six get in free of charge."),
    "parking": ("Getting here", "Leave your car behind the harbour, 300 metres away. Bus 12 stops at the gate."),
    "dogs": ("Animals", "Dogs on a short lead may come along everywhere but into the lantern room."),
    "stairs": ("Accessibility", "The tower has 214 steps and no lift. Wheelchair users can visit the ground floor."),
    "groups": ("School classes", "A teacher of ours leads classes of up to thirty pupils; please book early."),
    "lens": ("The Fresnel lens", "Built in Paris in 1873, the great lens carries one lamp's light for twenty miles."),
    "keeper": ("The last keeper", "Marta Ozols lived in the tower until the light was automated in 1986."),
    "refund": ("Cancelling", "Tickets bought online can be given back until the day before, for all your money."),
    "alarm": ("Fault codes", "Code LH-404 on the audio guide means that its battery is empty. Swap it at the desk."),
}
_ON_TOPIC = {
    "When do you close in summer?": "hours",
    "What does a student have to pay to get in?": "tickets",
    "Where can I park?": "parking",
    "Can I bring my puppy?": "dogs",
    "Is there a lift for my grandmother?": "stairs",
    "I would like to come with my pupils.": "groups",
    "How old is the big lens?": "lens",
    "Who was the last person to live in the tower?": "keeper",
    "Can I get my money back when I fall ill?": "refund",
    "What does LH-404 on the audio guide mean?": "alarm",
}
_OFF_TOPIC = (
    "How do I change the oil of my car?",
    "What is the square root of two?",
    "Who won the football world cup in 1998?",
    "Which vitamins are in oranges?",
    "How do I reverse a list in Python?",
    "Wie backe ich einen Apfelkuchen?",
    "Quel est le meilleur fromage pour une raclette ?",
    "¿Cuántos habitantes tiene Mongolia?",
)


@pytest.fixture(scope="module", autouse=True)
def museum(worker: Worker) -> Iterator[None]:
    pages = {f"/{name}": page(*said) for name, said in _PAGES.items()}
    with Site({"/": page("Lighthouse museum", "Welcome to the old tower.", *pages), **pages}) as site:
        add(worker, site, "museum")
        yield


@pytest.mark.parametrize(("question", "name"), _ON_TOPIC.items())
def test_a_question_in_other_words_finds_its_page(desk: Client, question: str, name: str) -> None:
    pages = [passage["url"].rpartition("/")[2] for passage in found(desk, "museum", question)]
    assert name in pages[:2]


@pytest.mark.parametrize("question", _OFF_TOPIC)
def test_a_question_about_something_else_finds_nothing(desk: Client, question: str) -> None:
    assert found(desk, "museum", question) == []
