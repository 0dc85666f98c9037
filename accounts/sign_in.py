"""Signing in: who may, what becomes of too many wrong passwords, and what the audit trail keeps of it."""

from datetime import datetime, timedelta
from typing import Any

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.core.exceptions import ValidationError
from django.db.models import Max, Sum
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone
from unfold.forms import AuthenticationForm

from accounts import access
from accounts.audit import Who, address_of, record
from accounts.models import AuditAction, User


class StaffPermissions(ModelBackend):
    """Django's permissions count for the staff alone; everybody else may do what a membership says."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return bool(getattr(user_obj, "is_staff", False)) and super().has_perm(user_obj, perm, obj)

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        return bool(getattr(user_obj, "is_staff", False)) and super().has_module_perms(user_obj, app_label)


def name_of(request: HttpRequest, credentials: dict[str, Any] | None = None) -> str:
    """The e-mail address as it is stored, so that no spelling of it has ten tries of its own."""
    given = credentials or {}
    name = given.get("username") or given.get("email") or request.POST.get("username", "")
    return str(name).strip().lower()[:255]


def locked_until(request: HttpRequest, email: str) -> datetime | None:
    """When this address on the network may try again with this e-mail address; None: now."""
    cool_off: timedelta = settings.AXES_COOLOFF_TIME
    # A row for each browser, which are counted together.
    found = AccessAttempt.objects.filter(
        username=email, ip_address=address_of(request), attempt_time__gte=timezone.now() - cool_off
    ).aggregate(failures=Sum("failures_since_start"), last=Max("attempt_time"))
    if (found["failures"] or 0) < settings.AXES_FAILURE_LIMIT:
        return None
    last: datetime = found["last"]
    return last + cool_off


class SignInForm(AuthenticationForm):
    """E-mail address and password of the staff, and of whoever is a member of an organization."""

    def clean(self) -> dict[str, Any]:
        try:
            cleaned: dict[str, Any] = super().clean()
        except ValidationError:
            self._say_if_locked()
            raise
        return cleaned

    def _say_if_locked(self) -> None:
        until = locked_until(self.request, name_of(self.request))
        if until is not None:
            raise ValidationError(
                f"Too many wrong passwords. Sign in again from {until:%H:%M:%S} UTC on, or have a new password mailed.",
                code="locked",
            )

    def confirm_login_allowed(self, user: AbstractBaseUser) -> None:
        assert isinstance(user, User)
        if not access.has_place(user):
            raise ValidationError(
                "You are a member of no organization here: ask an owner or admin of yours to invite you.",
                code="no_place",
            )


@receiver(user_logged_in)
def _note_sign_in(sender: object, request: HttpRequest, user: User, **others: Any) -> None:
    by = Who(user=user, address=address_of(request), request_id=getattr(request, "request_id", ""))
    record(AuditAction.SIGNED_IN, "user", user.pk, by=by, organization_id=None, name=user.email)


@receiver(user_login_failed)
def _note_failure(
    sender: object, credentials: dict[str, Any], request: HttpRequest | None = None, **others: Any
) -> None:
    """Each try that was made, and none that was turned away unread: those would fill the trail at a stranger's will."""
    if request is None:
        return
    is_turned_away = getattr(request, "axes_locked_out", False) and not getattr(
        request, "axes_failures_since_start", None
    )
    if not is_turned_away:
        email = name_of(request, credentials)
        by = Who(address=address_of(request), request_id=getattr(request, "request_id", ""), name=email or "nobody")
        record(AuditAction.SIGN_IN_FAILED, "user", "", by=by, organization_id=None, name=email)
