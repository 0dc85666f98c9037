"""Who belongs to an organization: by role one invites by e-mail address, and nobody gives more than they have."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts import invitations, memberships
from accounts.access import Capability, Person, roles_to_give
from accounts.admin.base import BursarAdmin, Place
from accounts.models import Membership, Role


class MembershipForm(forms.ModelForm):
    """The staff's: any user, any role, and one owner at least."""

    class Meta:
        model = Membership
        fields = ("user", "organization", "role")

    def clean_role(self) -> str:
        role: str = self.cleaned_data["role"]
        before = Membership.objects.filter(pk=self.instance.pk).first()
        if before is not None and role != Role.OWNER and memberships.is_last_owner(before):
            raise forms.ValidationError("An organization keeps one owner at least: make somebody else one first.")
        return role


class RoleForm(MembershipForm):
    """Of somebody who is a member already. `person` is who changes it."""

    person: Person

    def clean_role(self) -> str:
        role = super().clean_role()
        if role not in roles_to_give(self.person, self.instance.organization_id):
            raise forms.ValidationError("You may not give this role: it may do what you may not.")
        return role


class InvitationForm(MembershipForm):
    """Somebody by their e-mail address: they need not be here yet, and nobody looks through who is."""

    person: Person
    email = forms.EmailField(label="E-mail", widget=forms.EmailInput(attrs={"class": "vTextField"}))

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        organization, email = cleaned.get("organization"), cleaned.get("email", "").strip().lower()
        if organization is None or not email:
            return cleaned
        if cleaned.get("role") and cleaned["role"] not in roles_to_give(self.person, organization.pk):
            self.add_error("role", "You may not give this role: it may do what you may not.")
        if Membership.objects.filter(organization=organization, user__email=email).exists():
            self.add_error("email", "This person is a member already.")
        return cleaned


@admin.register(Membership)
class MembershipAdmin(BursarAdmin):
    place = Place(organization="organization")
    sees = Capability.SEE
    changes = Capability.MANAGE_PEOPLE
    list_display = ("user", "organization", "role", "created_at")
    list_filter = ("role", "organization")
    list_select_related = ("user", "organization")
    search_fields = ("user__email", "organization__name", "organization__slug")
    id_fields = ("organization_id",)
    date_hierarchy = "created_at"
    autocomplete_fields = ("user", "organization")
    ordering = ("organization__name", "user__email")
    readonly_fields = ("created_at",)

    # --- By role ----------------------------------------------------------------------------------------------------
    def has_change_permission(self, request: HttpRequest, obj: Membership | None = None) -> bool:
        return super().has_change_permission(request, obj) and self._may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Membership | None = None) -> bool:
        if obj is not None and memberships.is_last_owner(obj):
            return False
        return super().has_delete_permission(request, obj) and self._may_touch(request, obj)

    def _may_touch(self, request: HttpRequest, obj: Membership | None) -> bool:
        if obj is None or not self._invites(request):
            return True
        return obj.role in roles_to_give(request.user, obj.organization_id)

    def _invites(self, request: HttpRequest) -> bool:
        """Whether the person is here by role: they name people by their address."""
        return not self._by_django(request, "add") and not self._by_django(request, "change")

    def get_fields(self, request: HttpRequest, obj: Membership | None = None) -> Any:
        if not self._invites(request):
            return ("user", "organization", "role", "created_at")
        return ("user", "organization", "role", "created_at") if obj else ("organization", "email", "role")

    def get_readonly_fields(self, request: HttpRequest, obj: Membership | None = None) -> Any:
        return (
            (*self.readonly_fields, "user", "organization") if obj and self._invites(request) else self.readonly_fields
        )

    def get_form(self, request: HttpRequest, obj: Membership | None = None, change: bool = False, **kwargs: Any) -> Any:
        if not self._invites(request):
            return super().get_form(request, obj, change, **{"form": MembershipForm, **kwargs})
        form = super().get_form(request, obj, change, **{"form": RoleForm if obj else InvitationForm, **kwargs})
        form.person = request.user
        return form

    # --- Writing ----------------------------------------------------------------------------------------------------
    @transaction.atomic
    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:
        memberships.lock_owners([obj.organization_id])
        was_owned = Membership.objects.filter(organization=obj.organization_id, role=Role.OWNER).exists()
        if "email" in form.cleaned_data:
            obj.user, is_new = memberships.invited(form.cleaned_data["email"])
            if is_new:
                transaction.on_commit(lambda: self._mail(request, obj))
        super().save_model(request, obj, form, change)
        if was_owned:
            self._require_owners([obj.organization_id])

    def _mail(self, request: HttpRequest, membership: Membership) -> None:
        invitations.send(request, membership)
        told = f"{membership.user} is new here: a link by which to set a password goes to that address by mail."
        self.message_user(request, told, messages.INFO)

    @transaction.atomic
    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        self.delete_queryset(request, Membership.objects.filter(pk=obj.pk))

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        owned = set(queryset.filter(role=Role.OWNER).order_by().values_list("organization_id", flat=True))
        memberships.lock_owners(owned)
        queryset.delete()
        self._require_owners(owned)

    @staticmethod
    def _require_owners(organization_ids: Any) -> None:
        """Two owners who remove each other at once: one of them comes second."""
        try:
            memberships.require_owners(organization_ids)
        except memberships.LastOwner as error:
            raise PermissionDenied(error.message) from error
