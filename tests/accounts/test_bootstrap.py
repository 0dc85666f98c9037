"""`manage.py bootstrap`: a first organization that works at once, and the same one when it is run again."""

import json
import stat
from datetime import date
from io import StringIO

import pytest
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command
from django.test import RequestFactory
from django.utils import timezone

from accounts import api_keys
from accounts.bootstrap import read_secrets
from accounts.models import ApiKey, Membership, Organization, Payment, Project, User
from accounts.tiers import standing

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    printed = StringIO()
    call_command("bootstrap", *arguments, stdout=printed)
    return printed.getvalue()


def run_json(*arguments: str) -> dict[str, str | None]:
    return json.loads(run("--json", *arguments))


def counts() -> list[int]:
    return [model.objects.count() for model in (Organization, Project, User, Membership, Payment, ApiKey)]


def works(secret: str | None) -> bool:
    return secret is not None and api_keys.find(secret, timezone.now()) is not None


# --- What it makes ----------------------------------------------------------------------------------------------------
def test_the_first_run_makes_all_that_a_start_needs():
    start = run_json()
    assert set(start) == {
        "organization",
        "organization_name",
        "project",
        "project_name",
        "owner_email",
        "owner_password",
        "api_key",
        "api_key_prefix",
    }
    organization = Organization.objects.get(pk=start["organization"])
    assert standing(organization, timezone.now()).tier.number == 5
    found = api_keys.find(start["api_key"], timezone.now())
    assert str(found.project_id) == start["project"]
    assert start["api_key"].startswith(start["api_key_prefix"])
    owner = authenticate(
        RequestFactory().post("/admin/login/"), username=start["owner_email"], password=start["owner_password"]
    )
    assert owner.is_staff
    assert organization.memberships.get().user == owner
    assert organization.memberships.get().role == "owner"


def test_a_person_reads_the_same_as_a_program():
    text = run("--name", "Initech", "--slug", "initech", "--owner-email", "Bill@Initech.example")
    organization, key = Organization.objects.get(), ApiKey.objects.get()
    for part in ("Initech", str(organization.pk), "bill@initech.example", key.prefix):
        assert part in text
    again = run("--slug", "initech", "--owner-email", "bill@initech.example")
    assert "(set earlier)" in again
    assert f"{key.prefix}... (not shown again; --rotate-key issues a new one)" in again


@pytest.mark.parametrize(
    ("simulated", "arguments", "terms"),
    [
        (False, (), None),
        (True, (), date(2024, 9, 30)),
        (True, ("--terms-on", "2025-03-01"), date(2025, 3, 1)),
        (False, ("--terms-on", "2025-03-01"), date(2025, 3, 1)),
    ],
)
def test_the_terms_are_todays_and_with_the_simulator_those_of_the_o1_family(settings, simulated, arguments, terms):
    settings.PROVIDER_IS_SIMULATOR = simulated
    run(*arguments)
    assert Organization.objects.get().terms_on == terms


# --- Again ------------------------------------------------------------------------------------------------------------
def test_the_second_run_changes_nothing_and_shows_no_secret():
    first, before = run_json(), counts()
    second = run_json("--name", "Another name", "--terms-on", "2025-01-01")
    assert counts() == before
    assert (second["owner_password"], second["api_key"]) == (None, None)
    assert {**second, "owner_password": 0, "api_key": 0} == {**first, "owner_password": 0, "api_key": 0}
    assert works(first["api_key"])


def test_another_slug_is_another_organization_of_the_same_owner():
    first, second = run_json(), run_json("--slug", "second", "--name", "Second")
    assert first["organization"] != second["organization"]
    assert second["owner_password"] is None
    assert works(first["api_key"])
    assert works(second["api_key"])
    assert User.objects.get().memberships.count() == 2
    assert counts() == [2, 2, 1, 2, 2, 2]


