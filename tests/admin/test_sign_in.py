"""Signing in: who may, ten wrong passwords, the audit trail, and the second step."""

import time

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import second_step
from accounts.audit import SERVICE
from accounts.models import AuditAction, AuditEntry, User
from tests.admin.conftest import sign_in

LOGIN = reverse("admin:login")
INDEX = reverse("admin:index")
# A page that everybody has who is in; the index leads on to the dashboard of who has one.
TABLES = reverse("admin:tables")
SECOND = reverse("admin:second_step")
SETTINGS = reverse("admin:second_step_settings")
PASSWORD = "a password for tests"


def enter(client: Client, email: str, password: str = PASSWORD, **where):
    return client.post(LOGIN, {"username": email, "password": password, "next": INDEX}, **where)


def code_of(device: TOTPDevice, steps: int = 0) -> str:
    """What an app shows so many half minutes from now."""
    totp = TOTP(device.bin_key, device.step, device.t0, device.digits)
    totp.time = time.time() + steps * device.step
    return f"{totp.token():06d}"


def with_second_step(user: User) -> tuple[TOTPDevice, list[str]]:
    device = second_step.begin(user)
    switched = second_step.switch_on(user, code_of(device, -1), by=SERVICE)
    assert switched is not None
    return switched


def is_in(client: Client) -> bool:
    return client.get(TABLES).status_code == 200


def test_members_and_staff_sign_in_and_nobody_else(owner: User, superuser: User):
    nobody = User.objects.create_user("nobody@elsewhere.example", PASSWORD)
    for user, may in ((owner, True), (superuser, True), (nobody, False)):
        client = Client()
        answer = enter(client, user.email)
        assert is_in(client) is may, user
        assert may or "member of no organization" in answer.text


def test_permissions_of_django_count_for_the_staff_alone(owner: User):
    owner.user_permissions.add(Permission.objects.get(codename="view_user"))
    assert sign_in(owner).get(reverse("admin:accounts_user_changelist")).status_code == 403
    owner.is_staff = True
    owner.save()
    assert sign_in(owner).get(reverse("admin:accounts_user_changelist")).status_code == 200


def test_ten_wrong_passwords_lock_the_address_and_say_until_when(owner: User, superuser: User):
    for spelling in (owner.email, owner.email.upper()) * 5:
        answer = enter(Client(HTTP_USER_AGENT=spelling), spelling, "wrong")
    assert "Too many wrong passwords. Sign in again from " in answer.text
    client = Client()
    answer = enter(client, owner.email)
    assert "Too many wrong passwords" in answer.text
    assert not is_in(client)
    elsewhere = Client()
    enter(elsewhere, owner.email, REMOTE_ADDR="192.0.2.7")
    assert is_in(elsewhere), "another address on the network is not locked"
    another = Client()
    enter(another, superuser.email)
    assert is_in(another), "another e-mail address is not locked"


def test_behind_a_proxy_a_lock_is_of_whoever_is_before_it(owner: User, settings):
    settings.BEHIND_PROXY = True
    for number in range(10):
        enter(Client(), owner.email, "wrong", HTTP_X_FORWARDED_FOR=f"10.0.0.{number}, 192.0.2.7")
    there, elsewhere = Client(), Client()
    enter(there, owner.email, HTTP_X_FORWARDED_FOR="192.0.2.7")
    assert not is_in(there)
    enter(elsewhere, owner.email, HTTP_X_FORWARDED_FOR="192.0.2.8")
    assert is_in(elsewhere)


def test_a_lock_ends(owner: User, settings):
    for _ in range(10):
        enter(Client(), owner.email, "wrong")
    AccessAttempt.objects.update(attempt_time=timezone.now() - settings.AXES_COOLOFF_TIME)
    client = Client()
    enter(client, owner.email)
    assert is_in(client)


def test_a_right_password_forgets_the_wrong_ones(owner: User):
    for _ in range(3):
        for _ in range(9):
            enter(Client(), owner.email, "wrong")
        client = Client()
        enter(client, owner.email)
        assert is_in(client)


def test_the_audit_trail_has_who_came_and_who_did_not(owner: User):
    for _ in range(13):
        enter(Client(), owner.email, "wrong")
    enter(Client(), owner.email, REMOTE_ADDR="192.0.2.7")
    entries = AuditEntry.objects.filter(subject_type="user").order_by("at", "id")
    told = [(entry.action, entry.subject_name, entry.address) for entry in entries]
    # What is turned away unread adds no line.
    failed = (AuditAction.SIGN_IN_FAILED, owner.email, "127.0.0.1")
    assert told == [failed] * 10 + [(AuditAction.SIGNED_IN, owner.email, "192.0.2.7")]


