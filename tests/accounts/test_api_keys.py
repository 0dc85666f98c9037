"""API keys: shown once, found by their whole secret, ended for good."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import api_keys, remembered
from accounts.models import ApiKey, Membership, Role, User
from tests.accounts.rows import text_of

MOMENT = timedelta(microseconds=1)


@pytest.fixture
def issued(project, owner) -> api_keys.IssuedKey:
    return api_keys.issue(project, name="batch reports", created_by=owner)


def test_a_secret_is_long_random_and_recognisable(project, owner):
    secrets = {api_keys.issue(project, name="one of many", created_by=owner).secret for _ in range(50)}
    assert len(secrets) == 50
    assert all(secret.startswith("bk_live_") for secret in secrets)
    assert all(len(secret) == len("bk_live_") + 43 for secret in secrets)  # 32 bytes in base64


def test_the_row_shows_the_prefix_and_keeps_only_the_hash(issued):
    stored = text_of(ApiKey, issued.api_key.pk)
    assert issued.api_key.prefix == issued.secret[:12]
    assert issued.api_key.prefix in str(issued.api_key)
    assert api_keys.hash_of(issued.secret) in stored
    assert issued.secret not in stored
    assert issued.secret[12:20] not in stored


def test_a_key_is_found_by_its_secret_with_all_that_a_request_needs(issued, project, owner, django_assert_num_queries):
    with django_assert_num_queries(2):  # whether it is good, and its rows
        found = api_keys.find(issued.secret, timezone.now())
        assert found == issued.api_key
        assert found.project.organization == project.organization
        assert found.created_by == owner


def test_a_key_whose_rows_are_remembered_is_refused_at_once_when_it_is_good_no_more(
    project, owner, monkeypatch, django_assert_num_queries
):
    monkeypatch.setattr(remembered, "is_on", True)
    monkeypatch.setattr(remembered, "monotonic", lambda: 0.0)  # nothing that is remembered ever grows old
    now = timezone.now()
    revoked, expired, orphaned = (
        api_keys.issue(project, name=name, created_by=owner) for name in ("revoked", "expired", "of one who left")
    )
    for issued in (revoked, expired, orphaned):
        api_keys.find(issued.secret, now)
        with django_assert_num_queries(1):
            assert api_keys.find(issued.secret, now) == issued.api_key
    api_keys.revoke(revoked.api_key)
    assert api_keys.find(revoked.secret, now) is None
    ApiKey.objects.filter(pk=expired.api_key.pk).update(expires_at=now)
    assert api_keys.find(expired.secret, now) is None
    owner.is_active = False
    owner.save()
    assert api_keys.find(orphaned.secret, now) is None


def test_a_key_ends_with_its_makers_membership_in_its_own_organization(issued, owner, project, bob):
    now = timezone.now()
    Membership.objects.create(organization=bob.organization, user=owner)
    mine = Membership.objects.filter(user=owner, organization=project.organization)
    mine.update(role=Role.VIEWER)
    assert api_keys.find(issued.secret, now) == issued.api_key  # any role is one
    mine.delete()
    assert api_keys.find(issued.secret, now) is None
    Membership.objects.create(organization=project.organization, user=owner)
    assert api_keys.find(issued.secret, now) == issued.api_key


def test_keys_that_the_services_own_staff_made_need_no_membership(project):
    staff = User.objects.create_user("staff@bursar.example", is_staff=True)
    issued = api_keys.issue(project, name="made for them", created_by=staff)
    assert api_keys.find(issued.secret, timezone.now()) == issued.api_key


def test_nothing_else_finds_it(issued):
    secret = issued.secret
    wrong = [
        "",
        " ",
        secret[:-1],
        secret + "x",
        secret.upper(),
        f" {secret}",
        issued.api_key.prefix,
        issued.api_key.secret_hash,
        "bk_live_",
        "sk-proj-1234",
        "' OR 1=1 --",
        "\x00",
        "ключ",
        "x" * 100_000,
    ]
    assert [text for text in wrong if api_keys.find(text, timezone.now())] == []


def test_a_key_expires_at_its_instant(project, owner):
    expiry = timezone.now() + timedelta(days=30)
    issued = api_keys.issue(project, name="of a month", created_by=owner, expires_at=expiry)
    assert api_keys.find(issued.secret, expiry - MOMENT) == issued.api_key
    assert api_keys.find(issued.secret, expiry) is None


def test_a_revoked_key_is_gone_and_stays_gone(issued):
    api_keys.revoke(issued.api_key)
    assert api_keys.find(issued.secret, timezone.now()) is None
    assert api_keys.find(issued.secret, timezone.now() - timedelta(days=1)) is None


def test_revoking_twice_keeps_the_first_instant(issued):
    api_keys.revoke(issued.api_key)
    first = ApiKey.objects.get(pk=issued.api_key.pk).revoked_at
    api_keys.revoke(issued.api_key)
    assert first is not None
    assert ApiKey.objects.get(pk=issued.api_key.pk).revoked_at == first


def test_revoking_one_key_leaves_the_others(issued, api_key):
    api_keys.revoke(issued.api_key)
    assert api_keys.find(api_key.secret, timezone.now()) == api_key.api_key


def test_use_is_remembered_to_the_minute(issued, django_assert_num_queries):
    key, now = issued.api_key, timezone.now()

    def last_used():
        return ApiKey.objects.get(pk=key.pk).last_used_at

    api_keys.note_use(key, now)
    assert last_used() == now
    key.refresh_from_db()
    with django_assert_num_queries(0):
        api_keys.note_use(key, now + timedelta(minutes=1))
    later = now + timedelta(minutes=1) + MOMENT
    api_keys.note_use(key, later)
    assert last_used() == later


def test_a_use_noted_by_another_process_meanwhile_is_not_set_back(issued):
    key, now = issued.api_key, timezone.now()  # this process has read the row before the other one wrote
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=now + timedelta(seconds=5))
    api_keys.note_use(key, now)
    assert ApiKey.objects.get(pk=key.pk).last_used_at == now + timedelta(seconds=5)


def test_two_keys_of_one_secret_cannot_be(issued):
    with pytest.raises(IntegrityError), transaction.atomic():
        issued.api_key.project.api_keys.create(
            name="a twin", secret_hash=issued.api_key.secret_hash, created_by=issued.api_key.created_by
        )
