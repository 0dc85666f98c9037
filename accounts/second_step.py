"""The second step of signing in: a one-time code of an authenticator app, or a recovery code where that is lost."""

import time
from typing import Any, Final

import segno
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction
from django.http import HttpRequest
from django.utils.safestring import SafeString, mark_safe
from django_otp import devices_for_user
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts.audit import Who, record
from accounts.models import AuditAction, User

RECOVERY_CODES: Final = 10
DIGITS: Final = 6
# Between the password and the code.
PATIENCE_SECONDS: Final = 600
_PENDING: Final = "second_step"


def is_on(user: AbstractBaseUser) -> bool:
    return bool(TOTPDevice.objects.filter(user=user, confirmed=True).exists())


def begin(user: AbstractBaseUser) -> TOTPDevice:
    """The device whose secret the app is to learn; it asks for nothing until a code of it was entered once."""
    device, _ = TOTPDevice.objects.get_or_create(user=user, confirmed=False, defaults={"name": "authenticator app"})
    return device


def picture(device: TOTPDevice) -> SafeString:
    """The QR code that an app scans, as an SVG for the page."""
    svg: str = segno.make(device.config_url, micro=False).svg_inline(scale=5, border=4, light="#fff", dark="#000")
    return mark_safe(svg)  # noqa: S308 (segno made it, of an address that it escapes)


@transaction.atomic
def switch_on(user: User, code: str, *, by: Who) -> tuple[TOTPDevice, list[str]] | None:
    """The device and its recovery codes, which are never shown again; None where the code is wrong."""
    device = TOTPDevice.objects.select_for_update().filter(user=user, confirmed=False).first()
    if device is None or not device.verify_token(code):
        return None
    device.confirmed = True
    device.save()
    StaticDevice.objects.filter(user=user).delete()
    recovery = StaticDevice.objects.create(user=user, name="recovery codes")
    codes = [StaticToken.random_token() for _ in range(RECOVERY_CODES)]
    StaticToken.objects.bulk_create(StaticToken(device=recovery, token=one) for one in codes)
    record(AuditAction.CREATED, "second_step", user.pk, by=by, organization_id=None, name=user.email)
    return device, codes


@transaction.atomic
def switch_off(user: User, *, by: Who) -> None:
    StaticDevice.objects.filter(user=user).delete()
    if TOTPDevice.objects.filter(user=user).delete()[0]:
        record(AuditAction.DELETED, "second_step", user.pk, by=by, organization_id=None, name=user.email)


@transaction.atomic
def accepted(user: AbstractBaseUser, code: str) -> Any:
    """The device that accepts the code, once; None where none does. Each wrong code doubles the wait for the next."""
    code = code.replace(" ", "").strip().lower()
    kind = TOTPDevice if code.isdigit() and len(code) == DIGITS else StaticDevice
    devices = [device for device in devices_for_user(user, for_verify=True) if isinstance(device, kind)]
    return next((device for device in devices if device.verify_token(code)), None)


def codes_left(user: AbstractBaseUser) -> int:
    return int(StaticToken.objects.filter(device__user=user).count())


# --- Between password and code ----------------------------------------------------------------------------------------
def wait_for_code(request: HttpRequest, user: Any) -> None:
    """The password was right. Nobody is signed in yet."""
    request.session[_PENDING] = {
        "user": user.pk,
        "password": user.get_session_auth_hash(),
        "at": time.time(),
        "backend": user.backend,
    }


def who_waits(request: HttpRequest) -> User | None:
    """Whose password was right a moment ago, with the backend that said so; None where nobody's was."""
    pending: dict[str, Any] | None = request.session.get(_PENDING)
    if pending is None or not 0 <= time.time() - pending["at"] <= PATIENCE_SECONDS:
        return None
    user = User.objects.filter(pk=pending["user"], is_active=True).first()
    if user is None or user.get_session_auth_hash() != pending["password"]:
        return None
    user.backend = pending["backend"]
    return user


def stop_waiting(request: HttpRequest) -> None:
    request.session.pop(_PENDING, None)
