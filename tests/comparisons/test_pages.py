"""Comparisons in the admin: the same table, who may see the answers, and one that is started there."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import AuditEntry, Membership, Role, User
from jobs.api.comparisons.examples import SUBMISSION_BODY, WORDING
from jobs.api.examples import PROMPT
from jobs.models import Comparison, Job
from tests.admin.conftest import sign_in
from tests.comparisons.test_golden import GOLDEN

START = "admin:jobs_comparison_start"


def page_of(comparison: Comparison, name: str = "change") -> str:
    return reverse(f"admin:jobs_comparison_{name}", args=[comparison.pk])


def words_of(html: str) -> str:
    """A page as a reader has it: without its marks, and with one blank between words."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


@pytest.fixture
def person(organization):
    """Somebody in this role, signed in."""

    def person(role: Role) -> Client:
        user = User.objects.create_user(f"{role}@tests.example")
        Membership.objects.create(organization=organization, user=user, role=role)
        return sign_in(user)

    return person


@pytest.fixture
def sample(comparisons) -> Comparison:
    """The four calls of the documentation's example, which have been made."""
    comparison = comparisons.make_sample()
    comparisons.work()
    comparison.refresh_from_db()
    return comparison


def test_the_page_has_the_table_of_the_four_calls(admin: Client, sample):
    text = admin.get(page_of(sample)).text
    rows = re.findall(r"<tr>.*?</tr>", text, re.DOTALL)
    for variant, golden in zip(SUBMISSION_BODY["variants"], GOLDEN, strict=True):
        asked, output, reasoning, cost, saved, percent = golden
        (row,) = [words_of(row) for row in rows if f"<strong>{variant['name']}</strong>" in row]
        assert f"{reasoning:,} {output - reasoning:,} {asked} " in row
        assert f"${cost}" in row
        assert saved is None or f"${saved} less {percent} % less" in row
    assert "$0.1203" in words_of(text)
    assert "4 of 4" in words_of(text)


def test_prompts_and_answers_stand_beside_each_other_and_whoever_looks_is_on_record(admin: Client, sample):
    before = AuditEntry.objects.count()
    text = words_of(admin.get(page_of(sample)).text)
    answers = [job.content.message["content"] for job in Job.objects.order_by("pk")]
    assert WORDING.split("'")[0] in text
    for answer in filter(None, answers):
        assert answer.split("\n")[0].split("`")[0][:30] in text
    entry = AuditEntry.objects.latest("pk")
    assert AuditEntry.objects.count() == before + 1
    assert (entry.action, entry.subject_type, entry.subject_id) == ("viewed", "comparison", str(sample.pk))


@pytest.mark.parametrize(
    ("role", "sees"),
    [(Role.OWNER, True), (Role.ADMIN, True), (Role.BILLING, False), (Role.MEMBER, False), (Role.VIEWER, False)],
)
def test_who_may_not_see_content_sees_the_figures_alone(person, sample, role, sees):
    client = person(role)
    before = AuditEntry.objects.count()
    text = client.get(page_of(sample)).text
    assert "$0.077385" in text
    assert ("takes a matrix" in text) == sees
    assert AuditEntry.objects.count() - before == int(sees)
    assert ("takes a matrix" in client.get(page_of(sample) + "?answers").text) == sees


def test_while_it_runs_content_is_shown_to_those_who_ask(admin: Client, comparisons):
    comparison = comparisons.make(prompt="a canary sings")
    text = admin.get(page_of(comparison)).text
    assert "canary" not in text
    assert f'data-live="{page_of(comparison, "live")}"' in text
    assert "canary" not in admin.get(page_of(comparison, "live")).text
    assert "canary" in admin.get(page_of(comparison) + "?answers").text


def test_cancelling_on_its_page(admin: Client, person, comparisons):
    comparison = comparisons.make()
    url = page_of(comparison, "cancel")
    assert person(Role.VIEWER).post(url).status_code == 404
    assert Comparison.objects.get().status == "running"
    assert admin.get(url).status_code == 302
    assert Comparison.objects.get().status == "running"
    assert admin.post(url).status_code == 302
    assert Comparison.objects.get().status == "cancelled"