def test_what_an_administrator_changed_stays():
    run()
    Organization.objects.update(name="Renamed", terms_on=None)
    Membership.objects.update(role="viewer")
    run()
    assert Organization.objects.get().name == "Renamed"
    assert Membership.objects.get().role == "viewer"


# --- Keys -------------------------------------------------------------------------------------------------------------
def test_a_rotated_key_ends_the_old_one():
    first = run_json()
    second = run_json("--rotate-key")
    assert works(second["api_key"])
    assert not works(first["api_key"])


def test_rotation_leaves_keys_that_people_made():
    run()
    project, owner = Project.objects.get(), User.objects.get()
    theirs = api_keys.issue(project, name="theirs", created_by=owner)
    run("--rotate-key")
    assert works(theirs.secret)


def test_a_revoked_key_is_replaced():
    first = run_json()
    api_keys.revoke(ApiKey.objects.get())
    second = run_json()
    assert works(second["api_key"])
    assert first["api_key"] != second["api_key"]


# --- The file ---------------------------------------------------------------------------------------------------------
def test_the_file_is_for_its_owner_alone_and_gives_the_secrets_back(tmp_path):
    path = tmp_path / "new folder" / "credentials.json"
    first = run_json("--credentials-file", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_secrets(path) == first
    assert run_json("--credentials-file", str(path)) == first
    assert counts() == [1, 1, 1, 1, 1, 1]


def test_a_file_that_others_could_read_is_closed_before_it_is_written(tmp_path):
    path = tmp_path / "credentials.json"
    path.write_text("{}")
    path.chmod(0o644)
    run("--credentials-file", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_rotation_renews_the_file(tmp_path):
    path = tmp_path / "credentials.json"
    first = run_json("--credentials-file", str(path))
    second = run_json("--credentials-file", str(path), "--rotate-key")
    assert (second["owner_password"], second["api_key"] == first["api_key"]) == (first["owner_password"], False)
    assert read_secrets(path)["api_key"] == second["api_key"]
    assert works(second["api_key"])


def test_secrets_of_the_file_that_no_longer_work_are_not_given_back(tmp_path):
    path = tmp_path / "credentials.json"
    first = run_json("--credentials-file", str(path))
    user = User.objects.get()
    user.set_password("changed meanwhile")
    user.save()
    api_keys.revoke(ApiKey.objects.get())
    second = run_json("--credentials-file", str(path))
    assert second["owner_password"] is None
    assert second["api_key"] not in {None, first["api_key"]}


def test_a_key_of_another_project_in_the_file_is_not_taken_for_this_ones(tmp_path):
    path = tmp_path / "credentials.json"
    first = run_json("--credentials-file", str(path))
    second = run_json("--credentials-file", str(path), "--slug", "second")
    assert second["api_key"] != first["api_key"]
    assert str(api_keys.find(second["api_key"], timezone.now()).project_id) == second["project"]


@pytest.mark.parametrize("content", ["", "no json", "[]", '"text"', "null", '{"api_key": 5, "owner_password": null}'])
def test_a_file_that_is_none_of_ours_gives_nothing(tmp_path, content):
    path = tmp_path / "credentials.json"
    path.write_text(content)
    assert read_secrets(path) == {}
    start = run_json("--credentials-file", str(path))
    assert read_secrets(path) == start


def test_a_password_for_a_new_owner_may_come_from_the_file(tmp_path):
    path = tmp_path / "credentials.json"
    path.write_text('{"owner_password": "chosen by the deployment"}')
    assert run_json("--credentials-file", str(path))["owner_password"] == "chosen by the deployment"
    assert authenticate(
        RequestFactory().post("/admin/login/"), username="owner@example.com", password="chosen by the deployment"
    )


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="cannot be kept"):
        run("--credentials-file", str(tmp_path / "file" / "credentials.json"))


def test_what_nobody_could_sign_in_to_is_not_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError):
        run("--credentials-file", str(tmp_path / "file" / "credentials.json"))
    assert not User.objects.exists()
    assert not ApiKey.objects.exists()
