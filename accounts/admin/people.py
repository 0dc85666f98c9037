"""Users, who sign in with their e-mail address, and their places in organizations."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice
from unfold.admin import ModelAdmin, TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts import second_step
from accounts.admin.audited import Audited
from accounts.audit import who
from accounts.models import Membership, User

# Whoever may edit users but is no superuser must not make one of themselves.
POWERS = ("is_staff", "is_superuser", "groups", "user_permissions")


class LowerCaseEmail(forms.ModelForm):
    """Compares addresses as they are stored, so that a second user of an address is an error of the form."""

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"]
        return email.strip().lower()


class UserAdditionForm(LowerCaseEmail, UserCreationForm):
    class Meta:
        model = User
        fields = ("email",)


class UserEditForm(LowerCaseEmail, UserChangeForm):
    class Meta:
        model = User
        fields = "__all__"  # noqa: DJ007  # the admin names the fields


class MembershipOfUser(TabularInline):
    model = Membership
    extra = 0
    autocomplete_fields = ("organization",)


# Their secrets are nobody's to look at; a person's own page switches the second step on and off.
admin.site.unregister([Group, TOTPDevice, StaticDevice])


@admin.register(Group)
class GroupAdmin(Audited, BaseGroupAdmin, ModelAdmin):  # type: ignore[misc]
    """Django's own groups of permissions, in the look of the rest, with each change in the audit trail."""


@admin.register(User)
class UserAdmin(Audited, BaseUserAdmin, ModelAdmin):  # type: ignore[misc]
    actions = ("switch_off_second_step",)
    add_form = UserAdditionForm
    form = UserEditForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("email", "first_name", "last_name", "is_staff", "is_superuser", "is_active", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser", "memberships__role", "groups")
    search_fields = ("email", "first_name", "last_name")
    date_hierarchy = "date_joined"
    ordering = ("email",)
    readonly_fields = ("last_login", "date_joined")
    inlines = (MembershipOfUser,)
    fieldsets = (
        (None, {"fields": ("email", "password")}),
        ("Person", {"fields": ("first_name", "last_name")}),
        ("Permissions", {"fields": ("is_active", *POWERS)}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("email", "usable_password", "password1", "password2")}),)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        powers = () if request.user.is_superuser else POWERS
        return (*self.readonly_fields, *powers)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        # Before it looks for the user: the answer would tell which there are.
        if not self.has_view_permission(request):
            raise PermissionDenied
        return super().history_view(request, object_id, extra_context)

    def has_reset_permission(self, request: HttpRequest) -> bool:
        return request.user.is_active and request.user.is_superuser

    @admin.action(description="Switch off the second step: app and recovery codes are lost", permissions=["reset"])
    def switch_off_second_step(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            second_step.switch_off(user, by=who(request))
            self.log_change(request, user, "Switched off the second step.")
        self.message_user(request, f"Of {len(queryset)} the password alone signs them in.")

    def get_inlines(self, request: HttpRequest, obj: User | None = None) -> Any:
        # A new user is saved first: the short form asks for nothing but address and password.
        return self.inlines if obj is not None else ()

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        # The password of a superuser is as good as being one.
        may = super().has_change_permission(request, obj)
        return may and (request.user.is_superuser or obj is None or not obj.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        may = super().has_delete_permission(request, obj)
        return may and (request.user.is_superuser or obj is None or not obj.is_superuser)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        with transaction.atomic():
            if request.method == "POST":
                self._take(request, id)
            page: HttpResponse = super().user_change_password(request, id, form_url)
        return page
