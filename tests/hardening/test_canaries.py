"""Secrets and prompts that are known by their words go everywhere, and are looked for where they do not belong.

As many as CANARIES says, which a run on demand sets to a thousand.
"""

import base64
import io
import json
import logging
import os
import re
import secrets
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import redis
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import api_keys
from accounts.models import AdminCredential, ApiKey, IdempotencyRecord, ProviderCredential, User
from billing.models import WebhookEndpoint
from config.logs import JsonFormatter, TextFormatter
from jobs import dispatch, execution
from jobs.batches import steps
from jobs.models import Attempt, BatchLine, Breaker, Job, JobContent
from tests.flows.conftest import Path, _fresh_limiter, slots  # noqa: F401 (fixtures)
from tests.hardening.hostile import BACKGROUND_CASES, CASES, hostile_provider
from tests.jobs.wire import Wire

CANARIES = int(os.environ.get("CANARIES", "40"))
# In every canary, so that one search finds all. No key, hash or base64 of ours has it but by a chance of one in 10^12.
MARK = "Xq7Canary"
# What the simulator of a slow provider is waited for.
PATIENCE_SECONDS = 0.5


def canary(kind: str) -> str:
    return f"{MARK}-{kind}-{secrets.token_hex(8)}"


def prompt_of(case: str) -> str:
    """A prompt with characters that are written otherwise in JSON, HTML and URLs."""
    return f'case={case} {canary("prompt")} "quoted" <b>Grüße</b> & more\nin two lines, {canary("prompt")}?'


@pytest.fixture
def provider() -> Iterator[Wire]:
    with hostile_provider(lambda prompt: f"The answer is {canary('answer')}.") as wire:
        yield wire


@pytest.fixture
def logged() -> Iterator[list[io.StringIO]]:
    """All that is logged, as text and as JSON, with every level that a deployment can ask for."""
    root, streams = logging.getLogger(), [io.StringIO(), io.StringIO()]
    handlers = [logging.StreamHandler(stream) for stream in streams]
    handlers[0].setFormatter(TextFormatter())
    handlers[1].setFormatter(JsonFormatter("tests"))
    before = root.level
    root.setLevel(logging.DEBUG)
    for handler in handlers:
        root.addHandler(handler)
    yield streams
    root.setLevel(before)
    for handler in handlers:
        root.removeHandler(handler)


@pytest.fixture
def hostile(alice, provider, settings, request) -> Path:
    """The path to a provider that repeats everything; messages go to the broker as they do in production."""
    request.getfixturevalue("slots")
    settings.OPENAI_BASE_URL = provider.base_url
    settings.OPENAI_API_KEY = f"sk-{canary('environment-key')}"
    settings.PROVIDER_SERVES_SHUT_DOWN_MODELS = True
    settings.CALL_DEADLINE_SECONDS = PATIENCE_SECONDS
    settings.MAX_ATTEMPTS = 2
    settings.BACKGROUND = "on"
    key = alice.api_key.api_key
    ApiKey.objects.filter(pk=key.pk).update(may_manage=True)
    return Path(key, None)  # type: ignore[arg-type]


@pytest.fixture
def web(alice) -> APIClient:
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {alice.api_key.secret}")
    return client


@pytest.fixture
def client_of_admin(db) -> Client:
    signed_in = Client()
    signed_in.force_login(User.objects.create_superuser("root@bursar.example", "a password for tests"))
    return signed_in


# --- Where they are looked for ----------------------------------------------------------------------------------------
def in_tables(words: list[str]) -> list[str]:
    """Columns of any table that hold one of the words, bytes included: `table.column: what stands there`."""
    found = []
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT table_name, column_name, data_type FROM information_schema.columns
            JOIN information_schema.tables USING (table_schema, table_name)
            WHERE table_schema = 'public' AND table_type = 'BASE TABLE'
                AND data_type IN ('text', 'character varying', 'json', 'jsonb', 'bytea', 'character', 'ARRAY')
            """
        )
        for table, column, kind in cursor.fetchall():
            text = f"encode(\"{column}\", 'escape')" if kind == "bytea" else f'"{column}"::text'
            cursor.execute(f'SELECT {text} FROM "{table}" WHERE {text} IS NOT NULL')
            found += [f"{table}.{column}: {value[:300]}" for (value,) in cursor if any(word in value for word in words)]
    return found


def in_valkey(url: str, words: list[str]) -> list[str]:
    """Keys of any kind that hold one of the words in their name or value, messages of Celery unpacked."""
    client, found = redis.Redis.from_url(url), []
    for key in client.scan_iter("*"):
        kind = client.type(key).decode()
        value = {
            "string": lambda key=key: client.get(key),
            "list": lambda key=key: client.lrange(key, 0, -1),
            "set": lambda key=key: client.smembers(key),
            "hash": lambda key=key: client.hgetall(key),
            "zset": lambda key=key: client.zrange(key, 0, -1, withscores=True),
            "stream": lambda key=key: client.xrange(key),
            "none": lambda: None,  # it ran out between the two questions
        }[kind]()
        text = f"{key!r} {value!r} {unpacked(value)}"
        found += [text[:300]] if any(word in text for word in words) else []
    return found


def unpacked(value: object) -> str:
    """The bodies of Celery's messages, which are base64 of JSON."""
    messages = value if isinstance(value, list) else [value]
    bodies = []
    for message in messages:
        if isinstance(message, bytes) and b'"body"' in message:
            bodies += [base64.b64decode(body) for body in re.findall(rb'"body": "([^"]*)"', message)]
    return repr(bodies)


