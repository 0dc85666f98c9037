"""The books in the admin: verified by a button, repaired after a question, and what came out before."""

import logging
from datetime import timedelta
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerError

from accounts.models import User
from billing import tasks, verifications
from billing.models import Book, Budget, Origin, SpendRollup, Verification
from billing.verification import CHECKS
from config.celery import app
from tests.admin.conftest import Finished, spend
from tests.billing.conftest import as_owner
from tests.conftest import Tenant


@pytest.fixture
def book(finished: Finished) -> Book:
    return Book.objects.get()


@pytest.fixture
def sent(monkeypatch) -> list[tuple[str, list[str]]]:
    """What would go to the broker: the tests have no worker, and call the tasks themselves."""
    messages: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(
        verifications.current_app, "send_task", lambda name, arguments=(): messages.append((name, list(arguments)))
    )
    return messages


def url(name: str, book: Book) -> str:
    return reverse(f"admin:billing_book_{name}", args=[book.pk])


def work(sent: list[tuple[str, list[str]]]) -> None:
    """The worker: each message, twice, because a broker may."""
    while sent:
        name, arguments = sent.pop(0)
        for _ in range(2):
            app.tasks[name].run(*arguments)


def test_a_book_is_verified_by_a_button_and_the_page_says_what_each_check_found(
    admin: Client, superuser: User, book: Book, sent
):
    assert "never verified" in admin.get(url("verification", book)).text
    assert admin.post(url("verify", book)).url == url("verification", book)
    waiting = admin.get(url("verification", book)).text
    assert 'http-equiv="refresh"' in waiting
    assert "Waiting since" in waiting

    work(sent)

    page = admin.get(url("verification", book))
    assert 'http-equiv="refresh"' not in page.text
    assert page.text.count(">agrees<") == len(CHECKS) + 1
    assert all(name.capitalize() in page.text for name in CHECKS)
    kept = Verification.objects.get()
    assert (kept.lines, kept.head_seal, kept.differences) == (book.head_sequence, book.head_seal, [])
    assert (kept.actor, kept.origin, kept.checks, kept.outcome) == (superuser, Origin.PAGE, list(CHECKS), "agrees")
    assert superuser.email in page.text


def test_a_difference_in_derived_rows_is_shown_and_repaired_after_a_question(admin: Client, book: Book, sent, caplog):
    as_owner("UPDATE billing_budget SET held = held + 1")
    as_owner("DELETE FROM billing_spendrollup")
    admin.post(url("verify", book))
    work(sent)
    page = admin.get(url("verification", book)).text
    assert "differs" in page
    assert "1.000000000000 held" in page, page
    assert "yes, it is derived" in page
    assert "Only derived rows differ" in page
    assert [record.levelno for record in caplog.records if "the books of alice differ" in record.message] == (
        [logging.ERROR] * 2
    )

    assert "Yes, make them anew" in admin.get(url("repair", book)).text
    assert (sent, SpendRollup.objects.count()) == ([], 0)
    assert admin.post(url("repair", book)).url == url("verification", book)
    work(sent)
    assert (SpendRollup.objects.count(), set(Budget.objects.values_list("held", flat=True))) == (1, {0})
    page = admin.get(url("verification", book)).text
    assert "after a repair" in page
    assert "(repair)" in page
    assert Verification.objects.first().outcome == "agrees"


def test_what_was_written_is_not_offered_for_repair(admin: Client, book: Book, sent):
    as_owner("UPDATE billing_ledgerentry SET reason = 'x' WHERE sequence = 1")
    admin.post(url("verify", book))
    work(sent)
    page = admin.get(url("verification", book)).text
    assert "no: it is what was written" in page
    assert "no repair touches that" in page
    assert "line 1" in page


def test_several_books_are_verified_by_an_action(admin: Client, book: Book, bob: Tenant, sent):
    spend(bob.project)
    chosen = [str(pk) for pk in Book.objects.values_list("pk", flat=True)]
    changelist = reverse("admin:billing_book_changelist")
    answer = admin.post(changelist, {"action": "verify_chosen", "_selected_action": chosen}, follow=True)
    assert "2 to be verified" in answer.text
    assert answer.text.count(">waiting<") == 2
    work(sent)
    assert admin.get(changelist).text.count(">agrees<") == 2
    assert {each.outcome for each in Verification.objects.all()} == {"agrees"}


