"""What the tables of `accounts` refuse, whoever writes into them."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.test import RequestFactory
from django.utils import timezone

from accounts.models import Membership, Organization, Payment, Project, RateLimit, Role, Team, UsageTier, User

pytestmark = pytest.mark.django_db

PASSWORD = "a long enough password"


def refuses(constraint: str) -> pytest.RaisesExc:
    return pytest.raises(IntegrityError, match=constraint)


def signs_in(name: str, password: str) -> Any:
    """With the request that brings the password: tries are counted by where they come from."""
    return authenticate(RequestFactory().post("/admin/login/"), username=name, password=password)


# --- People -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("typed", ["ada@example.com", "ADA@Example.COM", "  ada@example.com "])
def test_people_sign_in_by_e_mail_however_they_write_it(typed):
    ada = User.objects.create_user("Ada@Example.com", PASSWORD)
    assert ada.email == str(ada) == "ada@example.com"
    assert signs_in(typed, PASSWORD) == ada
    assert signs_in(typed, "another") is None


def test_nobody_signs_in_without_an_address():
    assert signs_in("", PASSWORD) is None
    with pytest.raises(ValueError, match="needs an e-mail address"):
        User.objects.create_user("", PASSWORD)


def test_an_address_belongs_to_one_person_in_any_case():
    ada = User.objects.create_user("ada@example.com")
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create_user("ADA@example.com")
    with refuses("one_user_per_email"), transaction.atomic():
        User.objects.bulk_create([User(email="Ada@Example.com")])  # past save()
    grace = User.objects.create_user("grace@example.com")
    with refuses("one_user_per_email"), transaction.atomic():
        User.objects.filter(pk=grace.pk).update(email="aDa@example.com")
    grace.email = " Grace.Hopper@Example.com"
    grace.save()
    assert User.objects.get(pk=grace.pk).email == "grace.hopper@example.com"
    assert ada.has_usable_password() is False


def test_only_a_superuser_is_made_one():
    ada, root = User.objects.create_user("ada@example.com"), User.objects.create_superuser("root@example.com", PASSWORD)
    assert (ada.is_staff, ada.is_superuser) == (False, False)
    assert (root.is_staff, root.is_superuser) == (True, True)


# --- Organizations ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("slug", ["a", "a1", "acme-research-2", "0"])
def test_a_slug_is_letters_digits_and_inner_hyphens(slug):
    Organization(name="Acme", slug=slug).full_clean()


@pytest.mark.parametrize("slug", ["", "-a", "a-", "A", "a_b", "a b", "ä", "a" * 64, "a\n"])
def test_anything_else_is_no_slug(slug):
    with pytest.raises(ValidationError):
        Organization(name="Acme", slug=slug).full_clean()


def test_slugs_and_names_are_used_once_where_they_identify(organization, project, bob):
    with pytest.raises(IntegrityError), transaction.atomic():
        Organization.objects.create(name="Another", slug=organization.slug)
    with refuses("one_project_per_slug"), transaction.atomic():
        Project.objects.create(organization=organization, name="Another", slug=project.slug)
    Team.objects.create(organization=organization, name="Data")
    with refuses("one_team_per_name"), transaction.atomic():
        Team.objects.create(organization=organization, name="Data")
    assert str(Team.objects.create(organization=bob.organization, name="Data")) == "Data"
    assert bob.project.slug == project.slug


def test_the_terms_are_the_agreed_days_or_todays_in_utc(organization):
    late = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    assert organization.terms_date(late) == date(2024, 9, 30)
    organization.terms_on = None
    assert organization.terms_date(late) == date(2026, 12, 31)


def test_what_money_hangs_on_is_not_deleted(organization, project, bob):
    with pytest.raises(ProtectedError):
        organization.delete()
    Team.objects.create(organization=organization, name="Data")
    with pytest.raises(ProtectedError):
        organization.delete()
    assert str(project) == "Alice research"


def test_a_projects_life_does_not_hang_on_its_team(organization, project):
    team = Team.objects.create(organization=organization, name="Data")
    project.team = team
    project.save()
    team.delete()
    project.refresh_from_db()
    assert project.team is None


# --- Memberships ------------------------------------------------------------------------------------------------------
def test_a_person_has_one_place_in_an_organization(organization, owner):
    with refuses("one_membership_per_user"), transaction.atomic():
        Membership.objects.create(organization=organization, user=owner, role=Role.VIEWER)
    assert str(organization.memberships.get()) == "owner@alice.example (owner)"


def test_a_role_is_one_of_the_five(organization):
    user = User.objects.create_user("ada@example.com")
    with refuses("membership_role_is_known"), transaction.atomic():
        Membership.objects.create(organization=organization, user=user, role="root")
    assert Membership.objects.create(organization=organization, user=user).role == "member"


# --- Payments and dated rows ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("amount", ["0", "-1", "-0.000000000001"])
def test_a_payment_is_positive(organization, amount):
    with refuses("payment_is_positive"), transaction.atomic():
        Payment.objects.create(organization=organization, amount_usd=Decimal(amount), paid_at=timezone.now())


def test_a_payment_is_booked_once_per_reference(organization, bob):
    def pay(to: Organization, reference: str) -> Payment:
        return Payment.objects.create(
            organization=to, amount_usd=Decimal(5), paid_at=datetime(2026, 3, 1, tzinfo=UTC), reference=reference
        )

    assert str(pay(organization, "in_123")) == "5 USD on 2026-03-01"
    pay(bob.organization, "in_123")
    pay(organization, "")
    pay(organization, "")
    with refuses("one_payment_per_reference"), transaction.atomic():
        pay(organization, "in_123")


def test_one_dated_row_begins_on_a_day():
    tier, limit = UsageTier.objects.first(), RateLimit.objects.first()
    assert f"(from {tier.effective_from})" in str(tier)
    assert f"{limit.model}, tier {limit.tier}" in str(limit)
    for row, constraint in ((tier, "one_tier_row_per_day"), (limit, "one_rate_limit_row_per_day")):
        row.pk = None
        with refuses(constraint), transaction.atomic():
            row.save(force_insert=True)


@pytest.mark.parametrize("field", ["minimum_paid_usd", "monthly_limit_usd"])
def test_a_tier_has_no_negative_amount(field):
    with refuses("tier_amounts_are_not_negative"), transaction.atomic():
        UsageTier.objects.update(**{field: Decimal("-0.01")})


@pytest.mark.parametrize("number", [-1, 6])
def test_there_are_tiers_0_to_5(number):
    tier = UsageTier.objects.first()
    tier.number = number
    with pytest.raises(ValidationError):
        tier.full_clean(validate_unique=False, validate_constraints=False)
