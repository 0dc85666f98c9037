"""The figures of /metrics: right, counted once, and all there that dashboard and alerts ask for."""

import json
import re
import tomllib
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from django.test import Client
from django.utils import timezone

from billing.models import Quota
from config import alive, metrics, refusals
from config.metrics import calls, learning, processes
from config.metrics.text import Family, Kind, Sample, histogram, written
from jobs import dispatch, limiter
from jobs.learning import folding
from jobs.models import Attempt, Job, Unlearnt

DOCS = Path(__file__).resolve().parents[2] / "docs" / "grafana"


@pytest.fixture(autouse=True)
def _nothing_counted_before(db):
    limiter.connection().delete("bursar:metrics:calls", "bursar:metrics:budget-refusals")
    for part in alive.Part:
        alive.say(part)


def scraped() -> dict[str, Decimal]:
    """Each sample by its name with its labels, as text."""
    response = Client().get("/metrics")
    assert (response.status_code, response["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    lines = [line for line in response.content.decode().splitlines() if not line.startswith("#")]
    return {name: Decimal(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


@pytest.fixture
def answered(path) -> Job:
    job = path.submit()
    path.run()
    job.refresh_from_db()
    return job


def test_money_and_tokens_are_those_that_were_booked(answered):
    told = scraped()
    assert told['bursar_spend_usd_total{model="o1-mini"}'] == answered.total_usd > 0
    usage = answered.usage
    reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
    kinds = {kind: told[f'bursar_tokens_total{{model="o1-mini",token_type="{kind}"}}'] for kind in ("input", "output")}
    assert kinds == {"input": usage["prompt_tokens"], "output": usage["completion_tokens"] - reasoning}
    assert told['bursar_tokens_total{model="o1-mini",token_type="reasoning"}'] == reasoning
    assert told["bursar_reserved_usd"] == 0


def test_what_is_held_and_what_is_in_doubt_is_told(path):
    job = path.submit()
    path.dispatch()
    assert scraped()["bursar_reserved_usd"] == job.bound_usd
    Attempt.objects.update(status="in_doubt", calling_at=timezone.now() - timedelta(hours=2))
    told = scraped()
    assert told["bursar_attempts_unresolved"] == 1
    assert told["bursar_attempts_unresolved_age_seconds"] > 7000


def test_the_budgets_with_the_least_left_are_told(path, alice):
    Quota.objects.create(organization=alice.organization, project=alice.project, limit=Decimal(2))
    path.submit()
    path.dispatch()
    told = scraped()
    limits = {name: value for name, value in told.items() if name.startswith("bursar_budget_limit_usd")}
    left = {name: value for name, value in told.items() if name.startswith("bursar_budget_remaining_usd")}
    assert len(limits) == len(left) == 3
    assert min(left.values()) == 2 - Job.objects.get().bound_usd


def test_jobs_and_calls_are_counted_by_outcome_with_their_durations(answered):
    told = scraped()
    assert told['bursar_jobs_total{status="succeeded"}'] == 1
    assert told['bursar_upstream_requests_total{model="o1-mini",code="200"}'] == 1
    assert told['bursar_upstream_duration_seconds_count{model="o1-mini"}'] == 1
    assert told['bursar_upstream_duration_seconds_bucket{model="o1-mini",le="+Inf"}'] == 1
    assert told["bursar_job_duration_seconds_count"] == told["bursar_ratelimit_wait_seconds_count"] == 1
    attempt = Attempt.objects.get()
    took = (attempt.finished_at - attempt.calling_at).total_seconds()
    assert told['bursar_upstream_duration_seconds_sum{model="o1-mini"}'] == Decimal(str(round(took, 6)))


def test_what_ended_long_ago_is_counted_once_for_good_and_stays(answered, monkeypatch):
    """The clock of the count goes on, past the attempt's last chance to change."""
    begin = timezone.now()
    for minutes in (0, 1, 30, 31, 32, 90):
        monkeypatch.setattr(calls, "database_now", lambda minutes=minutes: begin + timedelta(minutes=minutes))
        assert scraped()['bursar_jobs_total{status="succeeded"}'] == 1, minutes
    kept = limiter.connection().hgetall("bursar:metrics:calls")
    assert kept[b"n|jobs|succeeded|"] == b"1"


def test_a_call_in_doubt_is_counted_as_one_only_when_it_has_stayed_so(path, monkeypatch):
    path.submit()
    path.dispatch()
    begin = timezone.now()
    assert not any("upstream_requests" in name for name in scraped())
    Attempt.objects.update(status="in_doubt", calling_at=begin, error_code="timeout")
    assert not any("upstream_requests" in name for name in scraped())
    monkeypatch.setattr(calls, "database_now", lambda: begin + timedelta(hours=1))
    assert scraped()['bursar_upstream_requests_total{model="o1-mini",code="in_doubt"}'] == 1


def test_jobs_in_line_are_told_with_what_they_wait_for(path, slots):
    slots(0)
    path.submit()
    Job.objects.update(queued_at=timezone.now() - timedelta(minutes=5))
    path.submit()
    told = scraped()
    assert told['bursar_queue_depth{waiting_on="capacity"}'] == 2
    assert told['bursar_queue_age_seconds{waiting_on="capacity"}'] > 250


def test_answered_jobs_that_wait_to_be_learnt_of_are_told_with_the_age_of_the_first(answered, path, monkeypatch):
    assert scraped()["bursar_jobs_unlearnt"] == 1
    Job.objects.filter(pk=answered.pk).update(finished_at=timezone.now() - timedelta(hours=1))
    path.submit()
    path.run()
    told = scraped()
    assert told["bursar_jobs_unlearnt"] == 2
    assert 3500 < told["bursar_jobs_unlearnt_age_seconds"] < 4000
    monkeypatch.setattr(learning, "MOST_COUNTED", 1)
    assert scraped()["bursar_jobs_unlearnt"] == 1
    assert folding.learn() == 2
    told = scraped()
    assert (told["bursar_jobs_unlearnt"], told["bursar_jobs_unlearnt_age_seconds"]) == (0, 0)


def test_a_job_that_ends_while_it_is_counted_has_waited_for_no_time(answered):
    Job.objects.update(finished_at=timezone.now() + timedelta(minutes=1))
    assert Unlearnt.objects.count() == 1
    assert scraped()["bursar_jobs_unlearnt_age_seconds"] == 0


def test_refusals_are_counted_by_scope():
    for scope in ("project", "project", "organization"):
        refusals.note(scope)
    told = scraped()
    assert told['bursar_budget_refusals_total{scope="project"}'] == 2
    assert told['bursar_budget_refusals_total{scope="organization"}'] == 1


def test_a_part_that_is_silent_is_down():
    limiter.connection().delete("bursar:alive:beat")
    told = scraped()
    assert (told['bursar_part_up{part="beat"}'], told['bursar_part_up{part="dispatch"}']) == (0, 1)


def test_calls_that_wait_to_be_claimed_are_told(path):
    path.submit()
    dispatch.dispatch()
    assert scraped()["bursar_calls_unclaimed"] == 0
    Attempt.objects.update(created_at=timezone.now() - timedelta(seconds=10))
    assert scraped()["bursar_calls_unclaimed"] == 1


def test_without_redis_the_figures_of_postgresql_are_told_all_the_same(answered, monkeypatch):
    def away():
        raise OSError("away")

    monkeypatch.setattr(limiter, "connection", away)
    told = scraped()
    assert told['bursar_spend_usd_total{model="o1-mini"}'] == answered.total_usd
    assert not any("jobs_total" in name for name in told)


def test_a_token_is_asked_for_where_one_is_set(settings):
    settings.METRICS_TOKEN = "t0ken"
    for header in ("", "Bearer other", "Basic t0ken"):
        response = Client().get("/metrics", headers={"Authorization": header})
        assert (response.status_code, response["WWW-Authenticate"]) == (401, 'Bearer realm="bursar"')
        assert "bursar_" not in response.content.decode()
    assert Client().get("/metrics", headers={"Authorization": "Bearer t0ken"}).status_code == 200


def test_every_metric_that_dashboard_and_alerts_name_exists(answered, path):
    path.submit()  # in line, so that queues are told
    refusals.note("project")
    known = set()
    for source in metrics.SOURCES:
        for family in source():
            parts = ("_bucket", "_sum", "_count") if family.kind is Kind.HISTOGRAM else ("",)
            known |= {f"bursar_{family.name}{part}" for part in parts}
    dashboard = json.loads((DOCS / "dashboard.json").read_text())
    rules = yaml.safe_load((DOCS / "alerts.yml").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    named = set(re.findall(r"\bbursar_\w+", " ".join(asked)))
    assert len(named) > 20
    assert named - known == set()


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((DOCS.parents[1] / "pyproject.toml").read_text())["project"]
    assert project["version"] == processes.VERSION


def test_the_text_format():
    family = Family("x", Kind.COUNTER, 'A "line"\nand\\more.', (Sample(Decimal("1E-12"), {"a": 'q"\\\n'}), Sample(2)))
    assert written([family]) == (
        '# HELP bursar_x A "line"\\nand\\\\more.\n# TYPE bursar_x counter\n'
        'bursar_x{a="q\\"\\\\\\n"} 0.000000000001\nbursar_x 2\n'
    )
    assert [
        (sample.suffix, sample.labels.get("le"), sample.value) for sample in histogram((1, 2.5), (3, 0, 4), 9, {})
    ] == [
        ("_bucket", "1", 3),
        ("_bucket", "2.5", 3),
        ("_bucket", "+Inf", 7),
        ("_sum", None, 9),
        ("_count", None, 7),
    ]
