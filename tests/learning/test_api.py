"""What was learnt, over REST: within the key's reach, and "not known" where it is not known."""

import csv
import io
from decimal import Decimal

import pytest
from rest_framework.test import APIClient

from accounts import api_keys
from accounts.models import ApiKey, AuditEntry, Project
from jobs.models import Job
from tests.learning.traffic import CODE, EXTRACTION, MODEL, QUESTION, Traffic, lognormal

pytestmark = pytest.mark.django_db

EXPECTATIONS, CALIBRATION = "/api/v1/expectations", "/api/v1/expectations/calibration"


@pytest.fixture
def managing(alice) -> APIClient:
    issued = api_keys.issue(alice.project, name="managing", created_by=alice.owner)
    ApiKey.objects.filter(pk=issued.api_key.pk).update(may_manage=True)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {issued.secret}")
    return client


def test_nothing_is_known_at_first(client):
    assert client.get(EXPECTATIONS).json() == {"data": [], "has_more": False}
    found = client.get(CALIBRATION).json()
    assert (found["data"], found["total"]["jobs"], found["total"]["p90"]["coverage"]) == ([], 0, None)


def test_the_kinds_of_the_project_and_for_managers_of_the_organization(alice, client, managing):
    Traffic(alice, lognormal, CODE, seed=1).run(300)
    Traffic(alice, lognormal, QUESTION, seed=2).run(30)
    rows = client.get(EXPECTATIONS).json()["data"]
    assert {(row["project"]["name"], row["prompt_class"], row["calls"]) for row in rows} == {
        ("Alice research", None, 330),
        ("Alice research", "code-s", 300),
        ("Alice research", "question-s", 30),
    }
    levels = [row["level"] for row in managing.get(EXPECTATIONS).json()["data"]]
    assert sorted(levels) == ["class"] * 2 + ["organization"] + ["organization_class"] * 2 + ["project"]
    code = next(row for row in rows if row["prompt_class"] == "code-s")
    tokens = code["tokens"]["completion"]
    assert 0 < tokens["p50"] < tokens["p90"] < tokens["p99"] <= code["recommended"]["cap"]
    parts = sum(Decimal(code["tokens"][name]["mean"]) for name in ("reasoning", "visible"))
    assert parts == pytest.approx(Decimal(tokens["mean"]), abs=Decimal("0.2"))
    few = next(row for row in rows if row["prompt_class"] == "question-s")
    assert few["tokens"]["completion"]["p50"] > 0
    assert few["tokens"]["completion"]["p99"] is None
    assert few["recommended"] == {"risk": "0.01", "cap": None}
    assert (code["at_cap"], code["reasoning_effort"], code["cut_calls"]) == (None, None, 0)


def test_a_cap_is_told_what_it_would_do(alice, client):
    traffic = Traffic(alice, lognormal, CODE, seed=1)
    jobs = traffic.run(500)
    (row, *_) = client.get(EXPECTATIONS, {"cap": 1500, "risk": "0.1", "model": MODEL}).json()["data"]
    truth = sum(traffic.needs[job.pk].whole > 1500 for job in jobs) / len(jobs)
    empty = sum(traffic.needs[job.pk].reasoning >= 1500 for job in jobs) / len(jobs)
    assert float(row["at_cap"]["cut_probability"]) == pytest.approx(truth, abs=0.05)
    assert float(row["at_cap"]["empty_probability"]) == pytest.approx(empty, abs=0.05)
    assert row["recommended"]["risk"] == "0.1"
    assert row["tokens"]["completion"]["p90"] <= row["recommended"]["cap"] < row["tokens"]["completion"]["p99"]


def test_filters(alice, client):
    Traffic(alice, lognormal, EXTRACTION, seed=1, effort="high").run(20)
    Traffic(alice, lognormal, EXTRACTION, seed=1).run(20)
    efforts = {
        query: [row["reasoning_effort"] for row in client.get(f"{EXPECTATIONS}?{query}").json()["data"]]
        for query in ("", "reasoning_effort=high", "reasoning_effort=", "model=o1-preview")
    }
    assert sorted(map(str, efforts.pop(""))) == ["None", "None", "high", "high"]
    assert efforts == {
        "reasoning_effort=high": ["high", "high"],
        "reasoning_effort=": [None, None],
        "model=o1-preview": [],
    }


@pytest.mark.parametrize("query", ["risk=0", "risk=0.6", "cap=0", "cap=x", "colour=red"])
def test_what_is_no_question(client, query):
    assert client.get(f"{EXPECTATIONS}?{query}").status_code == 400


def test_what_was_expected_against_what_came(alice, client):
    traffic = Traffic(alice, lognormal, CODE, seed=3, caps=(2500, None))
    traffic.run(100)
    jobs = traffic.run(300)
    found = client.get(CALIBRATION).json()
    (line,) = found["data"]
    assert line["month"] == f"{jobs[0].finished_at:%Y-%m}"
    assert (line["model"], line["project"]["id"], line["jobs"]) == (MODEL, str(alice.project.pk), 300)
    assert Decimal(line["actual_usd"]) == sum(job.total_usd for job in jobs)
    assert Decimal(line["expected_usd"]) == sum(job.expected_usd for job in jobs)
    assert line["actual_empty"] == Job.objects.filter(pk__in=[job.pk for job in jobs], is_empty=True).count() > 0
    assert float(line["p90"]["coverage"]) == pytest.approx(0.9, abs=0.05)
    assert {name: value for name, value in line.items() if name in found["total"]} == found["total"]


def test_the_report_as_a_file(alice, client, bob):
    traffic = Traffic(alice, lognormal, CODE, seed=3)
    traffic.run(200)
    Project.objects.update(name="=cmd()")
    answer = client.get(CALIBRATION, {"format": "csv"})
    assert answer.headers["Content-Type"].startswith("text/csv")
    (row,) = csv.DictReader(io.StringIO(answer.content.decode()))
    assert (row["project"], row["model"], row["jobs"]) == ("'=cmd()", MODEL, "100")
    entry = AuditEntry.objects.get(subject_type="calibration")
    assert (entry.action, entry.organization_id) == ("exported", alice.organization.pk)


@pytest.mark.parametrize("query", ["from=2026-02-01&to=2026-01-01", "from=x", "format=pdf", "month=2026-01"])
def test_what_is_no_report(client, query):
    assert client.get(f"{CALIBRATION}?{query}").status_code == 400