def in_logs(streams: list[io.StringIO], words: list[str]) -> list[str]:
    lines = [line for stream in streams for line in stream.getvalue().splitlines()]
    assert lines, "nothing was logged at all"
    return [line[:400] for line in lines if any(word in line for word in words)]


def nowhere(streams: list[io.StringIO], url: str, words: list[str]) -> None:
    places = {"tables": in_tables(words), "valkey": in_valkey(url, words), "logs": in_logs(streams, words)}
    assert {name: found[:5] for name, found in places.items() if found} == {}


# --- Paths ------------------------------------------------------------------------------------------------------------
def submit(web: APIClient, model: str, prompt: str, **more: object) -> str:
    body = {"model": model, "prompt": prompt, "max_completion_tokens": 100, **more}
    response = web.post("/api/v1/jobs", body, format="json", headers={"Idempotency-Key": secrets.token_hex(8)})
    assert response.status_code == 202, response.content
    assert MARK not in response.text
    return response.json()["id"]


@pytest.mark.timeout(900)
def test_prompts_and_answers_are_in_the_content_alone_and_there_unreadable(hostile, web, logged, settings):
    cases = list(CASES)
    jobs = {}
    for number in range(CANARIES):
        case = cases[number % len(cases)]
        jobs[submit(web, "o1-mini", prompt_of(case))] = case
    for number in range(max(len(BACKGROUND_CASES), CANARIES // 5)):
        case = BACKGROUND_CASES[number % len(BACKGROUND_CASES)]
        jobs[submit(web, "o3", prompt_of(case))] = case
    for _ in range(4 + CANARIES):
        run_once(hostile)
        if not Job.objects.filter(status="queued", attempt_count=0).exists():
            break
    statuses = dict(Job.objects.values_list("pk", "status"))
    assert {"succeeded", "incomplete", "failed", "in_doubt"} <= set(statuses.values())
    for job_id, case in jobs.items():
        shown = web.get(f"/api/v1/jobs/{job_id}").json()
        said = json.dumps([shown.pop("output_text"), shown.pop("message")])
        assert MARK not in json.dumps(shown), (case, shown)
        assert (f"{MARK}-answer" in said) >= (case in {"answer", "filtered", "completed"}), (case, shown["status"])
        assert MARK not in web.get(f"/api/v1/jobs/{job_id}/attempts").text, case
    # It is there all the same, for whoever has the key.
    assert MARK in str(list(JobContent.objects.values_list("request", flat=True)))
    assert Attempt.objects.exclude(error_code="").exists()
    nowhere(logged, settings.REDIS_URL, [MARK])


def run_once(path: Path) -> None:
    """One call of each job that may have one; breakers are let go of, so that every case comes to its call."""
    Breaker.objects.all().delete()
    Job.objects.filter(status="queued").update(run_after=None)
    dispatch.dispatch()
    for attempt in Attempt.objects.filter(status="created"):
        execution.execute(attempt.pk, worker="tests")
    for _ in range(3):
        path.look()


def batch_of(web: APIClient, *lines: dict[str, Any]) -> str:
    """The id of a batch of these lines, which has been looked at."""
    requests = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    upload = {"purpose": "batch", "file": SimpleUploadedFile("requests.jsonl", requests)}
    file = web.post("/v1/files", upload, format="multipart").json()
    wanted = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = web.post("/v1/batches", wanted, format="json").json()
    assert steps.work(60)
    return str(batch["id"])


def line_of(custom_id: str, prompt: str, **more: object) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    body = {"model": "o1-mini", "messages": messages, "max_completion_tokens": 100, **more}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


@pytest.mark.timeout(900)
def test_lines_of_batches_are_nowhere_to_be_read_be_they_answered_or_refused(hostile, web, logged, settings):
    faulty = batch_of(
        web,
        line_of("role", "x", messages=[{"role": canary("role"), "content": canary("prompt")}]),
        line_of("effort", canary("prompt"), reasoning_effort=canary("effort")),
        line_of("tier", canary("prompt"), service_tier=canary("tier")),
        line_of("format", canary("prompt"), response_format={"type": canary("format")}),
        line_of("unknown", canary("prompt"), **{canary("parameter"): 1}),
        {**line_of("member", canary("prompt")), canary("member"): canary("value")},
        {**line_of("url", canary("prompt")), "url": canary("url")},
    )
    told = web.get(f"/v1/batches/{faulty}").json()
    assert len(told["errors"]["data"]) == 7
    assert MARK in json.dumps(told["errors"])  # whoever sent it is told, so that it is stored, and unreadable
    cases = list(CASES)
    lines = [line_of(f"line {number}", prompt_of(cases[number % len(cases)])) for number in range(CANARIES)]
    mixed = batch_of(web, *lines)
    for _ in range(4):
        run_once(hostile)
        steps.work(60)
    found = BatchLine.objects.filter(batch=UUID(mixed.removeprefix("batch_")))
    statuses = set(found.values_list("status", flat=True))
    assert {"completed", "failed"} <= statuses
    assert found.filter(error__isnull=False).exists()
    nowhere(logged, settings.REDIS_URL, [MARK])


@pytest.mark.parametrize("model", ["o1-mini", "nothing-like-it"])
def test_requests_that_are_refused_tell_nothing_of_what_they_held(hostile, web, logged, settings, model):
    secret = canary("prompt")
    refused = [
        web.generic("POST", "/api/v1/jobs", f'{{"model": "{model}", "prompt": "{secret}"', "application/json"),
        web.generic("POST", "/api/v1/jobs", f'"{secret}"', "application/json"),
        web.generic("POST", "/api/v1/jobs", f"prompt={secret}", "application/x-www-form-urlencoded"),
        web.generic("POST", "/api/v1/jobs", secret.encode() + b"\xff", "application/json"),
    ]
    for body in (
        {"model": model, "prompt": secret, "messages": [{"role": "user", "content": secret}]},
        {"model": model, "prompt": secret, "max_completion_tokens": "many"},
        {"model": model, "prompt": secret, "max_cost_usd": "0.000001"},
        {"model": model, "prompt": secret, "temperature": 5},
        {"model": model, "prompt": secret, "deadline": "2001-01-01T00:00:00Z"},
        {"model": model, "messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": secret}]}]},
        {"model": model, "messages": [{"role": "user", "content": {"text": secret}}]},
        {"model": model, "messages": [{"role": "user", "content": secret, "name": "\x00"}]},
        {"model": model, "messages": secret},
        {"model": model, "prompt": [secret]},
        {"model": model, "prompt": secret * 400_000},
    ):
        refused.append(web.post("/api/v1/jobs", body, format="json"))
    for response in refused:
        assert 400 <= response.status_code < 500
        assert MARK not in response.text, response.text
        assert MARK not in str(response.headers)
    nowhere(logged, settings.REDIS_URL, [MARK])


