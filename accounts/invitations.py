"""Mails with a link by which somebody sets a password: for an invitation, and when one was forgotten."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.forms import PasswordResetForm
from django.http import HttpRequest

from accounts.models import Membership, User


class PasswordMailForm(PasswordResetForm):
    """Also for those who never had a password: whoever was invited and lost the mail asks for another."""

    def get_users(self, email: str) -> Iterable[User]:
        return User.objects.filter(email=email.strip().lower(), is_active=True)


def send(request: HttpRequest, membership: Membership) -> None:
    """Mails the link. A mail server that is away is logged by Django, and the person may ask for another."""
    told: Any = {"membership": membership, "by": request.user}
    form = PasswordMailForm({"email": membership.user.email})
    if form.is_valid():
        form.save(
            request=request,
            use_https=request.is_secure(),
            subject_template_name="accounts/invitation_subject.txt",
            email_template_name="accounts/invitation.txt",
            extra_email_context=told,
        )
