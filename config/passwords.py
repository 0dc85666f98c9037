"""The pages by which somebody sets a password: after an invitation, or when one was forgotten."""

from typing import Any

from django.contrib import admin
from django.contrib.auth import views
from django.urls import path

from accounts.invitations import PasswordMailForm


class OnTheSite:
    """Dressed as the admin is."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        found = super().get_context_data(**kwargs)  # type: ignore[misc]
        return {**admin.site.each_context(self.request), **found}  # type: ignore[attr-defined]


class Ask(OnTheSite, views.PasswordResetView):
    form_class = PasswordMailForm


class Sent(OnTheSite, views.PasswordResetDoneView):
    pass


class Choose(OnTheSite, views.PasswordResetConfirmView):
    pass


class Chosen(OnTheSite, views.PasswordResetCompleteView):
    pass


# By the names that Django's mails and pages link to.
urls = [
    path("admin/password_reset/", Ask.as_view(), name="admin_password_reset"),
    path("admin/password_reset/sent/", Sent.as_view(), name="password_reset_done"),
    path("admin/reset/<uidb64>/<token>/", Choose.as_view(), name="password_reset_confirm"),
    path("admin/reset/done/", Chosen.as_view(), name="password_reset_complete"),
]
