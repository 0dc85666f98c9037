"""Programs of the provider, unchanged but for address and key."""

import asyncio
import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import openai
import pytest
from django.utils import timezone

from accounts.models import Project
from billing.models import Budget, Quota, UsageRecord
from jobs.models import Attempt, Doubt, Job, Undelivered
from jobs.recovery import looks
from tests.flows.conftest import LONG_AGO, PROMPT
from tests.flows.test_golden_calls import GOLDEN
from tests.front_door.conftest import ask, eventually

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


# --- Answers ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("model", "prompt", "parameters", "input_", "output", "reasoning", "cost", "status"), GOLDEN)
def test_the_tutorials_calls_come_out_as_at_the_provider(
    engine, official, model, prompt, parameters, input_, output, reasoning, cost, status
):
    answer = ask(official, model, prompt, **parameters)
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (input_, output, input_ + output)
    assert usage.completion_tokens_details.reasoning_tokens == reasoning
    assert answer.choices[0].finish_reason == ("stop" if status == "succeeded" else "length")
    assert bool(answer.choices[0].message.content) == (status == "succeeded")
    assert (answer.object, answer.model) == ("chat.completion", f"{model}-2024-09-12")
    assert answer.id == Attempt.objects.get().provider_response_id
    assert answer.id.startswith("chatcmpl-")
    assert answer.system_fingerprint.startswith("fp_")
    assert abs(answer.created - timezone.now().timestamp()) < 60
    parts = answer.usage.cost
    assert parts["total_usd"] == cost.rstrip("0")
    assert sum(Decimal(value) for name, value in parts.items() if name != "total_usd") == Decimal(cost)


def test_headers_tell_the_cost_what_is_left_and_the_rate_limits(engine, official, project):
    raw = official.chat.completions.with_raw_response.create(
        model="o1-mini", messages=[{"role": "user", "content": PROMPT}], extra_headers={"X-Client-Request-Id": "mine"}
    )
    job = Job.objects.get()
    headers = raw.headers
    assert headers["x-cost-usd"] == "0.018261"
    assert (headers["x-cost-input-tokens"], headers["x-cost-output-tokens"]) == ("43", "1511")
    assert headers["x-cost-reasoning-tokens"] == "256"
    assert Decimal(headers["x-cost-reserved-usd"]) == job.bound_usd
    assert headers["x-job-id"] == str(job.pk)
    assert headers["x-advice"] == "verbose_answer"
    assert Decimal(headers["x-budget-remaining-usd"]) == 50_000 - Decimal("0.018261")
    assert headers["x-budget-reset"].endswith("-01T00:00:00Z")
    assert headers["x-ratelimit-limit-requests"] == "1000"
    assert headers["x-ratelimit-limit-tokens"] == "150000000"
    assert 0 < int(headers["x-ratelimit-remaining-requests"]) <= 1000
    assert headers["x-ratelimit-reset-requests"].endswith("s")
    assert headers["x-client-request-id"] == "mine"
    assert headers["x-request-id"].startswith("req_")
    assert int(headers["openai-processing-ms"]) > 0
    assert headers["openai-project"] == str(project.pk)
    assert headers["openai-version"] == "2020-10-01"


def test_a_project_that_refuses_by_advice_refuses_here_too_until_it_is_ignored(engine, official, project):
    Project.objects.filter(pk=project.pk).update(blocks_on_advice=["verbose_answer"])
    with pytest.raises(openai.BadRequestError, match="X-Ignore-Advice") as refused:
        ask(official, "o1-mini", PROMPT)
    assert refused.value.code == "advice_blocks"
    assert not Job.objects.exists()
    raw = official.chat.completions.with_raw_response.create(
        model="o1-mini",
        messages=[{"role": "user", "content": PROMPT}],
        extra_headers={"X-Ignore-Advice": "verbose_answer"},
    )
    assert "x-advice" not in raw.headers
    assert raw.parse().choices[0].message.content


def test_the_asynchronous_client_too(engine, web, alice):
    async def both():
        async with openai.AsyncOpenAI(base_url=web.base_url, api_key=alice.api_key.secret) as client:
            return await asyncio.gather(ask(client, prompt=PROMPT), ask(client, prompt="hello"))

    first, second = asyncio.run(both())
    assert first.usage.completion_tokens == 1511
    assert second.choices[0].message.content
    assert Job.objects.count() == 2
    eventually(lambda: not Undelivered.objects.exists())