def test_the_list_has_a_button_for_each_book(admin: Client, book: Book):
    page = admin.get(reverse("admin:billing_book_changelist")).text
    assert f'formaction="{url("verify", book)}"' in page
    assert "never" in page


def test_who_may_do_what(staff_with, book: Book, sent):
    changelist = reverse("admin:billing_book_changelist")
    viewer = staff_with("billing.view_book")
    verifier = staff_with("billing.view_book", "billing.verify_book")
    repairer = staff_with("billing.view_book", "billing.verify_book", "billing.repair_book")
    stranger = staff_with("billing.view_price")
    assert stranger.get(url("verification", book)).status_code == 403
    assert viewer.get(url("verification", book)).status_code == 200
    assert "formaction" not in viewer.get(changelist).text
    assert viewer.post(url("verify", book)).status_code == 403
    viewer.post(changelist, {"action": "verify_chosen", "_selected_action": [str(book.pk)]})
    for client in (viewer, verifier):
        assert client.get(url("repair", book)).status_code == 403
        assert client.post(url("repair", book)).status_code == 403
    assert sent == []
    assert "Repair" not in verifier.get(url("verification", book)).text
    assert verifier.get(url("verify", book)).status_code == 405
    assert verifier.post(url("verify", book)).status_code == 302
    assert repairer.post(url("repair", book)).status_code == 302
    assert [name for name, _ in sent] == [verifications.TASK] * 2
    unknown = reverse("admin:billing_book_verify", args=["0190b0a6-0000-7000-8000-000000000000"])
    assert verifier.post(unknown).status_code == 404


def test_a_form_from_elsewhere_is_refused(superuser: User, book: Book):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(superuser)
    assert [strict.post(url(name, book)).status_code for name in ("verify", "repair")] == [403, 403]


def test_with_the_broker_away_the_page_says_so(admin: Client, book: Book, monkeypatch):
    def refuse(*arguments: object) -> None:
        raise BrokerError("away")

    monkeypatch.setattr(verifications.current_app, "send_task", refuse)
    page = admin.post(url("verify", book), follow=True).text
    assert "message broker did not take it" in page
    assert 'http-equiv="refresh"' not in page
    assert Verification.objects.get().outcome == "broken off"


def test_a_verification_that_breaks_off_is_kept_and_the_next_book_is_looked_at(
    admin: Client, book: Book, bob: Tenant, caplog
):
    spend(bob.project)
    as_owner("SET CONSTRAINTS ALL IMMEDIATE")
    as_owner("ALTER TABLE billing_usagerecord DROP CONSTRAINT reasoning_tokens_within_output")
    as_owner(f"UPDATE billing_usagerecord SET reasoning_tokens = output_tokens + 1 WHERE organization_id = '{book.pk}'")
    tasks.verify_every_book.run()
    broken, whole = Verification.objects.order_by("organization__slug")
    assert (broken.origin, broken.verified_at) == (Origin.NIGHTLY, None)
    assert (broken.outcome, whole.outcome) == ("broken off", "agrees")
    assert "ValueError" in broken.failure
    assert any(record.levelno == logging.ERROR for record in caplog.records)
    assert admin.get(url("verification", book)).status_code == 200


def test_the_command_and_the_night_keep_theirs_too(admin: Client, book: Book):
    call_command("verify_ledger", stdout=StringIO())
    tasks.verify_every_book.run()
    assert set(Verification.objects.values_list("origin", "actor", "lines")) == {
        ("command", None, book.head_sequence),
        ("nightly", None, book.head_sequence),
    }
    assert "nightly" in admin.get(url("verification", book)).text.lower()


def test_lines_that_came_since_are_counted(admin: Client, book: Book):
    tasks.verify_every_book.run()
    spend(book.organization.projects.get())
    assert "2 lines came since" in admin.get(url("verification", book)).text


def test_how_long_it_took():
    now = timezone.now()
    assert Verification(asked_at=now, began_at=now, verified_at=now + timedelta(seconds=75, milliseconds=250)).took == (
        "75.2 s"
    )
    assert Verification(asked_at=now, began_at=now).took == ""


def test_every_task_of_the_beat_is_known():
    app.loader.import_default_modules()
    assert {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()} <= set(app.tasks)
    assert {"billing.tasks.verify_every_book", "billing.tasks.mail_alerts", verifications.TASK} <= set(app.tasks)
