"""What a comparison asked and was answered goes at once and for good; what it cost stays, and every book verifies."""

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEntry, Membership, Project, Role, User
from jobs import erasure, execution
from jobs.comparisons import steps
from jobs.models import Comparison, ComparisonRun, Doubt, Job, JobContent
from jobs.recovery import decisions
from tests.admin.conftest import make_comparison, sign_in
from tests.comparisons.conftest import ROUTE, SMALL

CANARY = "a canary sings"


@pytest.fixture
def sung(comparisons) -> Comparison:
    """One that has ended: with a wording, and twice on each variant."""
    variants = [SMALL, {**SMALL, "wording": "another canary"}]
    comparison = comparisons.make(prompt=CANARY, variants=variants, times=2)
    comparisons.work()
    comparison.refresh_from_db()
    assert comparison.status == "completed"
    return comparison


def erase(comparisons, comparison: Comparison):
    return comparisons.client.post(f"{ROUTE}/{comparison.pk}/erase")


def audited() -> int:
    return AuditEntry.objects.filter(subject_type="comparison_content").count()


def test_what_was_asked_and_answered_is_gone_and_what_it_cost_is_there(comparisons, sung):
    before = comparisons.get(sung)
    assert before["prompts"][0]["variants"][1]["answer"]["output_text"]
    answer = erase(comparisons, sung)
    assert answer.status_code == 200, answer.json()
    erased_at = answer.json()["content_erased_at"]
    assert erased_at is not None
    after = comparisons.get(sung)
    assert "canary" not in str(after)
    assert after["prompts"][0]["messages"] is None
    for number, variant in enumerate(after["variants"]):
        assert (variant["wording"], variant["parameters"]) == (None, None)
        assert variant["figures"] == before["variants"][number]["figures"]
        assert variant["saving"] == before["variants"][number]["saving"]
    assert [cell["answer"]["output_text"] for cell in after["prompts"][0]["variants"]] == [None, None]
    assert (after["spent_usd"], after["progress"]) == (before["spent_usd"], before["progress"])
    assert {run["output_text"] for run in comparisons.get(sung, "/runs")["data"]} == {None}
    call_command("verify_ledger")


def test_nothing_of_it_is_left_in_the_tables(comparisons, sung):
    erase(comparisons, sung)
    assert not JobContent.objects.exists()
    assert Job.objects.filter(content_erased_at__isnull=False).count() == 4
    with connection.cursor() as cursor:
        cursor.execute("SELECT content FROM jobs_comparison")
        assert cursor.fetchall() == [(None,)]


def test_one_entry_says_who_erased_it_and_erasing_again_changes_nothing(comparisons, sung):
    first = erase(comparisons, sung).json()
    entry = AuditEntry.objects.get(subject_type="comparison_content")
    assert (entry.action, entry.subject_id, entry.api_key) == ("deleted", str(sung.pk), comparisons.path.api_key)
    assert entry.after == {"content_erased_at": entry.after["content_erased_at"], "jobs": 4}
    assert CANARY not in str((entry.before, entry.after))
    assert erase(comparisons, sung).json() == first
    assert audited() == 1


def test_one_that_runs_is_refused_with_the_way_out(comparisons):
    comparison = comparisons.make(prompt=CANARY, times=2)
    refused = erase(comparisons, comparison)
    assert (refused.status_code, refused.json()["code"]) == (409, "not_erasable")
    way_out = f"{ROUTE}/{comparison.pk}/cancel"
    assert f"POST {way_out}" in refused.json()["detail"]
    assert JobContent.objects.count() == 2
    assert CANARY in str(comparisons.get(comparison))
    assert comparisons.client.post(way_out).json()["status"] == "cancelled"
    assert erase(comparisons, comparison).status_code == 200
    assert CANARY not in str(comparisons.get(comparison))
    assert not JobContent.objects.exists()


