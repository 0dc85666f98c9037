"""API keys, whose secret is shown once, and the provider's keys, which are never shown."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminURLFieldWidget
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts import access, api_keys
from accounts.admin.base import BursarAdmin, Capability, Place, ProjectFilter, badge
from accounts.models import AdminCredential, ApiKey, ProviderCredential


class ValidityFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("valid", "Valid"), ("expired", "Expired"), ("revoked", "Revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        expired = Q(expires_at__lte=timezone.now())
        match self.value():
            case "valid":
                return queryset.filter(~expired | Q(expires_at__isnull=True), revoked_at__isnull=True)
            case "expired":
                return queryset.filter(expired, revoked_at__isnull=True)
            case "revoked":
                return queryset.filter(revoked_at__isnull=False)
        return queryset


class ApiKeyForm(forms.ModelForm):
    """A key's form. A management key is for those alone whose role manages: it acts with that role."""

    person: Any = None

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or self.cleaned_data
        project = cleaned.get("project") if cleaned.get("may_manage") else None
        if project and not access.may(self.person, Capability.MANAGE_KEYS, project.organization_id):
            self.add_error("may_manage", "Your role in the project's organization manages nothing.")
        wanted = cleaned.get("requests_per_minute")
        if "requests_per_minute" in self.changed_data and not (self.person.is_superuser or api_keys.may_have(wanted)):
            self.add_error("requests_per_minute", f"Keys have at most {settings.KEY_REQUESTS_PER_MINUTE} here.")
        return cleaned


