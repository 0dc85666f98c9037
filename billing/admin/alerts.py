"""Alerts: shown, and acknowledged by whoever may."""

from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from accounts.admin.base import Act, Capability, Place, ProjectFilter, ReadOnlyAdmin, badge, list_of, page_of
from billing.alerts import acknowledge
from billing.models import Alert


class OpenFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Open"), ("acknowledged", "Acknowledged")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Alert]) -> QuerySet[Alert]:
        if self.value() in {"open", "acknowledged"}:
            return queryset.filter(acknowledged_at__isnull=self.value() == "open")
        return queryset


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    place = Place(organization="organization", projects=("project",))
    sees = Capability.SEE_SPEND
    acts = {"acknowledge": Act("billing.acknowledge_alert", Capability.MANAGE_ALERTS)}
    list_display = ("raised_at", "kind", "state", "text", "project", "organization", "mailed", "acknowledged_by")
    list_filter = (OpenFilter, "kind", "organization", ("project", ProjectFilter))
    list_select_related = ("organization", "project", "acknowledged_by")
    search_fields = ("text", "reference", "organization__name", "project__name", "project__slug")
    id_fields = ("pk", "reference", "organization_id", "project_id")
    date_hierarchy = "raised_at"
    ordering = ("-raised_at",)
    actions = ("acknowledge_chosen",)
    fields = (
        "raised_at",
        "kind",
        "state",
        "text",
        "organization",
        "project_page",
        "usage_record",
        "reference",
        "mailed",
        "acknowledged_at",
        "acknowledged_by",
    )

    def has_acknowledge_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "acknowledge")

    @admin.display(description="state", ordering="acknowledged_at")
    def state(self, alert: Alert) -> SafeString:
        return badge("quiet", "acknowledged") if alert.acknowledged_at else badge("bad", "open")

    @admin.display(description="mailed", ordering="mailed_at")
    def mailed(self, alert: Alert) -> str:
        if alert.mailed_at is None:
            return "not mailed"
        return f"{alert.mailed_at:%Y-%m-%d %H:%M}, to {alert.mailed_to}"

    @admin.display(description="project")
    def project_page(self, alert: Alert) -> object:
        return page_of(alert.project) if alert.project else "–"

    @admin.display(description="see also")
    def usage_record(self, alert: Alert) -> SafeString:
        return list_of("billing_usagerecord", "Usage record", q=alert.reference)

    @admin.action(description="Acknowledge: somebody looks after it", permissions=["acknowledge"])
    @transaction.atomic
    def acknowledge_chosen(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        user: Any = request.user
        chosen = list(queryset.filter(acknowledged_at=None).order_by("pk").select_for_update(of=("self",)))
        self.audit(request, chosen, after={"acknowledged_by": str(user)})
        done = acknowledge(Alert.objects.filter(pk__in=[alert.pk for alert in chosen]), user)
        for alert in chosen:
            self.log_change(request, alert, "Acknowledged.")
        self.message_user(request, f"{done} acknowledged.", messages.SUCCESS if done else messages.WARNING)