def test_the_api_pays_nothing_for_it(client, owner: User, django_assert_max_num_queries):
    """Keys are no sign-in: no backend, no attempt and no device is asked."""
    with django_assert_max_num_queries(20) as asked:
        assert client.get("/api/v1/jobs").status_code == 200
    assert [query for query in asked.captured_queries if "axes_" in query["sql"] or "otp_" in query["sql"]] == []


def test_switching_the_second_step_on_and_off(owner: User):
    client = sign_in(owner)
    shown = client.get(SETTINGS)
    assert "<svg" in shown.text
    device = TOTPDevice.objects.get(user=owner)
    assert not device.confirmed
    assert "not right" in client.post(SETTINGS, {"code": "000000"}).text
    assert not second_step.is_on(owner)
    device.refresh_from_db()
    device.throttle_reset()
    answer = client.post(SETTINGS, {"code": code_of(device)})
    codes = list(StaticToken.objects.values_list("token", flat=True))
    assert len(codes) == 10
    assert all(code in answer.text for code in codes)
    assert second_step.is_on(owner)
    assert codes[0] not in client.get(SETTINGS).text, "they are shown once"
    assert client.post(SETTINGS, {"code": codes[0]}).status_code == 302
    assert not second_step.is_on(owner)
    acts = AuditEntry.objects.filter(subject_type="second_step").order_by("at", "id").values_list("action", flat=True)
    assert list(acts) == [AuditAction.CREATED, AuditAction.DELETED]


def test_a_password_alone_does_not_sign_in_where_it_is_on(owner: User):
    device, _ = with_second_step(owner)
    client = Client()
    answer = enter(client, owner.email)
    assert answer.url.startswith(SECOND)
    assert not is_in(client)
    assert "not right" in client.post(answer.url, {"code": "000000"}).text
    assert not is_in(client)
    TOTPDevice.objects.get(pk=device.pk).throttle_reset()
    done = client.post(answer.url, {"code": code_of(device)})
    assert (done.status_code, done.url) == (302, INDEX)
    assert is_in(client)


def test_a_code_serves_once(owner: User):
    device, codes = with_second_step(owner)
    code = code_of(device)
    for one in (code, codes[0]):
        first, second = Client(), Client()
        for client in (first, second):
            enter(client, owner.email)
            client.post(SECOND, {"code": one})
        assert is_in(first)
        assert not is_in(second), "somebody who read it over a shoulder comes second"


def test_nobody_reaches_the_second_step_without_a_password(owner: User):
    _device, codes = with_second_step(owner)
    client = Client()
    assert client.get(SECOND).url == LOGIN
    assert client.post(SECOND, {"code": codes[0]}).url == LOGIN
    assert not is_in(client)
    enter(client, owner.email)
    owner.set_password("another one for tests")
    owner.save()
    assert client.post(SECOND, {"code": codes[0]}).url == LOGIN, "the password has changed since"


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/"])
def test_the_second_step_leads_nowhere_else(owner: User, target):
    device, _ = with_second_step(owner)
    client = Client()
    answer = client.post(LOGIN, {"username": owner.email, "password": PASSWORD, "next": target})
    assert "evil" not in answer.url
    done = client.post(f"{SECOND}?next={target}", {"code": code_of(device)})
    assert done.url == INDEX


def test_the_staff_make_one_where_the_deployment_asks(superuser: User, owner: User, settings):
    before = sign_in(superuser)
    settings.REQUIRE_TOTP_FOR_STAFF = True
    assert not is_in(before), "a session of before does not get around it"
    client = Client()
    answer = enter(client, superuser.email)
    assert "<svg" in client.get(answer.url).text
    assert not is_in(client)
    done = client.post(answer.url, {"code": code_of(TOTPDevice.objects.get(user=superuser))})
    assert StaticToken.objects.first().token in done.text
    assert is_in(client)
    member = Client()
    enter(member, owner.email)
    assert is_in(member), "members choose for themselves"


def test_devices_have_no_page(admin: Client):
    assert "otp_totp" not in admin.get(TABLES).text
    assert admin.get("/admin/otp_totp/totpdevice/").status_code == 404
