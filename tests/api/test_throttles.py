"""What a key, and an address without one, may send in a minute; and that all is let through without Redis."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from rest_framework.test import APIClient

from accounts import throttling
from accounts.models import ApiKey, AuditEntry
from config.embedded.ports import free_port
from tests.api.conftest import client_of

HERE = "/api/v1/models"


@pytest.fixture(autouse=True)
def _fresh(settings):
    connection = redis.Redis.from_url(settings.REDIS_URL)
    for key in connection.scan_iter("bursar:throttle:*"):
        connection.delete(key)
    throttling.away.end()
    yield
    throttling.away.end()


def standing(response) -> tuple[int, int]:
    """How many requests are left, and in how many seconds all are there again."""
    left, full = re.fullmatch(r'"requests";r=(\d+);t=(\d+)', response["RateLimit"]).groups()
    return int(left), int(full)


def test_every_answer_to_a_key_says_what_is_left(client, settings):
    settings.KEY_REQUESTS_PER_MINUTE = 60
    first, second, missing = client.get(HERE), client.get("/api/v1/limits"), client.get("/api/v1/nothing")
    assert first["RateLimit-Policy"] == '"requests";q=60;w=60'
    assert (standing(first), standing(second)) == ((59, 1), (58, 2))
    assert "RateLimit" not in missing  # no view, no key
    refused = client.post("/api/v1/jobs", {}, format="json")
    assert (refused.status_code, standing(refused)[0]) == (400, 57)


def test_the_request_too_many_is_refused_until_one_comes_back(client, settings):
    settings.KEY_REQUESTS_PER_MINUTE = 3
    assert [client.get(HERE).status_code for _ in range(3)] == [200] * 3
    refused = client.get(HERE)
    problem = refused.json()
    assert (refused.status_code, problem["code"]) == (429, "throttled")
    assert 19 <= int(refused["Retry-After"]) <= 20
    assert standing(refused)[0] == 0
    assert refused["RateLimit-Policy"] == '"requests";q=3;w=60'
    # Refused ones take nothing away.
    assert [int(client.get(HERE)["Retry-After"]) for _ in range(5)] <= [20] * 5


def test_below_v1_it_is_the_providers_error(client, settings):
    settings.KEY_REQUESTS_PER_MINUTE = 1
    client.get("/v1/models")
    refused = client.get("/v1/models")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert int(refused["Retry-After"]) > 0


def test_keys_have_quotas_of_their_own(client, alice, bob, settings):
    settings.KEY_REQUESTS_PER_MINUTE = 1
    client.get(HERE)
    assert client.get(HERE).status_code == 429
    assert client_of(bob).get(HERE).status_code == 200
    ApiKey.objects.filter(pk=alice.api_key.api_key.pk).update(requests_per_minute=5)
    assert client.get(HERE)["RateLimit-Policy"] == '"requests";q=5;w=60'


def test_without_a_limit_nothing_is_counted(client, settings):
    settings.KEY_REQUESTS_PER_MINUTE = 0
    response = client.get(HERE)
    assert response.status_code == 200
    assert "RateLimit" not in response


def test_many_at_once_are_counted_exactly(settings, db):
    key = ApiKey(requests_per_minute=50)
    with ThreadPoolExecutor(8) as threads:
        quotas = list(threads.map(lambda _: throttling.take_of_key(key), range(80)))
    assert sum(not quota.is_used_up for quota in quotas) in (50, 51)  # one comes back every 1.2 seconds


# --- Addresses --------------------------------------------------------------------------------------------------------
def test_guessing_keys_is_throttled_and_good_keys_beside_it_are_not(client, settings):
    settings.ADDRESS_REQUESTS_PER_MINUTE = 3
    guesses = [APIClient().get(HERE, HTTP_AUTHORIZATION=f"Bearer bk_live_{n}").status_code for n in range(5)]
    assert guesses == [401, 401, 401, 429, 429]
    nothing = APIClient().get(HERE)
    assert (nothing.status_code, nothing["RateLimit-Policy"]) == (429, '"requests";q=3;w=60')
    assert client.get(HERE).status_code == 200
    assert APIClient().get(HERE, REMOTE_ADDR="10.0.0.7").status_code == 401


def test_addresses_of_one_home_are_one(settings):
    settings.ADDRESS_REQUESTS_PER_MINUTE = 1
    assert not throttling.take_of_address("2001:db8:1:2::1").is_used_up
    assert throttling.take_of_address("2001:db8:1:2:ffff::9").is_used_up
    assert not throttling.take_of_address("2001:db8:1:3::1").is_used_up
    assert not throttling.take_of_address("192.0.2.1").is_used_up
    assert not throttling.take_of_address(None).is_used_up


# --- Redis ------------------------------------------------------------------------------------------------------------
def test_while_redis_is_away_everything_is_let_through(client, settings, monkeypatch, caplog):
    settings.KEY_REQUESTS_PER_MINUTE = 1
    monkeypatch.setattr(throttling, "_connection", lambda: redis.Redis(port=free_port()))
    answers = [client.get(HERE) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert not any("RateLimit" in answer for answer in answers)
    assert len([line for line in caplog.messages if "are not counted" in line]) == 1
    monkeypatch.undo()
    assert "RateLimit" not in client.get(HERE)  # it is left alone for a moment
    throttling.away.end()
    assert "RateLimit" in client.get(HERE)


def test_a_script_that_redis_forgot_is_sent_again(client, settings):
    redis.Redis.from_url(settings.REDIS_URL).script_flush()
    assert "RateLimit" in client.get(HERE)


# --- Keys -------------------------------------------------------------------------------------------------------------
@pytest.fixture
def managing(alice):
    ApiKey.objects.filter(pk=alice.api_key.api_key.pk).update(may_manage=True)
    return client_of(alice)


def test_a_key_is_given_a_quota_over_the_api_but_none_above_the_deployments(managing, alice, settings):
    where = f"/api/v1/api-keys/{alice.api_key.api_key.pk}"
    assert managing.patch(where, {"requests_per_minute": 10}, format="json").json()["requests_per_minute"] == 10
    entry = AuditEntry.objects.latest("sequence")
    assert (entry.before, entry.after) == ({"requests_per_minute": None}, {"requests_per_minute": 10})
    for wrong in (0, -1, settings.KEY_REQUESTS_PER_MINUTE + 1, "many"):
        refused = managing.patch(where, {"requests_per_minute": wrong}, format="json")
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, "#/requests_per_minute")
    assert managing.patch(where, {"requests_per_minute": None}, format="json").json()["requests_per_minute"] is None
    body = {"project": str(alice.project.pk), "name": "slow", "requests_per_minute": 7}
    assert managing.post("/api/v1/api-keys", body, format="json").json()["requests_per_minute"] == 7
