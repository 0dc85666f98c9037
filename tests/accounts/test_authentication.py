"""`Authorization: Bearer bk_live_...`: who a request acts for, and what a stranger learns."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from accounts import api_keys, log_context
from accounts.authentication import ApiKeyAuthentication, ApiKeyScheme


@pytest.fixture(autouse=True)
def _as_within_a_request() -> Iterator[None]:
    """What is learnt of the caller for the log is forgotten afterwards."""
    with log_context.about():
        yield


def authenticate(header: str | None):
    extra = {} if header is None else {"HTTP_AUTHORIZATION": header}
    return ApiKeyAuthentication().authenticate(Request(APIRequestFactory().get("/api/v1/jobs", **extra)))


@pytest.mark.parametrize("template", ["Bearer {}", "bearer {}", "BEARER {}", "Bearer  {} "])
def test_a_key_acts_for_its_project_and_its_maker(api_key, owner, project, template):
    user, found = authenticate(template.format(api_key.secret))
    assert (user, found, found.project) == (owner, api_key.api_key, project)


@pytest.mark.parametrize("header", [None, "", "Basic b3duZXI6c2VjcmV0", "Token abc", "bk_live_abc"])
def test_a_request_without_a_bearer_token_is_left_to_others(db, header):
    assert authenticate(header) is None


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer bk_live_x", "Bearer \xff\xfe", "Bearer a b"])
def test_an_unknown_key_is_refused(db, header):
    with pytest.raises(AuthenticationFailed) as refused:
        authenticate(header)
    assert refused.value.detail.code == "invalid_api_key"


def test_unknown_revoked_expired_and_orphaned_keys_get_one_answer(project, owner):
    past = timezone.now() - timedelta(seconds=1)
    expired = api_keys.issue(project, name="expired", created_by=owner, expires_at=past)
    revoked = api_keys.issue(project, name="revoked", created_by=owner)
    api_keys.revoke(revoked.api_key)
    orphaned = api_keys.issue(project, name="of one who left", created_by=owner)
    answers = set()
    for secret in ("bk_live_unknown", expired.secret, revoked.secret, orphaned.secret):
        if secret == orphaned.secret:
            owner.is_active = False
            owner.save()
        with pytest.raises(AuthenticationFailed) as refused:
            authenticate(f"Bearer {secret}")
        answers.add((refused.value.status_code, str(refused.value.detail), refused.value.detail.code))
    assert answers == {(401, "The API key is unknown, expired or revoked.", "invalid_api_key")}


def test_only_a_key_that_works_is_marked_as_used(api_key, owner):
    owner.is_active = False
    owner.save()
    with pytest.raises(AuthenticationFailed):
        authenticate(f"Bearer {api_key.secret}")
    api_key.api_key.refresh_from_db()
    assert api_key.api_key.last_used_at is None
    owner.is_active = True
    owner.save()
    authenticate(f"Bearer {api_key.secret}")
    api_key.api_key.refresh_from_db()
    assert timezone.now() - api_key.api_key.last_used_at < timedelta(minutes=1)


def test_the_scheme_is_told_to_clients():
    assert ApiKeyAuthentication().authenticate_header(Request(APIRequestFactory().get("/"))).startswith("Bearer ")
    definition = ApiKeyScheme(target=ApiKeyAuthentication).get_security_definition(None)
    assert (definition["type"], definition["scheme"]) == ("http", "bearer")
