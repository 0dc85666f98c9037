"""Secrets in the admin: an API key's is shown once, a provider's never."""

from datetime import timedelta

from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import api_keys
from accounts.models import ApiKey, Membership, Organization, Project, ProviderCredential, Role, User

KEYS = reverse("admin:accounts_apikey_changelist")
CREDENTIAL_ADD = reverse("admin:accounts_providercredential_add")
PROVIDER_KEY = "sk-a-key-of-the-provider-1234"


def add_key(admin: Client, project: Project, **fields) -> str:
    """The page after adding a key."""
    form = {"project": project.pk, "name": "ci", "expires_at_0": "", "expires_at_1": "", **fields}
    return admin.post(reverse("admin:accounts_apikey_add"), form, follow=True).text


def secret_in(page: str) -> str:
    start = page.index("<code>bk_live_") + len("<code>")
    return page[start : page.index("</code>", start)]


def change_page(row) -> str:
    return reverse(f"admin:accounts_{row._meta.model_name}_change", args=[row.pk])


def test_secret_is_shown_once_and_works(admin: Client, superuser: User, project: Project):
    page = add_key(admin, project)
    assert "Copy the secret now" in page
    secret = secret_in(page)
    api_key = api_keys.find(secret, timezone.now())
    assert api_key is not None
    assert (api_key.name, api_key.created_by, api_key.project) == ("ci", superuser, project)
    for url in (KEYS, change_page(api_key), reverse("admin:index")):
        assert secret not in admin.get(url).text
    assert not LogEntry.objects.filter(change_message__contains=secret).exists()
    assert not LogEntry.objects.filter(object_repr__contains=secret).exists()


def test_key_with_expiry(admin: Client, project: Project):
    add_key(admin, project, expires_at_0="2099-01-01", expires_at_1="00:00:00")
    assert ApiKey.objects.get(project=project, name="ci").expires_at.year == 2099  # type: ignore[union-attr]


def test_a_management_key_is_for_those_whose_role_manages(admin: Client, staff_with, superuser: User, project: Project):
    staff = staff_with("accounts.add_apikey", "accounts.view_apikey", "accounts.change_apikey")
    assert "manages nothing" in add_key(staff, project, may_manage="on")
    assert not ApiKey.objects.filter(name="ci").exists()
    Membership.objects.create(
        organization=project.organization, user=User.objects.get(email__startswith="staff-"), role=Role.ADMIN
    )
    assert "Copy the secret now" in add_key(staff, project, may_manage="on")
    plain = api_keys.issue(project, name="plain", created_by=superuser).api_key
    staff.post(change_page(plain), {"name": "renamed", "expires_at_0": "", "expires_at_1": "", "may_manage": "on"})
    assert dict(ApiKey.objects.filter(project=project).values_list("name", "may_manage")) == {
        "ci": True,
        "renamed": False,  # whom it acts for never said so
        "tests": False,
    }


def test_key_of_no_project_is_an_error_of_the_form(admin: Client, project: Project):
    assert "This field is required" in admin.post(reverse("admin:accounts_apikey_add"), {"name": "ci"}).text
    assert not ApiKey.objects.filter(name="ci").exists()


def test_only_name_and_expiry_change(admin: Client, api_key, project: Project, other_project: Project):
    row = api_key.api_key
    forged = {"name": "renamed", "project": other_project.pk, "prefix": "bk_live_evil", "secret_hash": "0" * 64}
    admin.post(change_page(row), {**forged, "expires_at_0": "", "expires_at_1": ""})
    changed = ApiKey.objects.get(pk=row.pk)
    assert (changed.name, changed.project) == ("renamed", project)
    assert (changed.prefix, changed.secret_hash) == (row.prefix, row.secret_hash)


def test_edit_does_not_undo_a_revocation(admin: Client, api_key):
    api_keys.revoke(api_key.api_key)
    admin.post(change_page(api_key.api_key), {"name": "renamed", "expires_at_0": "", "expires_at_1": ""})
    assert api_keys.find(api_key.secret, timezone.now()) is None


def test_revoke_action(admin: Client, superuser: User, api_key):
    form = {"action": "revoke", "_selected_action": [str(api_key.api_key.pk)]}
    assert "1 revoked" in admin.post(KEYS, form, follow=True).text
    assert api_keys.find(api_key.secret, timezone.now()) is None
    assert LogEntry.objects.filter(user=superuser, change_message="Revoked.").count() == 1
    assert "0 revoked" in admin.post(KEYS, form, follow=True).text


def test_revoking_takes_the_right_to_change(staff_with, api_key):
    form = {"action": "revoke", "_selected_action": [str(api_key.api_key.pk)]}
    staff_with("accounts.view_apikey").post(KEYS, form)
    assert api_keys.find(api_key.secret, timezone.now()) is not None


def test_states(admin: Client, api_key, project: Project, owner: User):
    expired = api_keys.issue(
        project, name="old", created_by=owner, expires_at=timezone.now() - timedelta(days=1)
    ).api_key
    gone = api_keys.issue(project, name="gone", created_by=owner).api_key
    api_keys.revoke(gone)
    for state, expected in (("valid", api_key.api_key), ("expired", expired), ("revoked", gone)):
        assert list(admin.get(KEYS, {"state": state}).context["cl"].queryset) == [expected]


def test_provider_key_goes_in_and_never_comes_out(admin: Client, organization: Organization):
    form = {
        "organization": organization.pk,
        "base_url": "",
        "provider_key": PROVIDER_KEY,
        "provider_organization_id": "",
    }
    assert admin.post(CREDENTIAL_ADD, form).status_code == 302
    credential = ProviderCredential.objects.get(organization=organization)
    assert credential.api_key == PROVIDER_KEY
    page = admin.get(change_page(credential)).text
    assert PROVIDER_KEY not in page
    assert credential.encrypted_api_key not in page
    assert "ends in …1234" in page


def test_empty_keeps_the_provider_key(admin: Client, organization: Organization):
    form = {
        "organization": organization.pk,
        "base_url": "",
        "provider_key": PROVIDER_KEY,
        "provider_organization_id": "",
    }
    admin.post(CREDENTIAL_ADD, form)
    credential = ProviderCredential.objects.get(organization=organization)
    kept = {"base_url": "https://gateway.example/v1", "provider_key": "", "provider_organization_id": "org-7"}
    assert admin.post(change_page(credential), kept).status_code == 302
    credential.refresh_from_db()
    assert (credential.api_key, credential.base_url) == (PROVIDER_KEY, "https://gateway.example/v1")
    assert admin.post(change_page(credential), {**kept, "provider_key": "sk-another"}).status_code == 302
    credential.refresh_from_db()
    assert credential.api_key == "sk-another"


def test_new_credential_needs_a_key(admin: Client, organization: Organization):
    form = {"organization": organization.pk, "base_url": "", "provider_key": "", "provider_organization_id": ""}
    assert "none is stored yet" in admin.post(CREDENTIAL_ADD, form).text
    assert not ProviderCredential.objects.exists()
