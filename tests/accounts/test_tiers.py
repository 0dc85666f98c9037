"""The tier that an organization stands at: by its payments, by hand, and what is missing to the next."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from accounts.dated import in_force
from accounts.models import Organization, Payment, Project, ProjectRateLimit, RateLimit, TierOverride, UsageTier, User
from accounts.tiers import missing_for, project_rate_limits, qualified, rate_limit, standing, tiers_on
from tests.conftest import SEPTEMBER_2024

pytestmark = pytest.mark.django_db

D = Decimal
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


@pytest.fixture
def customer() -> Organization:
    return Organization.objects.create(name="Customer", slug="customer", terms_on=SEPTEMBER_2024)


def pay(organization: Organization, usd: str, paid_at: datetime) -> Payment:
    return Payment.objects.create(organization=organization, amount_usd=D(usd), paid_at=paid_at)


def override(organization: Organization, actor: User, tier: int, ends_at: datetime | None = None) -> TierOverride:
    return TierOverride.objects.create(
        organization=organization, tier=tier, reason="agreed by telephone", actor=actor, ends_at=ends_at
    )


# --- By payments ------------------------------------------------------------------------------------------------------
EDGES_OF_2024 = [
    ("0", None, 0),
    ("0", 500, 0),
    ("4.99", 500, 0),
    ("4.999999999999", 500, 0),
    ("5", 0, 1),
    ("49.99", 500, 1),
    ("50", 6, 1),
    ("50", 7, 2),
    ("99.99", 500, 2),
    ("100", 6, 1),
    ("100", 7, 3),
    ("249.99", 500, 3),
    ("250", 13, 3),
    ("250", 14, 4),
    ("999.99", 500, 4),
    ("1000", 6, 1),
    ("1000", 7, 3),
    ("1000", 13, 3),
    ("1000", 14, 4),
    ("1000", 29, 4),
    ("1000", 30, 5),
    ("1000000", 29, 4),
    ("1000000", 30, 5),
]


@pytest.mark.parametrize(("paid", "days", "number"), EDGES_OF_2024)
def test_a_tier_asks_for_its_payments_and_for_its_days(paid, days, number):
    tiers = list(tiers_on(SEPTEMBER_2024).values())
    assert qualified(tiers, paid_usd=D(paid), days=days).number == number


@pytest.mark.parametrize(("paid", "days", "number"), [edge for edge in EDGES_OF_2024 if D(edge[0])])
def test_an_organization_stands_where_its_payment_brought_it(customer, paid, days, number):
    pay(customer, paid, NOW - timedelta(days=days))
    stands = standing(customer, NOW)
    assert (stands.tier.number, stands.is_override) == (number, False)
    assert (stands.paid_usd, stands.days_since_first_payment) == (D(paid), days)


def test_a_day_is_24_hours_and_not_a_moment_less(customer):
    pay(customer, "50", NOW - timedelta(days=7) + MOMENT)
    assert standing(customer, NOW).tier.number == 1
    assert standing(customer, NOW + MOMENT).tier.number == 2


def test_payments_are_summed_and_the_days_count_from_the_first(customer):
    pay(customer, "970", NOW)
    pay(customer, "5", NOW - timedelta(days=30))
    assert standing(customer, NOW).tier.number == 4
    pay(customer, "25", NOW - timedelta(days=2))
    stands = standing(customer, NOW)
    assert (stands.tier.number, stands.paid_usd, stands.days_since_first_payment) == (5, D(1000), 30)


def test_a_payment_of_the_future_counts_from_its_instant_on(customer):
    pay(customer, "5", NOW - timedelta(days=1))
    pay(customer, "995", NOW + timedelta(days=29))
    assert standing(customer, NOW).paid_usd == D(5)
    assert standing(customer, NOW + timedelta(days=29) - MOMENT).tier.number == 1
    assert standing(customer, NOW + timedelta(days=29)).tier.number == 5


def test_payments_of_another_organization_do_not_count(customer):
    other = Organization.objects.create(name="Other", slug="other", terms_on=SEPTEMBER_2024)
    pay(other, "1000", NOW - timedelta(days=40))
    stands = standing(customer, NOW)
    assert (stands.tier.number, stands.paid_usd, stands.days_since_first_payment) == (0, D(0), None)


@pytest.mark.parametrize(("paid", "number"), [("4.99", 0), ("5", 1), ("50", 2), ("100", 3), ("250", 4), ("1000", 5)])
def test_the_terms_of_2026_ask_for_no_days(customer, paid, number):
    customer.terms_on = None
    pay(customer, paid, NOW)
    assert standing(customer, NOW).tier.number == number


def test_frozen_terms_stay_and_open_ones_follow_the_day(customer):
    pay(customer, "1000", NOW - timedelta(days=40))
    assert standing(customer, NOW).tier.monthly_limit_usd == D(50_000)
    customer.terms_on = None
    assert standing(customer, NOW).tier.monthly_limit_usd == D(200_000)
    assert standing(customer, NOW).tier.effective_from > SEPTEMBER_2024


def test_without_any_tier_row_the_error_says_what_to_run(customer):
    UsageTier.objects.all().delete()
    with pytest.raises(LookupError, match=r"manage\.py migrate"):
        standing(customer, NOW)


# --- By hand ----------------------------------------------------------------------------------------------------------
def test_an_override_goes_before_the_payments_which_stay_visible(customer, owner):
    pay(customer, "1000", NOW - timedelta(days=40))
    override(customer, owner, 2)
    stands = standing(customer, NOW)
    assert (stands.tier.number, stands.is_override) == (2, True)
    assert (stands.paid_usd, stands.days_since_first_payment) == (D(1000), 40)


def test_the_newest_override_wins(customer, owner):
    override(customer, owner, 5)
    override(customer, owner, 1)
    assert standing(customer, NOW).tier.number == 1


def test_of_two_overrides_of_one_instant_the_later_row_wins(customer, owner):
    for tier in (5, 1):
        override(customer, owner, tier)
    TierOverride.objects.update(created_at=NOW)
    assert standing(customer, NOW).tier.number == 1


def test_an_override_ends_at_its_instant_and_uncovers_the_one_before(customer, owner):
    override(customer, owner, 3)
    override(customer, owner, 5, ends_at=NOW)
    assert standing(customer, NOW - MOMENT).tier.number == 5
    assert standing(customer, NOW).tier.number == 3


def test_an_override_to_a_tier_that_does_not_exist_changes_nothing(customer, owner):
    override(customer, owner, 4)
    UsageTier.objects.filter(number=4).delete()
    stands = standing(customer, NOW)
    assert (stands.tier.number, stands.is_override) == (0, False)


def test_an_override_of_another_organization_does_not_count(customer, organization, owner):
    override(organization, owner, 5)
    assert standing(customer, NOW).tier.number == 0


def test_an_override_has_a_reason(customer, owner):
    with pytest.raises(IntegrityError, match="tier_override_has_a_reason"), transaction.atomic():
        TierOverride.objects.create(organization=customer, tier=5, reason="", actor=owner)


def test_who_set_a_tier_stays_known(customer):
    actor = User.objects.create_user("actor@example.com")
    override(customer, actor, 5)
    with pytest.raises(ProtectedError):
        actor.delete()


# --- What is missing --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("paid", "days_ago", "needed", "sentence"),
    [
        (None, None, 5, "$1,000.00 more in payments and 30 days since the first payment"),
        (None, None, 1, "$5.00 more in payments"),
        ("50", 3, 5, "$950.00 more in payments and 27 more days since the first payment"),
        ("999.99", 30, 5, "$0.01 more in payments"),
        ("1000", 29, 5, "1 more days since the first payment"),
        ("12.34", 100, 4, "$237.66 more in payments"),
    ],
)
def test_what_is_missing_is_said_in_figures(customer, paid, days_ago, needed, sentence):
    if paid:
        pay(customer, paid, NOW - timedelta(days=days_ago))
    assert missing_for(tiers_on(SEPTEMBER_2024)[needed], standing(customer, NOW)) == sentence


def test_when_only_an_override_is_in_the_way_the_sentence_says_so(customer, owner):
    pay(customer, "1000", NOW - timedelta(days=40))
    override(customer, owner, 1)
    missing = missing_for(tiers_on(SEPTEMBER_2024)[5], standing(customer, NOW))
    assert missing == "an end of the tier that was set by hand"


# --- Dated rows -------------------------------------------------------------------------------------------------------
@dataclass
class Row:
    effective_from: date


FIRST, SECOND = Row(date(2024, 9, 12)), Row(date(2026, 7, 1))


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2020, 1, 1), FIRST),  # before the first there was nothing else
        (date(2024, 9, 12), FIRST),
        (date(2026, 6, 30), FIRST),
        (date(2026, 7, 1), SECOND),
        (date(2099, 1, 1), SECOND),
    ],
)
def test_the_newest_row_that_has_begun_is_in_force(day, expected):
    assert in_force([SECOND, FIRST], day) is expected
    assert in_force(iter([FIRST, SECOND]), day) is expected


def test_of_no_rows_none_is_in_force():
    assert in_force([], date(2024, 9, 12)) is None


def test_a_rate_limit_is_that_of_its_tier_model_and_day():
    for tier, day, requests in ((1, date(2025, 1, 1), 10), (1, date(2025, 6, 1), 20), (2, date(2025, 1, 1), 99)):
        RateLimit.objects.create(
            tier=tier, model="model-x", requests_per_minute=requests, effective_from=day, source="a test"
        )

    def requests_on(tier: int, day: date) -> int | None:
        limit = rate_limit(tier, "model-x", day)
        return limit and limit.requests_per_minute

    assert requests_on(1, date(2025, 5, 31)) == 10
    assert requests_on(1, date(2025, 6, 1)) == 20
    assert requests_on(2, date(2025, 6, 1)) == 99
    assert requests_on(3, date(2025, 6, 1)) is None
    assert rate_limit(1, "model-y", date(2025, 6, 1)) is None


# --- Of a project alone -----------------------------------------------------------------------------------------------
def test_projects_limits_are_found_by_project_and_family_in_one_question(customer, django_assert_num_queries):
    projects = [Project.objects.create(organization=customer, name=slug, slug=slug) for slug in ("a", "b", "c")]
    for project in projects[:2]:
        ProjectRateLimit.objects.create(project=project, model="o1-mini", requests_per_minute=10)
    with django_assert_num_queries(1):
        found = project_rate_limits([project.pk for project in projects[1:]])
    assert {key: row.requests_per_minute for key, row in found.items()} == {(projects[1].pk, "o1-mini"): 10}


@pytest.mark.parametrize("limit", ["requests_per_minute", "tokens_per_minute", "requests_per_day", "tokens_per_day"])
def test_a_projects_limit_of_nothing_is_refused(customer, limit):
    project = Project.objects.create(organization=customer, name="a", slug="a")
    with pytest.raises(IntegrityError), transaction.atomic():
        ProjectRateLimit.objects.create(project=project, model="o1-mini", **{limit: 0})