def test_further_choices_and_what_stands_beside_them_are_not_lost(engine, official):
    answer = ask(official, "gpt-4o", n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert all(choice.message.content for choice in answer.choices)
    stored = Job.objects.get().content.rest
    assert len(stored["choices"]) == 2
    assert stored["completion"]["system_fingerprint"] == answer.system_fingerprint


def test_a_call_that_was_made_in_the_background_is_answered_as_a_completion(engine, official):
    answer = ask(official, "o3")
    assert Attempt.objects.get().provider_response_id.startswith("resp_")
    assert answer.id == f"chatcmpl-{Job.objects.get().pk.hex}"
    assert answer.choices[0].message.content
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0
    assert 0 < usage.completion_tokens_details.reasoning_tokens <= usage.completion_tokens
    assert usage.prompt_tokens_details.cached_tokens == 0
    assert Decimal(usage.cost["total_usd"]) == UsageRecord.objects.get().total_usd


def test_metadata_are_tags_here_and_go_to_the_provider_where_it_keeps_the_answer(engine, official, simulator):
    ask(official, "gpt-4o", metadata={"team": "a"})
    ask(official, "gpt-4o", metadata={"team": "b"}, store=True, user="u-1", service_tier="default")
    assert list(Job.objects.order_by("id").values_list("metadata", flat=True)) == [{"team": "a"}, {"team": "b"}]
    first, second = [job.content.request for job in Job.objects.select_related("content").order_by("id")]
    assert "metadata" not in first
    assert (second["metadata"], second["user"]) == ({"team": "b"}, "u-1")


# --- Refusals ---------------------------------------------------------------------------------------------------------
def test_refusals_are_the_clients_own_exceptions(engine, official, web, alice):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(official, max_tokens=5)
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "max_tokens")
    with pytest.raises(openai.NotFoundError) as refused:
        ask(official, "o9")
    assert refused.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="16 pairs"):
        ask(official, metadata={str(number): "x" for number in range(17)})
    with pytest.raises(openai.BadRequestError, match="max_cost_usd") as refused:
        ask(official, extra_headers={"X-Max-Cost-USD": "0.000001"})
    assert refused.value.code == "max_cost_exceeded"
    with pytest.raises(openai.BadRequestError, match="X-On-Disconnect"):
        ask(official, extra_headers={"X-On-Disconnect": "explode"})
    with pytest.raises(openai.AuthenticationError) as refused:
        ask(openai.OpenAI(base_url=web.base_url, api_key="bk_live_nobody"))
    assert refused.value.code == "invalid_api_key"
    assert not Job.objects.exists()


def test_a_client_may_name_its_organization_and_project_and_no_other(engine, web, alice, bob):
    def client(project, organization):
        return openai.OpenAI(
            base_url=web.base_url, api_key=alice.api_key.secret, project=project, organization=organization
        )

    assert ask(client(str(alice.project.pk), alice.organization.slug)).choices
    with pytest.raises(openai.AuthenticationError) as refused:
        ask(client(str(bob.project.pk), None))
    assert refused.value.code == "mismatched_project"
    with pytest.raises(openai.AuthenticationError) as refused:
        ask(client(None, str(bob.organization.pk)))
    assert refused.value.code == "mismatched_organization"


def test_a_call_that_no_budget_can_hold_is_refused_and_not_tried_again(engine, official, project):
    Quota.objects.create(organization=project.organization, project=project, limit=Decimal("0.05"))
    with pytest.raises(openai.RateLimitError) as refused:
        ask(official)
    assert (refused.value.type, refused.value.code) == ("insufficient_quota", "project_spend_limit_exceeded")
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert not Job.objects.exists()


def test_a_used_up_budget_is_told_while_the_job_is_queued(engine, official, project):
    Quota.objects.create(organization=project.organization, project=project, limit=Decimal("0.02"))
    assert ask(official, prompt=PROMPT, max_completion_tokens=1511).usage.cost["total_usd"] == "0.018261"
    with pytest.raises(openai.RateLimitError, match=r"0\.018261 USD of 0\.02 USD") as refused:
        ask(official, prompt=PROMPT, max_completion_tokens=1500)
    assert (refused.value.type, refused.value.code) == ("insufficient_quota", "project_spend_limit_exceeded")
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert list(Job.objects.order_by("id").values_list("status", flat=True)) == ["succeeded", "cancelled"]
    eventually(lambda: not Undelivered.objects.exists())  # after it was told


def test_a_key_under_which_nothing_was_done_may_be_used_again(engine, official, project):
    quota = Quota.objects.create(organization=project.organization, project=project, limit=Decimal("0.02"))
    ask(official, prompt=PROMPT, max_completion_tokens=1511)
    key = {"Idempotency-Key": "mine"}
    with pytest.raises(openai.RateLimitError):
        ask(official, prompt=PROMPT, max_completion_tokens=1500, extra_headers=key)
    Quota.objects.filter(pk=quota.pk).update(limit=Decimal(1))
    assert ask(official, prompt=PROMPT, max_completion_tokens=1500, extra_headers=key).choices


