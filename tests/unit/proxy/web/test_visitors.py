"""What a page is told before anybody chats, from which origins, and what its visitors may do then."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from chatproxy.core.access import Limits
from chatproxy.core.types import Bot, Theme
from chatproxy.settings import Settings
from tests.unit.proxy.fakes import ASSISTANT, MIRA, SHOP, FakeBots, World

OWN, EVIL = "http://localhost", "https://evil.example"
FULL = Bot(
    "full",
    "Full",
    greeting="Hello!",
    max_message=500,
    retention_days=30,
    quick_replies=("Prices?", "Opening hours?"),
    languages=("de", "en"),
    theme=Theme(accent="#112233", position="left"),
    handoff_email="help@shop.example",
    consent="I agree.",
)
SHOPS = Bot("shops", "Shop's", origins=(SHOP,))


def world(**settings: Any) -> World:
    return World(
        bots=FakeBots(ASSISTANT, MIRA, FULL, SHOPS), settings=Settings(trusted_hops=0, engine_slots=1, **settings)
    )


def widget(client: FlaskClient, origin: str | None = None, **asked: str) -> TestResponse:
    headers = {} if origin is None else {"Origin": origin}
    return client.get("/api/v1/widget", query_string=asked, headers=headers)


def buy(client: FlaskClient, origin: str | None = None, **body: Any) -> TestResponse:
    headers = {} if origin is None else {"Origin": origin}
    return client.post("/api/v1/visitors", json=body, headers=headers)


def json(response: TestResponse, status: int = 200) -> Any:
    assert response.status_code == status, response.text
    return response.get_json()


def test_the_widget_is_told_everything_about_its_bot() -> None:
    here = world()
    told = json(widget(here.app.test_client(), SHOP, bot="full", site_key=here.site(SHOP, bots=["full", "mira"])))
    assert told == {
        "bot": {
            "id": "full",
            "name": "Full",
            "greeting": "Hello!",
            "quick_replies": ["Prices?", "Opening hours?"],
            "languages": ["de", "en"],
            "theme": {"accent": "#112233", "position": "left"},
            "consent": "I agree.",
            "max_message": 500,
            "retention_days": 30,
            "handoff": {"email": "help@shop.example", "smtp": True},
        },
        "bots": [{"id": "mira", "name": "Mira"}, {"id": "full", "name": "Full"}],
    }


def test_without_a_name_it_is_the_default_bot_or_the_first_that_there_is() -> None:
    here = world()
    client = here.app.test_client()
    bare = json(widget(client, OWN))
    assert bare["bot"]["id"] == "assistant"
    assert bare["bot"]["handoff"] == {"email": "people@example.com", "smtp": True}
    assert [bot["id"] for bot in bare["bots"]] == ["assistant", "mira", "full"]
    assert json(widget(client, SHOP, site_key=here.site(SHOP, bots=["shops", "mira"])))["bot"]["id"] == "mira"
    assert json(widget(client, SHOP, site_key=here.site(SHOP, bots=["gone"])), 404)["error"]["code"] == "not_found"


def test_a_bot_of_other_origins_or_site_keys_does_not_exist() -> None:
    here = world()
    client, site = here.app.test_client(), here.site(EVIL, bots=["mira", "shops"])
    for bot in ("shops", "full", "never", "../x", ""):
        answer = widget(client, EVIL, site_key=site, bot=bot)
        assert answer.status_code == (200 if bot == "" else 404)
    assert [bot["id"] for bot in json(widget(client, EVIL, site_key=site))["bots"]] == ["mira"]
    # Framed, the page's origin is not told: one of the site key's must do.
    assert widget(client, OWN, site_key=site, bot="shops").status_code == 404
    assert widget(client, OWN, site_key=here.site(EVIL, SHOP), bot="shops").status_code == 200
    assert widget(client, OWN, bot="shops").status_code == 404


@pytest.mark.parametrize("ask", [widget, buy])
def test_other_origins_are_refused_in_words_that_the_page_can_read(ask: Any) -> None:
    here = world()
    client, site = here.app.test_client(), here.site(SHOP)
    for key in (site, "site_" + "0" * 16, ""):
        answer = ask(client, EVIL, site_key=key)
        error = json(answer, 403)["error"]
        assert error["code"] == "origin_not_allowed"
        assert answer.headers["Access-Control-Allow-Origin"] == EVIL
        assert "Origin" in answer.headers["Vary"]
        assert SHOP not in error["message"]
    assert json(ask(client, EVIL, site_key=site), 403)["error"]["message"].endswith(f"ORIGINS={EVIL}")


@pytest.mark.parametrize("ask", [widget, buy])
def test_without_its_own_page_a_site_key_is_needed(ask: Any) -> None:
    here = world(chat_page=False)
    client = here.app.test_client()
    assert json(ask(client, OWN), 403)["error"]["code"] == "origin_not_allowed"
    assert ask(client, OWN, site_key=here.site(SHOP)).status_code == 200


def test_the_own_origin_is_what_the_reverse_proxy_in_front_says() -> None:
    here = World(settings=Settings(trusted_hops=1))
    client = here.app.test_client()
    outside = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "chat.example", "X-Forwarded-For": "192.0.2.1"}
    for origin, status in (("https://chat.example", 200), ("http://chat.example", 403), (OWN, 403)):
        answer = client.post("/api/v1/visitors", headers={**outside, "Origin": origin})
        assert answer.status_code == status
    port = {**outside, "X-Forwarded-Host": "chat.example:8443", "Origin": "https://chat.example:8443"}
    assert client.post("/api/v1/visitors", headers=port).status_code == 200


def test_a_token_is_bought_by_a_simple_request_and_chats_on_its_own_page() -> None:
    here = world()
    client, site = here.app.test_client(), here.site(SHOP)
    answer = client.post(
        "/api/v1/visitors", data=f'{{"site_key": "{site}"}}', content_type="text/plain", headers={"Origin": SHOP}
    )
    bought = json(answer)
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert bought.keys() == {"token", "expires_in_s", "visitor_id"}
    assert bought["expires_in_s"] == 900
    headers = {"Authorization": f"Bearer {bought['token']}", "Origin": SHOP}
    chatted = client.post("/api/v1/chat", json={"message": "Hi"}, headers=headers)
    assert json(chatted)["answer"] == "Hello there."
    assert chatted.headers["Access-Control-Allow-Origin"] == SHOP
    assert "X-Message-Id" in chatted.headers["Access-Control-Expose-Headers"]
    owner = here.history.conversations_by_id[json(chatted)["conversation_id"]].owner
    assert owner == f"site:{site}/visitor:{bought['visitor_id']}"


def test_a_renewal_keeps_the_visitor_and_its_conversations() -> None:
    here = world()
    visitor, site = here.visitor(key := here.site(SHOP), SHOP), key
    conversation = json(visitor.post("/api/v1/chat", json={"message": "Hi"}))["conversation_id"]
    old = visitor.environ_base["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    renewed = json(buy(visitor, SHOP, site_key=site, token=old))
    visitor.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {renewed['token']}"
    assert [each["id"] for each in json(visitor.get("/api/v1/conversations"))["conversations"]] == [conversation]


def test_a_revoked_site_key_ends_its_tokens_at_once() -> None:
    here = world()
    site = here.site(SHOP)
    visitor = here.visitor(site, SHOP)
    assert visitor.get("/api/v1/conversations").status_code == 200
    here.sites.revoke(site, ASSISTANT and here.sites.sites[site].created_at)
    refused = visitor.get("/api/v1/conversations")
    assert json(refused, 401)["error"]["code"] == "unauthorized"
    # As long as browsers may remember the origin, the page can read why.
    assert buy(visitor, SHOP, site_key=site).status_code == 403


def test_a_visitors_bots_are_checked_where_questions_are_asked_and_answers_given_anew() -> None:
    here = world()
    both, one = here.site(SHOP, bots=["mira", "full"]), here.site(SHOP, bots=["mira"])
    visitor = here.visitor(both, SHOP)
    asked = json(visitor.post("/api/v1/chat", json={"message": "Hi", "bot": "full"}))
    assert visitor.post("/api/v1/chat", json={"message": "Hi", "bot": "assistant"}).status_code == 404
    assert json(visitor.post("/api/v1/chat", json={"message": "Hi"}))["answer"]  # with the first, not the default
    first = here.visitor(one, SHOP)
    started = json(first.post("/api/v1/chat", json={"message": "Hi"}))["conversation_id"]
    assert here.history.conversations_by_id[started].bot == "mira"
    # The bot's file has named other origins since.
    here.bots.bots["full"] = Bot("full", "Full", origins=(EVIL,))
    message = asked["message_id"]
    for method, path, body in (
        ("POST", "/api/v1/chat", {"message": "More", "conversation_id": asked["conversation_id"]}),
        ("POST", f"/api/v1/messages/{message}/regenerate", None),
        ("GET", f"/api/v1/chat/{message}/stream", None),
    ):
        assert visitor.open(path, method=method, json=body).status_code == 404
    assert visitor.get(f"/api/v1/conversations/{asked['conversation_id']}").status_code == 200  # it is theirs


def test_visitors_are_limited_each_and_told_as_people() -> None:
    here = world(visitor_requests_per_minute=1)
    site = here.site(SHOP)
    first, second = here.visitor(site, SHOP), here.visitor(site, SHOP)
    own = here.visitor(here.site(SHOP, limits=Limits(requests_per_minute=2)), SHOP)
    for visitor, statuses in ((first, [200, 429]), (second, [200, 429]), (own, [200, 200, 429])):
        answers = [visitor.post("/api/v1/chat", json={"message": "Hi"}) for _ in statuses]
        assert [answer.status_code for answer in answers] == statuses
        assert json(answers[-1], 429)["error"]["message"].startswith("You have used up your ")
    assert here.client().post("/api/v1/chat", json={"message": "Hi"}).status_code == 200


def test_new_visitors_of_one_address_are_limited() -> None:
    here = world(new_visitors_per_hour=2)
    client, site = here.app.test_client(), here.site(SHOP)
    statuses = [buy(client, SHOP, site_key=site).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    refused = buy(client, SHOP, site_key=site)
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.headers["Access-Control-Allow-Origin"] == SHOP


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"[]", "object"),
        (b"{", "JSON"),
        (b'{"site_key": 5}', "site_key"),
        (b'{"token": []}', "token"),
        (b'{"x": 1}', "x: "),
    ],
)
def test_bad_bodies_are_named(body: bytes, names: str) -> None:
    answer = world().app.test_client().post("/api/v1/visitors", data=body)
    assert names in json(answer, 400)["error"]["message"]


def test_unknown_parameters_are_refused() -> None:
    client = world().app.test_client()
    assert json(widget(client, user_id="x"), 400)["error"]["message"].startswith("user_id: no such parameter")
    assert client.get("/api/v1/widget?bot=a&bot=b").status_code == 400


def test_a_chat_with_an_api_key_asks_the_store_of_site_keys_nothing() -> None:
    here = world()
    here.sites.down = True
    assert here.client().post("/api/v1/chat", json={"message": "Hi"}).status_code == 200
    assert (here.sites.looked_up, here.sites.listed) == ([], 0)


def test_a_visitors_question_costs_one_look_for_its_site_key() -> None:
    here = world()
    visitor = here.visitor(here.site(SHOP), SHOP)
    here.sites.looked_up.clear()
    assert visitor.post("/api/v1/chat", json={"message": "Hi"}).status_code == 200
    assert len(here.sites.looked_up) == 1


def test_while_the_database_is_away_visitors_are_told_so() -> None:
    here = world()
    site = here.site(SHOP)
    visitor = here.visitor(site, SHOP)
    assert visitor.get("/api/v1/conversations").headers["Access-Control-Allow-Origin"] == SHOP
    here.sites.down = True
    for answer in (visitor.get("/api/v1/conversations"), buy(visitor, SHOP, site_key=site)):
        assert json(answer, 503)["error"]["code"] == "storage_unavailable"
        assert answer.headers["Access-Control-Allow-Origin"] == SHOP


@pytest.mark.parametrize(("path", "bytes_announced"), [("/api/v1/visitors", 8193), ("/api/v1/chat", 900_001)])
def test_a_large_body_is_refused_before_it_is_waited_for(path: str, bytes_announced: int) -> None:
    visitor = world().visitor()
    answer = visitor.post(path, data=b"{", environ_overrides={"CONTENT_LENGTH": str(bytes_announced)})
    assert json(answer, 413)["error"]["code"] == "too_large"


def test_a_visitors_message_has_an_end_also_where_the_bot_names_none() -> None:
    here = world()
    visitor = here.visitor()
    assert json(widget(visitor, OWN, bot="mira"))["bot"]["max_message"] == 8000
    assert visitor.post("/api/v1/chat", json={"message": "a" * 8000}).status_code == 200
    told = json(visitor.post("/api/v1/chat", json={"message": "a" * 8001}), 400)
    assert "at most 8000" in told["error"]["message"]
    # Who holds a key knows what it asks.
    assert here.client("chat").post("/api/v1/chat", json={"message": "a" * 8001}).status_code == 200
