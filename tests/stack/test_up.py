"""`make up` on a machine: a working chat through TLS, kept over restarts, with nothing published but 80 and 443."""

from __future__ import annotations

import json
import re
import subprocess
import time

import pytest
import requests

from tests.stack.conftest import SERVICES, Appliance, health
from tests.unit.proxy.web.test_kobold import CALL_OF_2023

pytestmark = pytest.mark.stack


def test_up_ends_with_what_the_operator_needs(appliance: Appliance) -> None:
    print(f"make up: {appliance.up_seconds:.0f} s")
    for needed in ("https://localhost", "curl", "packages", "make doctor"):
        assert needed in appliance.up_output


def test_every_service_is_healthy(appliance: Appliance) -> None:
    appliance.wait_healthy()
    assert {name: health(each) for name, each in appliance.containers().items()} == dict.fromkeys(SERVICES, "healthy")


def test_a_model_answers_over_tls_and_the_next_turn_sees_the_first(appliance: Appliance) -> None:
    first = appliance.chat("My name is Ada. What is two plus two?")
    assert first["answer"].strip()
    assert first["finish_reason"] in ("stop", "length")
    second = appliance.chat("What is my name?", conversation_id=first["conversation_id"])
    assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"]
    kept = appliance.messages(first["conversation_id"])
    assert [each["role"] for each in kept] == ["user", "assistant", "user", "assistant"]
    assert kept[1]["text"] == first["answer"]


def test_words_arrive_one_by_one_through_caddy(appliance: Appliance) -> None:
    body = {"message": "Tell me a long story about the sea.", "stream": True}
    arrived: list[tuple[float, str]] = []
    with appliance.request("POST", "/api/v1/chat", json=body, stream=True) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert "Content-Encoding" not in answer.headers
        for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
            if line.startswith("event: "):
                arrived.append((time.monotonic(), line.removeprefix("event: ")))
    kinds = [kind for _, kind in arrived]
    assert kinds.count("token") > 5
    assert kinds[-1] == "done"
    first = next(moment for moment, kind in arrived if kind == "token")
    # Buffered, all of them would come in one piece with the end.
    assert arrived[-1][0] - first > 0.1


@pytest.mark.parametrize("path", ["/api/v1/generate", "/api/v1/generate/", "/api/latest/generate"])
def test_the_call_of_2023_works_with_a_key(appliance: Appliance, path: str) -> None:
    words = ["curl", "-sS", "--cacert", str(appliance.session.verify), "-H", "Content-Type: application/json"]
    words += ["-H", f"Authorization: Bearer {appliance.key}", "--data", json.dumps(CALL_OF_2023)]
    done = subprocess.run([*words, f"https://localhost{path}"], capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout)["results"][0]["text"]


def test_without_a_key_nothing_is_answered(appliance: Appliance) -> None:
    for method, path in (("POST", "/api/v1/chat"), ("GET", "/api/v1/conversations"), ("POST", "/api/v1/generate")):
        answer = appliance.session.request(method, f"https://localhost{path}", json={"message": "x"}, timeout=20)
        assert answer.status_code == 401, f"{method} {path}: {answer.status_code}"


def test_plain_http_is_sent_to_tls_and_http3_is_offered(appliance: Appliance) -> None:
    plain = requests.get("http://localhost/healthz", allow_redirects=False, timeout=20)
    assert plain.status_code in (301, 308)
    assert plain.headers["Location"].startswith("https://localhost/")
    assert 'h3=":443"' in appliance.request("GET", "/healthz").headers["Alt-Svc"]


def test_http2_is_spoken(appliance: Appliance) -> None:
    words = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_version}", "--cacert", str(appliance.session.verify)]
    done = subprocess.run([*words, "https://localhost/healthz"], capture_output=True, text=True, check=True)
    assert done.stdout == "2"


def test_a_body_over_the_limit_gets_a_clear_refusal(appliance: Appliance) -> None:
    answer = appliance.request("POST", "/api/v1/chat", data=b"x" * (11 * 1024 * 1024))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"


def test_a_second_up_changes_nothing_and_is_quick(appliance: Appliance) -> None:
    before = {name: (each["Id"], each["State"]["StartedAt"]) for name, each in appliance.containers().items()}
    settings = (appliance.folder / ".env").read_bytes()
    begun = time.monotonic()
    again = appliance.make("up", SOURCES="packages")
    seconds = time.monotonic() - begun
    print(f"second make up: {seconds:.1f} s")
    assert again.returncode == 0, again.stdout
    assert seconds < 30
    assert {name: (each["Id"], each["State"]["StartedAt"]) for name, each in appliance.containers().items()} == before
    assert (appliance.folder / ".env").read_bytes() == settings
    assert not re.search(r"\bkb_[A-Za-z0-9_-]{20,}", again.stdout), "a key was shown a second time"


def test_settings_and_secrets_are_for_their_owner_alone(appliance: Appliance) -> None:
    assert (appliance.folder / ".env").stat().st_mode & 0o777 == 0o600
    secrets = appliance.folder / ".appliance" / "secrets"
    assert secrets.stat().st_mode & 0o777 == 0o700
    files = list(secrets.iterdir())
    assert {file.name for file in files} == {
        *("mongo_root_password", "mongo_password", "chroma_token", "visitor_secret", "grafana_admin_password"),
    }
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_keys_are_made_listed_and_revoked(appliance: Appliance) -> None:
    made = appliance.make("key", "NAME=kobold-only", "SCOPES=kobold")
    key = re.search(r"\bkb_[A-Za-z0-9_-]+", made.stdout)
    assert made.returncode == 0 and key, made.stdout
    headers = {"Authorization": f"Bearer {key.group()}"}
    assert appliance.request("POST", "/api/v1/chat", json={"message": "hi"}, headers=headers).status_code == 403
    call = {"prompt": "Hello", "max_length": 4}
    assert appliance.request("POST", "/api/v1/generate", json=call, headers=headers).status_code == 200
    listed = appliance.make("keys").stdout
    assert "kobold-only" in listed
    assert key.group() not in listed
    identity = next(word for line in listed.splitlines() if "kobold-only" in line for word in line.split()[:1])
    assert appliance.make("keys", f"REVOKE={identity}").returncode == 0
    assert appliance.request("POST", "/api/v1/generate", json=call, headers=headers).status_code == 401


def test_status_and_doctor_find_nothing_wrong(appliance: Appliance) -> None:
    appliance.wait_healthy()
    status = appliance.make("status")
    assert status.returncode == 0, status.stdout
    assert all(any(line.startswith(name) for line in status.stdout.splitlines()) for name in SERVICES), status.stdout
    doctor = appliance.make("doctor")
    assert doctor.returncode == 0, doctor.stdout


def test_down_keeps_everything_and_up_brings_it_back(appliance: Appliance) -> None:
    conversation = appliance.chat("Remember the word marmalade.")["conversation_id"]
    before = appliance.messages(conversation)
    down = appliance.make("down")
    assert down.returncode == 0, down.stdout
    assert "mongo_data" in down.stdout
    assert not appliance.containers()
    up = appliance.make("up", SOURCES="packages")
    assert up.returncode == 0, up.stdout
    assert appliance.messages(conversation) == before
    assert appliance.chat("And now?", conversation_id=conversation)["answer"].strip()