@admin.register(ApiKey)
class ApiKeyAdmin(BursarAdmin):
    form = ApiKeyForm
    place = Place(projects=("project",))
    sees = Capability.SEE
    changes = Capability.MANAGE_KEYS
    actions = ("revoke",)
    list_display = (
        "name",
        "shown_prefix",
        "project",
        "organization",
        "state",
        "created_by",
        "created_at",
        "last_used_at",
    )
    list_filter = (ValidityFilter, "project__organization", ("project", ProjectFilter))
    list_select_related = ("project__organization", "created_by")
    search_fields = ("name", "prefix", "project__name", "project__organization__name", "created_by__email")
    id_fields = ("pk", "project_id", "project__organization_id")
    date_hierarchy = "created_at"
    autocomplete_fields = ("project",)
    ordering = ("-created_at",)
    fieldsets = (
        (None, {"fields": ("project", "name", "expires_at", "may_manage", "requests_per_minute")}),
        ("Key", {"fields": ("shown_prefix", "state", "created_by", "created_at", "revoked_at", "last_used_at")}),
    )
    add_fieldsets = (fieldsets[0],)
    readonly_fields = ("shown_prefix", "state", "created_by", "created_at", "revoked_at", "last_used_at")

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        # What a key may do is said by whom it acts for, when it is made.
        return (*self.readonly_fields, "project", "may_manage") if obj else self.readonly_fields

    def get_form(self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        form.person = request.user
        return form

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False  # jobs and spend name the key; it is revoked instead

    def save_model(self, request: HttpRequest, obj: ApiKey, form: forms.ModelForm, change: bool) -> None:
        if change:
            # Never the whole row: a revocation of this very moment must not be undone.
            obj.save(update_fields=["name", "expires_at", "requests_per_minute"])
            return
        issued = api_keys.issue(
            obj.project,
            name=obj.name,
            created_by=request.user,  # type: ignore[arg-type]
            expires_at=obj.expires_at,
            may_manage=obj.may_manage,
            requests_per_minute=obj.requests_per_minute,
        )
        obj.pk = issued.api_key.pk
        obj.refresh_from_db()
        self.message_user(
            request,
            format_html("Copy the secret now, it is never shown again: <code>{}</code>", issued.secret),
            messages.SUCCESS,
        )

    @admin.display(description="organization", ordering="project__organization__name")
    def organization(self, api_key: ApiKey) -> str:
        return api_key.project.organization.name

    @admin.display(description="begins with", ordering="prefix")
    def shown_prefix(self, api_key: ApiKey) -> SafeString:
        return format_html("<code>{}…</code>", api_key.prefix)

    @admin.display(description="state")
    def state(self, api_key: ApiKey) -> SafeString:
        if api_key.revoked_at is not None:
            return badge("bad", "revoked")
        return badge("good", "valid") if api_key.is_valid_at(timezone.now()) else badge("quiet", "expired")

    @admin.action(description="Revoke: the selected keys stop working at once, for good", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        with transaction.atomic():
            rows = queryset.filter(revoked_at__isnull=True).select_related("project").order_by("pk")
            valid = list(rows.select_for_update(of=("self",)))
            for api_key in valid:
                api_keys.revoke(api_key)
                self.log_change(request, api_key, "Revoked.")
            self.audit(request, valid, before={"revoked_at": None}, after={"revoked_at": timezone.now()})
        level = messages.SUCCESS if valid else messages.WARNING
        self.message_user(request, f"{len(valid)} revoked.", level)


class KeyForm(forms.ModelForm):
    """A credential's form: the key goes in and never comes out."""

    provider_key = forms.CharField(
        label="API key",
        required=False,
        strip=True,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"}),
        help_text="Stored encrypted and never shown again. Empty keeps the key that is there.",
    )

    def clean_provider_key(self) -> str:
        key: str = self.cleaned_data["provider_key"]
        if not key and not self.instance.encrypted_api_key:
            raise forms.ValidationError("Enter the key: none is stored yet.")
        return key

    def save(self, commit: bool = True) -> Any:
        if key := self.cleaned_data["provider_key"]:
            self.instance.api_key = key
        return super().save(commit)


class ProviderCredentialForm(KeyForm):
    base_url = forms.URLField(
        label="Base URL",
        required=False,
        assume_scheme="https",
        widget=AdminURLFieldWidget,
        help_text=ProviderCredential._meta.get_field("base_url").help_text,
    )

    class Meta:
        model = ProviderCredential
        fields = ("organization", "base_url", "provider_organization_id", "serves_shut_down_models", "keeps_answers")


class AdminCredentialForm(KeyForm):
    class Meta:
        model = AdminCredential
        fields = ("organization",)


@admin.register(ProviderCredential)
class ProviderCredentialAdmin(BursarAdmin):
    place = Place(organization="organization")
    sees = changes = Capability.OWN
    form = ProviderCredentialForm
    list_display = ("organization", "hint", "endpoint", "serves_shut_down_models", "updated_at")
    list_filter = ("serves_shut_down_models",)
    list_select_related = ("organization",)
    search_fields = ("organization__name", "organization__slug", "base_url", "provider_organization_id")
    id_fields = ("organization_id",)
    date_hierarchy = "updated_at"
    autocomplete_fields = ("organization",)
    ordering = (F("organization__name"),)
    readonly_fields = ("hint", "updated_at")
    fields = (
        "organization",
        "provider_key",
        "hint",
        "base_url",
        "provider_organization_id",
        "serves_shut_down_models",
        "keeps_answers",
        "updated_at",
    )

    def get_readonly_fields(self, request: HttpRequest, obj: ProviderCredential | None = None) -> Any:
        return (*self.readonly_fields, "organization") if obj else self.readonly_fields

    @admin.display(description="stored key", ordering="api_key_hint")
    def hint(self, credential: ProviderCredential) -> str:
        return f"ends in …{credential.api_key_hint}" if credential.api_key_hint else "none yet"

    @admin.display(description="endpoint", ordering="base_url", empty_value="the deployment's")
    def endpoint(self, credential: ProviderCredential) -> str | None:
        return credential.base_url or None


@admin.register(AdminCredential)
class AdminCredentialAdmin(BursarAdmin):
    """The provider's admin keys, which read what it bills."""

    place = Place(organization="organization")
    sees = changes = Capability.OWN

    form = AdminCredentialForm
    list_display = ("organization", "hint", "updated_at")
    list_select_related = ("organization",)
    search_fields = ("organization__name", "organization__slug")
    id_fields = ("organization_id",)
    date_hierarchy = "updated_at"
    autocomplete_fields = ("organization",)
    ordering = (F("organization__name"),)
    readonly_fields = ("hint", "updated_at")
    fields = ("organization", "provider_key", "hint", "updated_at")

    def get_readonly_fields(self, request: HttpRequest, obj: AdminCredential | None = None) -> Any:
        return (*self.readonly_fields, "organization") if obj else self.readonly_fields

    @admin.display(description="stored key", ordering="api_key_hint")
    def hint(self, credential: AdminCredential) -> str:
        return f"ends in …{credential.api_key_hint}" if credential.api_key_hint else "none yet"
