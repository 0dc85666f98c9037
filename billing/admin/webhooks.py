"""Where an organization is told: its webhook endpoints with what was sent to them, and which alerts it wants."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.access import Capability
from accounts.admin.base import Act, BursarAdmin, Place, ReadOnlyAdmin, ReadOnlyInline, badge, list_of, short_id
from accounts.audit import who
from accounts.errors import DomainError
from billing.models import AlertSettings, DeliveryStatus, EventType, WebhookDelivery, WebhookEndpoint, WebhookTry
from billing.models.alerts import PERCENTS
from billing.webhooks import endpoints
from billing.webhooks.urls import UrlRefused, checked

PAGE_OF_ENDPOINTS = "billing_webhookendpoint"


class EndpointForm(forms.ModelForm):
    event_types = forms.MultipleChoiceField(
        choices=EventType.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=WebhookEndpoint._meta.get_field("event_types").help_text,
    )

    class Meta:
        model = WebhookEndpoint
        fields = ("organization", "url", "description", "event_types")

        labels: ClassVar = {"url": "URL"}

    def clean_url(self) -> str:
        try:
            return str(checked(self.cleaned_data["url"].strip()))
        except UrlRefused as refused:
            raise ValidationError(refused.message) from refused

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        organization = cleaned.get("organization")
        if organization and organization.webhook_endpoints.count() >= endpoints.MOST_ENDPOINTS:
            raise ValidationError(endpoints.TooManyEndpoints().message)
        return cleaned


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(BursarAdmin):
    place = Place(organization="organization")
    sees = changes = Capability.MANAGE_ALERTS
    service_records = True
    form = EndpointForm
    list_display = ("shown_url", "description", "organization", "events", "state", "waiting", "succeeded_at")
    list_display_links = ("shown_url",)
    list_filter = (("disabled_at", admin.EmptyFieldListFilter), "organization")
    list_select_related = ("organization",)
    search_fields = ("url", "description", "organization__name")
    id_fields = ("pk", "organization_id")
    ordering = ("organization__name", "-created_at")
    actions = ("test", "enable", "disable", "rotate")
    readonly_fields = ("state", "log_link", "former_secret_until", "succeeded_at", "created_by", "created_at")
    fieldsets = (
        (None, {"fields": ("organization", "url", "description", "event_types")}),
        ("How it is", {"fields": readonly_fields}),
    )
    add_fieldsets = (fieldsets[0],)

    def get_readonly_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> Any:
        return (*self.readonly_fields, "organization") if obj else self.readonly_fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookEndpoint]:
        pending = Count("deliveries", filter=Q(deliveries__status=DeliveryStatus.PENDING))
        found: QuerySet[WebhookEndpoint] = super().get_queryset(request)
        return found.annotate(pending=pending)

    def save_model(self, request: HttpRequest, obj: WebhookEndpoint, form: Any, change: bool) -> None:
        if change:
            endpoints.change(
                *(obj,),
                by=who(request),
                url=obj.url,
                description=obj.description,
                event_types=obj.event_types,
            )
            return
        made, secret = endpoints.create(
            *(obj.organization, obj.url),
            by=who(request),
            description=obj.description,
            event_types=obj.event_types,
        )
        obj.pk = made.pk
        obj.refresh_from_db()
        self._show_secret(request, secret)

    def delete_model(self, request: HttpRequest, obj: WebhookEndpoint) -> None:
        endpoints.delete(obj, by=who(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in queryset:
            endpoints.delete(endpoint, by=who(request))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """An endpoint takes its log with it, which nobody may delete on pages of its own."""
        to_delete, counts, missing, protected = super().get_deleted_objects(objs, request)
        own = {str(model._meta.verbose_name) for model in (WebhookDelivery, WebhookTry)}
        return to_delete, counts, missing - own, protected

    # --- Actions ------------------------------------------------------------------------------------------------------
    @admin.action(description="Send a test message", permissions=["change"])
    def test(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in queryset:
            try:
                endpoints.test(endpoint)
            except DomainError as refused:
                self.message_user(request, f"{endpoint}: {refused.message}", messages.WARNING)
            else:
                log = list_of("billing_webhookdelivery", "what came of it", endpoint__id__exact=endpoint.pk)
                said = format_html("A test is on its way to {}. Look in a moment at {}.", str(endpoint), log)
                self.message_user(request, said, messages.SUCCESS)

    @admin.action(description="Enable: what has waited is sent", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        self._switch(request, queryset, is_enabled=True)

    @admin.action(description="Disable: nothing is sent any more", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        self._switch(request, queryset, is_enabled=False)

    @admin.action(description="Make a new secret; the former one is good for a day", permissions=["change"])
    def rotate(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        chosen = list(queryset)
        if len(chosen) != 1:
            self.message_user(request, "Choose one: its secret is shown once, here.", messages.WARNING)
            return
        self._show_secret(request, endpoints.rotate(chosen[0], by=who(request)))

    def _switch(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint], *, is_enabled: bool) -> None:
        chosen = list(queryset.filter(disabled_at__isnull=not is_enabled))
        for endpoint in chosen:
            endpoints.change(endpoint, by=who(request), is_enabled=is_enabled)
        word = "enabled" if is_enabled else "disabled"
        self.message_user(request, f"{len(chosen)} {word}.", messages.SUCCESS if chosen else messages.WARNING)

    def _show_secret(self, request: HttpRequest, secret: str) -> None:
        said = format_html("Copy the secret now, it is never shown again: <code>{}</code>", secret)
        self.message_user(request, said, messages.SUCCESS)

    # --- Columns ------------------------------------------------------------------------------------------------------
    @admin.display(description="URL", ordering="url")
    def shown_url(self, endpoint: WebhookEndpoint) -> str:
        return endpoint.url if len(endpoint.url) <= 60 else f"{endpoint.url[:60]}…"

    @admin.display(description="told of")
    def events(self, endpoint: WebhookEndpoint) -> str:
        return ", ".join(endpoint.event_types) or "everything"

    @admin.display(description="state", ordering="disabled_at")
    def state(self, endpoint: WebhookEndpoint) -> SafeString:
        if endpoint.disabled_at is None:
            return badge("good", "enabled")
        return badge("bad", f"disabled: {endpoint.disabled_reason}")

    @admin.display(description="not delivered", ordering="pending")
    def waiting(self, endpoint: Any) -> SafeString | str:
        link = list_of(
            *("billing_webhookdelivery", endpoint.pending),
            endpoint__id__exact=endpoint.pk,
            status__exact=DeliveryStatus.PENDING.value,
        )
        return link if endpoint.pending else "–"

    @admin.display(description="see also")
    def log_link(self, endpoint: WebhookEndpoint) -> SafeString:
        return list_of("billing_webhookdelivery", "What was sent to it", endpoint__id__exact=endpoint.pk)


class TryInline(ReadOnlyInline):
    model = WebhookTry
    fields = ("tried_at", "http_status", "error", "milliseconds", "answer")
    readonly_fields = fields

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True  # whoever sees the delivery


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    place = Place(organization="endpoint__organization")
    sees = Capability.MANAGE_ALERTS
    acts = {"replay": Act("billing.change_webhookendpoint", Capability.MANAGE_ALERTS)}
    list_display = ("created_at", "event_type", "endpoint", "shown_status", "tries", "due", "message", "alert")
    list_filter = ("status", "event_type", "endpoint__organization")
    list_select_related = ("endpoint__organization", "alert")
    search_fields = ("event_type", "endpoint__url", "endpoint__organization__name")
    id_fields = ("pk", "endpoint_id", "alert_id")
    ordering = ("-id",)
    actions = ("replay",)
    inlines = (TryInline,)
    fields = ("created_at", "event_type", "endpoint", "shown_status", "due", "message", "alert", "body")
    readonly_fields = fields

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "replay")

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        return lookup == "endpoint__id__exact" or super().lookup_allowed(lookup, value, request)

    @admin.action(description="Send again, under the same id", permissions=["replay"])
    def replay(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> None:
        done = 0
        for delivery in queryset.select_related("endpoint"):
            try:
                endpoints.replay(delivery)
                done += 1
            except DomainError as refused:
                self.message_user(request, f"{delivery.endpoint}: {refused.message}", messages.WARNING)
        self.message_user(request, f"{done} sent again.", messages.SUCCESS if done else messages.WARNING)

    @admin.display(description="status", ordering="status")
    def shown_status(self, delivery: WebhookDelivery) -> SafeString:
        kinds = {DeliveryStatus.DELIVERED: "good", DeliveryStatus.FAILED: "bad"}
        return badge(kinds.get(DeliveryStatus(delivery.status), "quiet"), delivery.status)

    @admin.display(description="next try", ordering="due_at")
    def due(self, delivery: WebhookDelivery) -> Any:
        return delivery.due_at if delivery.status == DeliveryStatus.PENDING else None

    @admin.display(description="id")
    def message(self, delivery: WebhookDelivery) -> SafeString:
        return short_id(delivery.message_id)


class AlertSettingsForm(forms.ModelForm):
    percents = forms.TypedMultipleChoiceField(
        choices=[(percent, f"{percent} %") for percent in PERCENTS],
        coerce=int,
        empty_value=[],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label="Parts of a limit",
        help_text=AlertSettings._meta.get_field("percents").help_text,
    )

    class Meta:
        model = AlertSettings
        fields = ("organization", "percents", "tells_forecasts", "tells_anomalies", "doubts_count", "doubts_usd")


@admin.register(AlertSettings)
class AlertSettingsAdmin(BursarAdmin):
    place = Place(organization="organization")
    sees = changes = Capability.MANAGE_ALERTS
    form = AlertSettingsForm
    list_display = ("organization", "shown_percents", "tells_forecasts", "tells_anomalies", "doubts_count")
    list_select_related = ("organization",)
    search_fields = ("organization__name",)
    id_fields = ("pk", "organization_id")
    ordering = ("organization__name",)

    def get_readonly_fields(self, request: HttpRequest, obj: AlertSettings | None = None) -> Any:
        return ("organization",) if obj else ()

    @admin.display(description="parts of a limit")
    def shown_percents(self, row: AlertSettings) -> str:
        return ", ".join(f"{percent} %" for percent in sorted(row.percents)) or "none"