def test_an_answer_that_was_lost_on_its_way_here_is_waited_for_and_found(engine, official, simulator):
    simulator.fault("cut_after_billing")
    with ThreadPoolExecutor(1) as clients:
        answer = clients.submit(ask, official)
        eventually(lambda: Doubt.objects.exists())
        assert not answer.done()
        Doubt.objects.update(next_look_at=LONG_AGO)
        looks.look_up()
        assert answer.result().choices[0].message.content
    assert Job.objects.get().status == "succeeded"
    assert Attempt.objects.count() == 1


def test_a_budget_that_others_only_hold_is_waited_for(engine, official, project, simulator):
    simulator.set_latency(1.5)
    Quota.objects.create(organization=project.organization, project=project, limit=Decimal("0.0335"))
    with ThreadPoolExecutor(2) as clients:
        # Each holds more than half of it, and comes to less.
        answers = list(clients.map(lambda _: ask(official, prompt="hi", max_completion_tokens=1400), range(2)))
    assert len(answers) == 2
    assert Job.objects.filter(status__in=["succeeded", "incomplete"]).count() == 2


def test_a_paused_project_is_told_at_once(engine, official, project):
    project.paused_at, project.paused_reason = timezone.now(), "a bill above its bound"
    project.save()
    with pytest.raises(openai.RateLimitError, match="a bill above its bound") as refused:
        ask(official)
    assert refused.value.code == "project_paused"
    assert Job.objects.get().status == "cancelled"


def test_what_the_provider_refuses_is_refused_in_its_words(engine, official, simulator):
    simulator.fault("404")
    with pytest.raises(openai.NotFoundError) as refused:
        ask(official)
    assert refused.value.code == "model_not_found"
    assert Job.objects.get().status == "failed"


# --- Jobs instead of answers ------------------------------------------------------------------------------------------
def post(web, alice, **headers):
    body = {"model": "o1-mini", "messages": [{"role": "user", "content": "hello"}]}
    headers = {"Authorization": f"Bearer {alice.api_key.secret}", "Content-Type": "application/json", **headers}
    request = urllib.request.Request(f"{web.base_url}/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status, answer.headers, json.loads(answer.read())


def test_a_client_that_prefers_it_gets_the_job(idle_engine, web, alice):
    status, headers, body = post(web, alice, Prefer="respond-async")
    job = Job.objects.get()
    assert (status, body["object"], body["id"], body["status"]) == (202, "job", str(job.pk), "queued")
    assert headers["Location"] == f"{web.url}/api/v1/jobs/{job.pk}"
    assert headers["Preference-Applied"] == "respond-async"
    assert not Undelivered.objects.exists()


def test_a_client_that_waits_no_longer_gets_the_job(idle_engine, web, alice):
    status, headers, body = post(web, alice, Prefer="wait=1")
    assert (status, body["status"], headers["Preference-Applied"]) == (202, "queued", "wait=1")
    assert not Undelivered.objects.exists()
    idle_engine.start()
    assert post(web, alice, Prefer="respond-async, wait=30")[2]["object"] == "chat.completion"


def test_a_repetition_under_the_same_key_gets_the_same_answer(engine, official, simulator):
    billed = simulator.bill()["calls"]
    key = {"Idempotency-Key": "mine"}
    first = ask(official, extra_headers=key)
    again = official.chat.completions.with_raw_response.create(
        model="o1-mini", messages=[{"role": "user", "content": "hello"}], extra_headers=key
    )
    assert again.parse().id == first.id
    assert again.headers["idempotent-replayed"] == "true"
    assert Job.objects.count() == 1
    assert simulator.bill()["calls"] == billed + 1
    with pytest.raises(openai.UnprocessableEntityError):
        ask(official, prompt="another", extra_headers=key)


# --- Many -------------------------------------------------------------------------------------------------------------
def test_many_clients_at_once_are_all_answered_and_all_sums_agree(engine, official, simulator):
    before = Decimal(simulator.bill()["cost_usd"])
    with ThreadPoolExecutor(64) as clients:
        answers = list(clients.map(lambda number: ask(official, prompt=f"number {number % 8}"), range(96)))
    total = sum(Decimal(answer.usage.cost["total_usd"]) for answer in answers)
    assert len({answer.id for answer in answers}) == 96
    assert Job.objects.filter(status="succeeded").count() == 96
    assert sum(record.total_usd for record in UsageRecord.objects.all()) == total
    assert [(budget.spent, budget.held) for budget in Budget.objects.all()] == [(total, 0)] * 2
    assert Decimal(simulator.bill()["cost_usd"]) - before == total
    eventually(lambda: not Undelivered.objects.exists())
