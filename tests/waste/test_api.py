"""`GET /waste`, the jobs behind it, and the page."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEntry, Project, User
from billing.pricing import Tokens
from jobs.models import WasteReport
from jobs.waste import making
from tests.waste.conftest import Month, days_ago

pytestmark = pytest.mark.django_db
D = Decimal


@pytest.fixture
def admin(db) -> Client:
    browser = Client()
    browser.force_login(User.objects.create_superuser("root@bursar.example", "a password for tests"))
    return browser


def report(client, **query: Any) -> dict[str, Any]:
    answer = client.get("/api/v1/waste", query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_report(client, month: Month):
    empty = month.paid(is_empty=True)
    month.paid()
    told = report(client)
    assert (told["status"], told["is_current"], told["calls"]) == ("ready", True, 2)
    assert (told["ledger_usd"], told["wasted_usd"], told["useful_usd"]) == ("0.18", "0.09", "0.09")
    by_name = {each["category"]: each for each in told["categories"]}
    assert list(by_name) == ["retry", "empty", "refused", "unread", "long", "cache_miss", "dear_model"]
    assert (by_name["empty"]["usd"], by_name["empty"]["jobs"]) == ("0.09", 1)
    assert [name for name, each in by_name.items() if each["is_upper_estimate"]] == ["dear_model"]
    sums = [D(each["usd"]) for each in told["categories"]]
    assert sum(sums) + D(told["useful_usd"]) + D(told["corrections_usd"]) == D(told["ledger_usd"])
    listed = client.get(by_name["empty"]["jobs_url"]).json()["data"]
    assert [job["id"] for job in listed] == [str(empty.pk)]
    assert client.get(by_name["long"]["jobs_url"]).json()["data"] == []


def test_which_model_would_do_instead(client, month: Month):
    for model in ("o1-preview", "o1-mini") * 20:
        month.paid(model)
    # While it is made, and as it is kept.
    for told in (report(client), report(client)):
        (line,) = (each for each in told["categories"] if each["category"] == "dear_model")
        (switch,) = told["switches"]
        assert switch == {
            "model": "o1-preview",
            "instead": "o1-mini",
            "because": "used alike",
            "calls": 20,
            "usd": line["usd"],
        }
        assert D(switch["usd"]) == 20 * (D("0.09") - D("0.018"))


def test_an_empty_month_and_one_to_come(client, month: Month):
    told = report(client, month="2025-01")
    assert (told["ledger_usd"], told["wasted_usd"], told["calls"]) == ("0.00", "0.00", 0)
    later = f"{month.first + timedelta(days=40):%Y-%m}"
    assert client.get("/api/v1/waste", {"month": later}).status_code == 400
    for wrong in ({"month": "2025-13"}, {"month": "x"}, {"project": "x"}, {"format": "xml"}, {"other": "1"}):
        assert client.get("/api/v1/waste", wrong).status_code == 400, wrong


def test_a_project_of_others_is_not_there(client, bob):
    assert client.get("/api/v1/waste", {"project": str(bob.project.pk)}).status_code == 404


def test_the_file(client, month: Month):
    month.paid(is_empty=True)
    answer = client.get("/api/v1/waste", {"format": "csv"})
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    header, *rows = answer.text.splitlines()
    assert header.startswith("month,project_id,project,category,jobs,usd")
    assert len(rows) == 10


def test_a_large_month_is_being_prepared(client, month: Month, monkeypatch):
    month.paid()
    monkeypatch.setattr(making, "MOST_WHILE_ASKED", 0)
    told = report(client)
    assert (told["status"], told["is_current"], told["reckoned_at"]) == ("preparing", False, None)


def test_jobs_of_a_category_and_a_month(client, month: Month):
    month.paid(is_empty=True)
    month.paid(read_at=None, finished_at=days_ago(8))
    report(client)
    for query, count in (
        ({"waste": "empty"}, 1),
        ({"waste": "unread"}, 1),
        ({"waste": "empty", "waste_month": f"{month.first:%Y-%m}"}, 1),
        ({"waste": "empty", "waste_month": "2025-01"}, 0),
    ):
        assert len(client.get("/api/v1/jobs", query).json()["data"]) == count, query
    assert client.get("/api/v1/jobs", {"waste": "none"}).status_code == 400


# --- The page ---------------------------------------------------------------------------------------------------------
def page(organization) -> str:
    return reverse("admin:waste_organization", args=[organization.pk])


def test_the_page(admin: Client, month: Month, organization):
    job = month.paid(is_empty=True)
    month.paid()
    shown = admin.get(page(organization))
    assert shown.status_code == 200
    assert "agrees with the ledger to the last digit" in shown.text
    assert shown.context["told"].wasted_usd == D("0.09")
    (row,) = [row for row in shown.context["rows"] if row["url"]]
    assert (row["label"], row["usd"], row["width"]) == ("Paid but empty", "$0.09", "100.00")
    listed = admin.get(row["url"])
    assert [str(one.pk) for one in listed.context["cl"].queryset] == [str(job.pk)]


def test_a_page_says_which_projects_it_leaves_out(admin: Client, month: Month, organization, monkeypatch):
    month.paid()
    cheap = Project.objects.create(organization=organization, name="Cheap", slug="cheap")
    Month(replace(month.tenant, project=cheap)).paid(tokens=Tokens(20, 0, 10, 8))
    monkeypatch.setattr("jobs.admin.waste.MOST_PROJECTS", 1)
    shown = admin.get(page(organization))
    assert "Of the 2 projects with spend this page reckons the 1 dearest" in shown.text
    assert [each["name"] for each in shown.context["projects"]] == [month.project.name]
    assert shown.context["told"].agrees
    of_one = admin.get(page(organization), {"project": str(cheap.pk)})
    assert (of_one.context["chosen"], of_one.context["told"].calls) == (cheap, 1)


def test_a_page_that_does_not_sum_says_so(admin: Client, month: Month, organization):
    month.paid()
    admin.get(page(organization))
    WasteReport.objects.update(useful_usd=D("0.08"))
    assert "DIFFERS FROM THE LEDGER" in admin.get(page(organization)).text


def test_a_page_without_spend_says_what_to_do(admin: Client, organization):
    shown = admin.get(page(organization), {"month": "2025-01"})
    assert "Nothing was spent in January 2025" in shown.text


def test_the_files_of_the_page_are_on_record(admin: Client, month: Month, organization):
    month.paid()
    answer = admin.get(reverse("admin:waste_csv", args=[organization.pk]))
    assert answer.text.count("\n") == 11
    assert AuditEntry.objects.filter(action="exported", subject_name__startswith="waste").count() == 1


@pytest.mark.parametrize("value", ["empty", "empty@2025-01", "empty@x", "none", "@"])
def test_the_filter_of_the_list_takes_anything(admin: Client, month: Month, value: str):
    month.paid()
    assert admin.get(reverse("admin:jobs_job_changelist"), {"waste": value}).status_code == 200
