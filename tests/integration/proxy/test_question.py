"""POST /api/question over the real store and engine."""

from __future__ import annotations

from tests.integration.proxy.conftest import Proxy


def test_each_users_conversation_goes_on(proxy: Proxy) -> None:
    client = proxy.as_("chat")

    def ask(user_id: str, question: str) -> dict[str, object]:
        body = {"question": question, "user_id": user_id, "bot": "brief"}
        response = client.session.post(f"{proxy.url}/api/question", json=body, timeout=60)
        assert response.status_code == 200, response.text
        return dict(response.json())

    first, second, other = ask("ann", "My name is Ann."), ask("ann", "What is my name?"), ask("bob", "Hello")
    assert first["answer"]
    assert second["conversation_id"] == first["conversation_id"]
    assert other["conversation_id"] != first["conversation_id"]
    # The key's own list is not its users'.
    assert client.session.get(f"{proxy.url}/api/v1/conversations", timeout=30).json()["conversations"] == []
