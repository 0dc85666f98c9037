"""Reviewing a month and taking it away: who may, what it keeps, and what it says."""

import io
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse
from pypdf import PdfReader

from accounts.models import AuditEntry, Membership, Role, Team, User
from billing import ledger
from billing.clock import database_now
from billing.models import ReviewedLine, ReviewNote
from tests.admin.conftest import sign_in, spend

D = Decimal


@pytest.fixture
def person(organization):
    """Signs in somebody with a role in Alice's organization, or with none."""

    def make(role: Role | None) -> Client:
        user = User.objects.create_user(f"a-{role or 'nobody'}@alice.example", "a password", is_staff=True)
        if role:
            Membership.objects.create(organization=organization, user=user, role=role)
        return sign_in(user)

    return make


@pytest.fixture
def lead(organization, project) -> Client:
    """A member who leads the team of a project beside Alice's own."""
    user = User.objects.create_user("lead@alice.example", "a password", is_staff=True)
    membership = Membership.objects.create(organization=organization, user=user, role=Role.MEMBER)
    team = Team.objects.create(organization=organization, name="Numbers")
    team.leads.add(membership)
    organization.projects.create(name="Led", slug="led", team=team)
    return sign_in(user)


@pytest.fixture
def led(organization, lead):
    return organization.projects.get(slug="led")


@pytest.fixture
def review(organization) -> str:
    return reverse("admin:billing_review", args=[organization.pk])


@transaction.atomic
def adjust(project, owner, usd: str = "-0.5") -> None:
    ledger.adjust(project, D(usd), reason="a correction", actor=owner)


def form(project, amount: str = "0.077385", model: str = "o1-preview", **more) -> dict[str, str]:
    return {"project": str(project.pk), "model": model, "member": "", "amount": amount, **more}


def states() -> list[tuple[str, str, Decimal | None]]:
    return sorted(ReviewedLine.objects.values_list("project__slug", "state", "approved_usd"))


def test_a_line_is_approved_and_keeps_what_was_approved(person, project, review):
    spend(project)
    billing = person(Role.BILLING)
    assert "0 of 1 lines approved" in billing.get(review).text
    assert "A preview." in billing.get(review).text
    page = billing.post(review, form(project, act="approved"), follow=True).text
    assert "1 of 1 lines approved" in page
    assert states() == [("research", "approved", D("0.077385"))]
    assert "No line is open" in billing.get(review, {"show": "open"}).text
    spend(project)
    page = billing.get(review, {"show": "open"}).text
    assert "changed since approval" in page
    assert "approved at $0.077385" in page
    entry = AuditEntry.objects.get(subject_type="spend_review")
    assert (entry.actor.email, entry.before, entry.after["state"]) == (
        *("a-billing@alice.example", {"state": "open"}, "approved"),
    )


def test_a_question_is_answered_and_then_approved(person, project, review):
    spend(project)
    billing = person(Role.BILLING)
    nothing = billing.post(review, form(project, act="questioned"), follow=True).text
    assert "Nothing was done: Say it in words." in nothing
    billing.post(review, form(project, act="questioned", text="What was this for?"))
    assert "Approve all" not in billing.get(review).text, "what was questioned waits for its answer"
    refused = billing.post(review, form(project, act="approved", all="yes", count="0"), follow=True)
    assert refused.status_code == 200 or refused.status_code == 403
    billing.post(review, form(project, act="answered", text="<b>The matrices</b>"))
    page = billing.get(review).text
    assert "What was this for?" in page
    assert "&lt;b&gt;The matrices" in page
    billing.post(review, form(project, act="approved"))
    assert states() == [("research", "approved", D("0.077385"))]
    assert list(ReviewNote.objects.values_list("act", flat=True)) == ["questioned", "answered", "approved"]
    assert "it cannot be answered" in billing.post(review, form(project, act="answered", text="x"), follow=True).text


@pytest.mark.parametrize("change", ["UPDATE billing_reviewnote SET text = 'No.'", "DELETE FROM billing_reviewnote"])
def test_the_database_keeps_what_was_said_as_it_was_said(person, project, review, change):
    spend(project)
    person(Role.BILLING).post(review, form(project, act="questioned", text="What was this for?"))
    with connection.cursor() as cursor, pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        cursor.execute(change)
    assert ReviewNote.objects.get().text == "What was this for?"


def test_what_has_changed_under_the_eyes_is_not_approved(person, project, review):
    spend(project)
    billing = person(Role.BILLING)
    spend(project)
    assert "comes to 0.15477 USD by now" in billing.post(review, form(project, act="approved"), follow=True).text
    every = {"act": "approved", "all": "yes", "count": "1", "amount": "0.077385"}
    assert "come to something else by now" in billing.post(review, every, follow=True).text
    assert states() == []