def test_keys_are_nowhere_but_where_they_are_shown_once(hostile, web, alice, logged, settings, client_of_admin):
    keys = [canary("key") for _ in range(max(3, CANARIES // 4))]
    for number, key in enumerate(keys):
        with_key = APIClient(raise_request_exception=False)
        wrong = with_key.get("/api/v1/jobs", headers={"Authorization": f"Bearer bk_live_{key}"})
        assert (wrong.status_code, MARK in wrong.text) == (401, False)
        assert MARK not in with_key.get("/v1/models", headers={"Authorization": f"Bearer sk-{key}"}).text
        ProviderCredential.objects.all().delete()
        credential = ProviderCredential(organization=alice.organization, base_url=settings.OPENAI_BASE_URL)
        credential.api_key = f"sk-{key}"
        credential.save()
        submit(web, "o1-mini", f"case={list(CASES)[number % len(CASES)]} hello")
        run_once(hostile)
    admin_key = AdminCredential(organization=alice.organization)
    admin_key.api_key = f"sk-admin-{canary('key')}"
    admin_key.save()
    page = client_of_admin.get("/admin/accounts/providercredential/").text
    assert MARK not in page
    nowhere(logged, settings.REDIS_URL, [MARK])


def test_what_bursar_makes_up_is_shown_once_and_kept_nowhere(hostile, web, alice, logged, settings):
    made = []
    for number in range(max(3, CANARIES // 10)):
        issued = {"project": str(alice.project.pk), "name": f"key {number}"}
        hook = {"url": f"https://93.184.216.34/{number}"}
        for path, body in (("api-keys", issued), ("webhooks", hook)):
            once = {"Idempotency-Key": f"{path}-{number}"}
            first, again = (web.post(f"/api/v1/{path}", body, format="json", headers=once) for _ in range(2))
            if first.status_code == 409:
                continue  # as many webhooks as there may be
            assert again.json()["secret"] is None
            made.append(first.json()["secret"])
            if path == "webhooks":
                where = f"/api/v1/webhooks/{first.json()['id']}"
                made.append(web.post(f"{where}/rotate", headers={"Idempotency-Key": where}).json()["secret"])
                web.post(f"{where}/test")
    assert len(made) > 3
    assert WebhookEndpoint.objects.exists()
    assert IdempotencyRecord.objects.exists()
    # Without the beginning, which is the same in all, and is what a person knows a key of ours by.
    tails = [secret.partition("_")[2].removeprefix("live_")[4:] for secret in made]
    nowhere(logged, settings.REDIS_URL, tails)
    assert api_keys.find(made[0], timezone.now())
