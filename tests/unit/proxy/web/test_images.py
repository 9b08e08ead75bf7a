"""Images in every family's requests: they reach the model, are kept where conversations are, or are refused by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from werkzeug.test import TestResponse

from chatproxy.core.types import IMAGE_MARK, Rule
from tests.unit.proxy.fakes import FakeEngine, World
from tests.unit.proxy.pictures import encoded, picture, swollen

RED, BLUE = (encoded(picture(colour=colour)) for colour in ("red", "blue"))
SWOLLEN = encoded(swollen(1 << 20))
URI = encoded(picture(), "image/png")


def seeing(images: int = 4) -> World:
    engine = FakeEngine()
    engine.images = images
    return World(engine=engine)


def openai(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "model", "messages": [{"role": "user", "content": list(parts), **fields}]}


def shown(url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": url}


WHAT = {"type": "text", "text": "What?"}
# Each family's request with an image: (path, body).
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/api/v1/chat", {"message": "What?", "images": [RED]}),
    ("/api/v1/chat", {"message": "What?", "images": [URI], "stream": True}),
    ("/v1/chat/completions", openai(WHAT, shown({"url": URI}))),
    ("/v1/chat/completions", openai(shown({"url": URI, "detail": "low"}))),
    ("/v1/chat/completions", openai(WHAT, shown(URI))),
    ("/api/chat", {"model": "model", "messages": [{"role": "user", "content": "What?", "images": [RED]}]}),
    ("/api/generate", {"model": "model", "prompt": "What?", "images": [RED]}),
    ("/api/generate", {"model": "model", "prompt": "What?", "images": [RED], "raw": True}),
    ("/api/v1/generate", {"prompt": "What?", "images": [RED]}),
    ("/api/extra/generate/stream", {"prompt": "What?", "memory": "M", "images": [RED]}),
]


@pytest.mark.parametrize(("path", "body"), ASKED)
def test_an_image_reaches_a_model_that_sees(path: str, body: dict[str, Any]) -> None:
    world = seeing()
    response = world.client().post(path, json=body)
    assert response.status_code == 200, response.get_data(as_text=True)
    response.get_data()
    (generation,) = world.engine.generations
    assert [image.data for image in generation.images] == [picture()]
    assert generation.prompt.count(IMAGE_MARK) == 1


@pytest.mark.parametrize(("path", "body"), ASKED)
def test_a_model_that_cannot_see_refuses_before_anything_is_stored(path: str, body: dict[str, Any]) -> None:
    world = World()
    response = world.client().post(path, json=body)
    assert response.status_code == 400
    assert "this model takes no images" in response.get_data(as_text=True)
    assert not world.history.all_messages and not world.history.kept_images
    assert not world.engine.generations


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/chat", {"message": "What?", "images": [SWOLLEN]}),
        ("/v1/chat/completions", openai(WHAT, shown({"url": f"data:image/png;base64,{SWOLLEN}"}))),
        ("/api/generate", {"model": "model", "prompt": "What?", "images": [SWOLLEN], "raw": True}),
        ("/api/v1/generate", {"prompt": "What?", "images": [SWOLLEN]}),
    ],
)
def test_an_image_that_would_fill_the_engines_memory_does_not_reach_it(path: str, body: dict[str, Any]) -> None:
    world = seeing()
    response = world.client().post(path, json=body)
    assert response.status_code == 400
    assert "holds more than its 1 x 1 pixels" in response.get_data(as_text=True)
    assert not world.engine.generations and not world.history.all_messages and not world.history.kept_images


def test_a_rule_stores_no_images_that_no_model_looks_at() -> None:
    world = World()
    world.bots.bots["assistant"] = replace(world.bots.bots["assistant"], rules=(Rule(("hello",), "Hi."),))
    client = world.client()
    assert client.post("/api/v1/chat", json={"message": "hello", "images": [RED]}).status_code == 400
    assert not world.history.all_messages and not world.history.kept_images
    assert client.post("/api/v1/chat", json={"message": "hello"}).json["answer"] == "Hi."  # type: ignore[index]


def _said(response: TestResponse) -> str:
    return response.get_data(as_text=True)


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ("aGk=", "images: must be a list of at most 4 images"),
        ([RED] * 5, "images: must be a list of at most 4 images"),
        ([RED, 5], "images[1]: must be text"),
        (["not base64!"], "images[0]: is not base64"),
        ([RED[:-3]], "images[0]: is not base64"),
        (["https://example.com/a.png"], "images[0]: must hold the image itself"),
        (["http://169.254.169.254/latest"], "no address is fetched"),
        (["file:///etc/passwd"], "no address is fetched"),
        (["data:image/png,notbase64"], "images[0]: must hold the image itself"),
        (["A" * (12 << 20)], "images[0]: is larger than 8 MiB"),
        ([encoded(picture("WEBP"))], "images[0]: is WebP"),
        ([encoded(b"<svg/>", "image/svg+xml")], "images[0]: is no image"),
    ],
)
def test_what_is_no_image_is_refused_by_its_place(images: Any, reason: str) -> None:
    world = seeing()
    world.app.config["MAX_CONTENT_LENGTH"] = 16 << 20
    response = world.client().post("/api/v1/chat", json={"message": "What?", "images": images})
    assert response.status_code == 400
    assert response.json and reason in response.json["error"]["message"]
    assert not world.history.all_messages


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (openai(WHAT, shown({"url": "https://example.com/a.png"})), "messages[0].content[1].image_url.url"),
        (openai(WHAT, shown({})), "messages[0].content[1].image_url.url"),
        (openai(WHAT, shown(None)), "messages[0].content[1].image_url.url"),
        (openai(shown(URI), role="system"), "messages[0].content[0]"),
        (openai(*[shown(URI)] * 17), "messages"),
    ],
)
def test_openais_parts_are_refused_by_their_place(body: dict[str, Any], param: str) -> None:
    response = seeing().client().post("/v1/chat/completions", json=body)
    assert response.status_code == 400
    assert response.json and response.json["error"]["param"] == param


def test_ollamas_images_are_the_users_alone() -> None:
    messages = [{"role": "assistant", "content": "See", "images": [RED]}, {"role": "user", "content": "?"}]
    response = seeing().client().post("/api/chat", json={"model": "model", "messages": messages})
    assert response.status_code == 400 and "only messages of the role user" in _said(response)


def test_a_conversation_keeps_its_images_for_later_questions() -> None:
    world, client = seeing(), None
    client = world.client()
    first = client.post("/api/v1/chat", json={"message": "What?", "images": [RED, BLUE]}).json
    assert first
    second = client.post("/api/v1/chat", json={"message": "And?", "conversation_id": first["conversation_id"]}).json
    assert second and second["context_truncated"] is False
    assert [image.data for image in world.engine.generations[1].images] == [picture(), picture(colour="blue")]
    again = client.post(f"/api/v1/messages/{first['message_id']}/regenerate").json
    assert again and len(world.engine.generations[2].images) == 2


def test_an_image_that_no_longer_fits_is_told_as_missing() -> None:
    world = seeing(1)
    client = world.client()
    first = client.post("/api/v1/chat", json={"message": "What?", "images": [RED]}).json
    assert first
    order = {"message": "And this?", "conversation_id": first["conversation_id"], "images": [BLUE]}
    second = client.post("/api/v1/chat", json=order).json
    assert second and second["context_truncated"] is True
    assert [image.data for image in world.engine.generations[1].images] == [picture(colour="blue")]


def test_lists_name_images_and_exports_hold_them() -> None:
    world = seeing()
    client = world.client()
    first = client.post("/api/v1/chat", json={"message": "What?", "images": [RED]}).json
    assert first
    place = f"/api/v1/conversations/{first['conversation_id']}"
    listed = client.get(place).json
    assert listed
    (image,) = listed["messages"][0]["images"]
    assert {**image, "id": ""} == {"id": "", "media_type": "image/png", "width": 64, "height": 48}
    assert "images" not in listed["messages"][1]
    exported = client.get(f"{place}/export").get_json(force=True)
    assert exported["messages"][0]["images"] == [{**image, "data": URI}]
    assert "image/png, 64 x 48 pixels" in _said(client.get(f"{place}/export?format=markdown"))


def test_deleting_takes_the_images_along() -> None:
    world = seeing()
    client = world.client()
    client.post("/api/v1/chat", json={"message": "What?", "images": [RED]})
    assert world.history.kept_images
    assert client.delete("/api/v1/conversations").status_code == 200
    assert not world.history.kept_images


def test_an_image_is_nobody_elses(caplog: pytest.LogCaptureFixture) -> None:
    world = seeing()
    caplog.set_level("DEBUG")
    first = world.client().post("/api/v1/chat", json={"message": "What?", "images": [RED]}).json
    assert first
    other = world.client()
    assert other.get(f"/api/v1/conversations/{first['conversation_id']}/export").status_code == 404
    assert RED[:40] not in caplog.text and repr(picture())[:40] not in caplog.text
    assert repr(picture())[2:20] not in repr(world.engine.generations)


def test_kobold_clients_are_told_whether_the_model_sees() -> None:
    assert seeing().client("kobold").get("/api/extra/version").get_json()["vision"] is True
