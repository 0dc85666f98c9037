"""Users, who sign in with their e-mail address, and their places in organizations."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.http import HttpRequest

from accounts.admin.base import STYLESHEET, BursarAdmin
from accounts.models import Membership, User

# Whoever may edit users but is no superuser must not make one of themselves.
POWERS = ("is_staff", "is_superuser", "groups", "user_permissions")


class LowerCaseEmail(forms.ModelForm):
    """Compares addresses as they are stored, so that a second user of an address is an error of the form."""

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"]
        return email.strip().lower()


class UserAdditionForm(LowerCaseEmail, AdminUserCreationForm):
    class Meta:
        model = User
        fields = ("email",)


class UserEditForm(LowerCaseEmail, UserChangeForm):
    class Meta:
        model = User
        fields = "__all__"  # noqa: DJ007  # the admin names the fields


class MembershipOfUser(admin.TabularInline):
    model = Membership
    extra = 0
    autocomplete_fields = ("organization",)


@admin.register(User)
class UserAdmin(BaseUserAdmin):
    add_form = UserAdditionForm
    form = UserEditForm
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

    class Media:
        css = {"all": (STYLESHEET,)}

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        powers = () if request.user.is_superuser else POWERS
        return (*self.readonly_fields, *powers)

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


@admin.register(Membership)
class MembershipAdmin(BursarAdmin):
    list_display = ("user", "organization", "role", "created_at")
    list_filter = ("role", "organization")
    list_select_related = ("user", "organization")
    search_fields = ("user__email", "organization__name", "organization__slug")
    id_fields = ("organization_id",)
    date_hierarchy = "created_at"
    autocomplete_fields = ("user", "organization")
    ordering = ("organization__name", "user__email")
    readonly_fields = ("created_at",)