def form(key, **more) -> dict[str, str]:
    """What a browser sends for the example."""
    rows = [
        {"model": "o1-preview"},
        {"model": "o1-preview", "cap": "300"},
        {"model": "o1-mini"},
        {"model": "o1-mini", "wording": WORDING},
    ]
    fields = {f"v{place}-{name}": value for place, row in enumerate(rows) for name, value in row.items()}
    given = {"api_key": str(key.pk), "prompt": PROMPT, "times": "1", "max_cost_usd": "4", "baseline": "1", "rows": "4"}
    return {**given, **fields, "act": "preview", **more}


def hidden(text: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', text)
    assert found, name
    return found[1]


def test_one_that_is_started_in_the_admin_gives_the_same_table(admin: Client, comparisons):
    key = comparisons.path.api_key
    unseen = admin.post(reverse(START), form(key, act="start"))
    assert not Comparison.objects.exists()
    assert "Something has changed since the preview" in unseen.text
    seen = admin.post(reverse(START), form(key)).text
    assert "It can cost $3.56022 at most" in words_of(seen)
    sent = form(key, act="start", seen=hidden(seen, "seen"), once=hidden(seen, "once"))
    first, again = (admin.post(reverse(START), sent) for _ in range(2))
    comparison = Comparison.objects.get()
    assert first.headers["Location"] == again.headers["Location"] == page_of(comparison)
    entry = AuditEntry.objects.filter(subject_type="comparison").latest("pk")
    assert (entry.action, entry.after["max_cost_usd"]) == ("created", "4.00")
    comparisons.work()
    found = comparisons.get(comparison)
    assert [variant["figures"]["cost"]["mean_usd"] for variant in found["variants"]] == [row[3] for row in GOLDEN]


def test_a_preview_of_something_else_starts_nothing(admin: Client, comparisons):
    key = comparisons.path.api_key
    seen = admin.post(reverse(START), form(key)).text
    sent = form(key, act="start", seen=hidden(seen, "seen"), max_cost_usd="400")
    assert "Something has changed" in admin.post(reverse(START), sent).text
    assert not Comparison.objects.exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"max_cost_usd": "0.5"}, "so it would never be run"),
        ({"v1-cap": "999999999"}, "max_tokens is too large"),
        ({"max_cost_usd": "0"}, "more than 0"),
        ({"prompt": "  "}, "Write what the models are asked"),
        ({"v0-model": "", "v1-model": "", "v2-model": "", "v3-model": ""}, "Choose the model"),
        ({"baseline": "9"}, "This row has no model"),
        ({"api_key": "00000000-0000-7000-8000-000000000000"}, "Select a valid choice"),
    ],
)
def test_what_is_wrong_is_said_in_the_form(admin: Client, comparisons, more, told):
    text = admin.post(reverse(START), form(comparisons.path.api_key, **more)).text
    assert told in text
    assert not Comparison.objects.exists()


def test_more_rows_keep_what_was_typed(admin: Client, comparisons):
    text = admin.post(reverse(START), form(comparisons.path.api_key, act="more", name="mine")).text
    assert hidden(text, "rows") == "8"
    assert 'value="mine"' in text
    assert "takes a matrix" in text


def test_a_member_books_on_their_own_keys_and_a_viewer_on_none(person, comparisons):
    key = comparisons.path.api_key
    assert person(Role.VIEWER).get(reverse(START)).status_code == 404
    member = person(Role.MEMBER)
    assert str(key.pk) not in member.get(reverse(START)).text
    assert "Select a valid choice" in member.post(reverse(START), form(key)).text
    assert str(key.pk) in person(Role.ADMIN).get(reverse(START)).text


def test_an_empty_list_says_what_to_do(admin: Client):
    text = admin.get(reverse("admin:jobs_comparison_changelist")).text
    assert "Nothing was compared yet" in text
    assert reverse(START) in text


def test_the_list_reads_the_progress_of_all_rows_together(admin: Client, comparisons, django_assert_max_num_queries):
    url = reverse("admin:jobs_comparison_changelist")
    comparisons.make()
    admin.get(url)
    with CaptureQueriesContext(connection) as of_one:
        assert "0 of 1 runs" in admin.get(url).text
        most = len(of_one)
    for _ in range(3):
        comparisons.make()
    with django_assert_max_num_queries(most):
        assert admin.get(url).text.count("0 of 1 runs") == 4