def test_one_that_is_being_cancelled_is_refused_until_its_calls_have_ended(comparisons):
    comparison = comparisons.make()
    (attempt,) = comparisons.path.dispatch()
    assert comparisons.client.post(f"{ROUTE}/{comparison.pk}/cancel").json()["status"] == "cancelling"
    refused = erase(comparisons, comparison)
    assert refused.status_code == 409
    assert "being cancelled" in refused.json()["detail"]
    execution.execute(attempt.pk, worker="tests")
    steps.work(60)
    assert erase(comparisons, comparison).status_code == 200
    assert not JobContent.objects.exists()


def test_a_call_in_doubt_keeps_all_of_it_until_that_is_decided(comparisons, simulator, monkeypatch):
    comparison = comparisons.make(prompt=CANARY, times=2)
    simulator.fault("cut_before_billing")
    for attempt in comparisons.path.dispatch():
        execution.execute(attempt.pk, worker="tests")
    doubt = Doubt.objects.get()
    monkeypatch.setattr(steps, "DOUBT_GRACE", steps.DOUBT_GRACE * 0)
    comparisons.work()
    comparison.refresh_from_db()
    assert comparison.status == "completed"
    refused = erase(comparisons, comparison)
    assert (refused.status_code, refused.json()["code"]) == (409, "not_erasable")
    assert str(doubt.attempt.job_id) in refused.json()["detail"]
    assert JobContent.objects.count() == 2
    assert comparisons.get(comparison)["content_erased_at"] is None
    assert decisions.presume_spent(doubt.attempt_id, reason="for the test")
    assert erase(comparisons, comparison).status_code == 200
    assert not JobContent.objects.exists()


def test_the_words_in_which_a_run_was_refused_go_too(comparisons, alice):
    comparison = make_comparison(alice.project)
    Comparison.objects.update(status="completed", finished_at=comparison.created_at)
    (run,) = (run for run in comparisons.get(comparison, "/runs")["data"] if run["reason"] == "refused")
    assert run["message"] == f"{alice.project.name} is refused"
    assert erase(comparisons, comparison).status_code == 200
    assert not ComparisonRun.objects.filter(error__isnull=False).exists()
    (run,) = (run for run in comparisons.get(comparison, "/runs")["data"] if run["reason"] == "refused")
    assert run["message"] == "It was refused."


def test_what_retention_has_left_is_erased_and_on_record(comparisons, sung):
    """Comparison and jobs go apart there: a job that ended later is still held."""
    Project.objects.update(content_retention_days=1)
    Comparison.objects.update(finished_at=sung.finished_at - 2 * erasure.kept_for(Project.objects.first()))
    erasure.erase_due()
    before = comparisons.get(sung)["content_erased_at"]
    assert before is not None
    assert JobContent.objects.count() == 4
    assert erase(comparisons, sung).json()["content_erased_at"] == before
    assert not JobContent.objects.exists()
    assert audited() == 1


def test_others_have_no_such_comparison(comparisons, sung, bob):
    comparisons.client.credentials(HTTP_AUTHORIZATION=f"Bearer {bob.api_key.secret}")
    assert erase(comparisons, sung).status_code == 404
    assert JobContent.objects.count() == 4
    assert audited() == 0


@pytest.mark.parametrize(
    ("role", "may"),
    [(Role.OWNER, True), (Role.ADMIN, True), (Role.BILLING, False), (Role.MEMBER, False), (Role.VIEWER, False)],
)
def test_in_the_admin_those_erase_who_manage_the_project(comparisons, sung, organization, role, may):
    user = User.objects.create_user(f"{role}@tests.example")
    Membership.objects.create(organization=organization, user=user, role=role)
    act(sign_in(user), sung)
    assert JobContent.objects.exists() != may
    assert audited() == int(may)


def test_the_action_says_what_it_left(admin: Client, comparisons, sung):
    comparisons.make()
    told = act(admin, *Comparison.objects.all(), follow=True).text
    assert "1 erased. 1 are left: they run" in told
    page = admin.get(reverse("admin:jobs_comparison_change", args=[sung.pk])).text
    assert "What was asked was erased" in page
    assert CANARY not in page


def act(client: Client, *chosen: Comparison, follow: bool = False):
    asked = {"action": "erase_content", "_selected_action": [str(one.pk) for one in chosen]}
    return client.post(reverse("admin:jobs_comparison_changelist"), asked, follow=follow)