def test_all_that_remains_is_approved(person, project, owner, organization, review):
    sibling = organization.projects.create(name="Sibling", slug="sibling")
    spend(project)
    spend(sibling)
    adjust(project, owner)
    billing = person(Role.BILLING)
    page = billing.get(review).text
    assert "Approve all 3 remaining: -$0.34523" in page
    every = {"act": "approved", "all": "yes"}
    billing.post(f"{review}?project={sibling.pk}", {**every, "count": "1", "amount": "0.077385"})
    assert states() == [("sibling", "approved", D("0.077385"))]
    billing.post(review, {**every, "count": "2", "amount": "-0.422615"})
    assert "3 of 3 lines approved" in billing.get(review).text
    assert sum(amount for _, _, amount in states()) == D("0.15477") - D("0.5")


def test_a_lead_approves_the_projects_of_the_team_and_sees_no_other(lead, led, project, review):
    spend(project)
    spend(led)
    page = lead.get(review).text
    assert "Led" in page
    assert "Alice research" not in page
    assert ">Question</button>" not in page
    assert lead.post(review, form(led, act="questioned", text="?")).status_code == 403
    assert lead.post(review, form(project, act="approved")).status_code == 403
    lead.post(review, form(led, act="commented", text="mine"))
    lead.post(review, form(led, act="approved"))
    assert states() == [("led", "approved", D("0.077385"))]


def test_who_may_see_and_who_may_review(person, project, review, organization, staff_with):
    spend(project)
    pages = [
        review,
        reverse("admin:billing_statement", args=[organization.pk]),
        reverse("admin:billing_statement_file", args=[organization.pk, "csv"]),
        reverse("admin:billing_spend_export", args=[organization.pk]) + "?format=csv",
    ]
    may_see = {Role.OWNER, Role.ADMIN, Role.BILLING, Role.VIEWER}
    for role in [*Role, None]:
        client = person(role)
        for page in pages:
            assert client.get(page).status_code == (200 if role in may_see else 404), (role, page)
        expected = 302 if role in may_see - {Role.VIEWER} else 403 if role == Role.VIEWER else 404
        assert client.post(review, form(project, act="commented", text="x")).status_code == expected, role
    for page in pages:
        assert staff_with("billing.view_spendrollup").get(page).status_code == 200
    assert staff_with("billing.view_spendrollup").post(review, form(project, act="approved")).status_code == 403


def test_nothing_of_another_organization(person, bob, other_project):
    spend(other_project)
    client = person(Role.OWNER)
    unknown = "00000000-0000-7000-8000-000000000000"
    for name, *args in (
        ("billing_review",),
        ("billing_statement",),
        ("billing_statement_file", "pdf"),
        ("billing_spend_export",),
    ):
        for pk in (bob.organization.pk, unknown):
            assert client.get(reverse(f"admin:{name}", args=[pk, *args]), {"format": "csv"}).status_code == 404
    assert "Bob" not in client.get(reverse("admin:billing_statements")).text


def test_pages_and_files(admin: Client, project, owner, organization):
    spend(project)
    adjust(project, owner)
    assert "Alice" in admin.get(reverse("admin:billing_statements")).text
    page = admin.get(reverse("admin:billing_statement", args=[organization.pk])).text
    assert "agrees to the last digit" in page
    assert "Draft." in page
    assert "-$0.422615" in page
    pdf = admin.get(reverse("admin:billing_statement_file", args=[organization.pk, "pdf"]))
    assert "-0.422615 USD, and sums" in PdfReader(io.BytesIO(pdf.content)).pages[0].extract_text()
    spend_page = admin.get(reverse("admin:dashboard", args=[organization.pk])).text
    export = reverse("admin:billing_spend_export", args=[organization.pk])
    assert f"{export}?format=focus-parquet" in spend_page
    answer = admin.get(export, {"format": "focus", "project": str(project.pk)})
    assert answer["Content-Disposition"].startswith('attachment; filename="alice-focus-')
    assert b"".join(answer.streaming_content).count(b"\n") == 1 + 3 + 1
    entries = AuditEntry.objects.filter(action="exported").order_by("at")
    assert [entry.subject_type for entry in entries] == ["statement", "spend"]
    assert entries[1].after["projects"] == [str(project.pk)]


@pytest.mark.parametrize(
    "query", [{}, {"format": "xls"}, {"format": "csv", "month": "2999-01"}, {"format": "csv", "project": "x"}]
)
def test_no_such_export(admin: Client, organization, query):
    assert admin.get(reverse("admin:billing_spend_export", args=[organization.pk]), query).status_code == 404


def test_empty_states(admin: Client, organization, review):
    for url in (review, reverse("admin:billing_statement", args=[organization.pk])):
        assert "Nothing was spent" in admin.get(url, {"month": f"{database_now():%Y-%m}"}).text
        assert admin.get(url, {"month": "garbage"}).status_code == 404
