"""What people set: quotas. A quota counts from the moment it is saved."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Case, DecimalField, F, Field, OuterRef, QuerySet, Subquery, When
from django.db.models.functions import Greatest
from django.http import HttpRequest
from django.utils.safestring import SafeString

from accounts.admin.base import BursarAdmin, Capability, Place, badge, list_of
from accounts.audit import who
from accounts.models import Organization
from billing.admin.money import amount_column, in_words, window_in_words
from billing.budgets import account_of, limit_now, refresh_limits, state_of
from billing.clock import database_now
from billing.limits import BudgetState
from billing.models import Budget, Hold, Price, Quota, QuotaRequest
from billing.quotas import changes


def refresh(organizations: Iterable[Organization]) -> None:
    """Writes the limits of these organizations, as far as they still exist, onto their open budgets."""
    now = database_now()
    # In one order, so that two of these cannot wait for each other. Without a book there is no budget either.
    with_book = Organization.objects.filter(pk__in={o.pk for o in organizations}, book__isnull=False)
    for organization in with_book.order_by("pk"):
        refresh_limits(organization, now)


class MovesLimits(BursarAdmin):
    """A page whose rows decide limits: the budgets follow in the transaction that saves or deletes a row."""

    def organizations_of(self, obj: Any) -> Iterable[Organization]:
        """The organizations whose limits depend on the row."""
        return [obj.organization]

    @transaction.atomic
    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        before = self._organizations_before(obj) if change else []
        super().save_model(request, obj, form, change)
        refresh([*before, *self.organizations_of(obj)])

    @transaction.atomic
    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        affected = list(self.organizations_of(obj))
        super().delete_model(request, obj)
        refresh(affected)

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        affected = [organization for obj in queryset for organization in self.organizations_of(obj)]
        super().delete_queryset(request, queryset)
        refresh(affected)

    def _organizations_before(self, obj: Any) -> list[Organization]:
        """Those of the row as it was: it may move from one organization to another."""
        return list(self.organizations_of(self.model._default_manager.get(pk=obj.pk)))


def state_now(quota: Quota, now: datetime) -> BudgetState:
    """How full a quota stands; counted where nothing was opened yet."""
    limit = limit_now(quota, now)
    return state_of(limit, account_of(limit))


def _known_models(quotas: QuerySet[Quota]) -> list[tuple[str, str]]:
    """The models that have a price, and those that quotas name: a quota of a misspelt one would never bind."""
    priced = Price.objects.order_by().values_list("model", flat=True)
    named = quotas.order_by().exclude(model="").values_list("model", flat=True)
    return [("", "Every model"), *((name, name) for name in sorted({*priced, *named}))]


class QuotaForm(forms.ModelForm):
    """Says beforehand what `changes` would refuse."""

    def clean_expires_at(self) -> datetime | None:
        expires_at: datetime | None = self.cleaned_data["expires_at"]
        if "expires_at" in self.changed_data and expires_at is not None and expires_at <= database_now():
            raise forms.ValidationError(changes.HAS_PASSED)
        return expires_at


@admin.register(Quota)
class QuotaAdmin(BursarAdmin):
    service_records = True
    form = QuotaForm
    place = Place(
        organization="organization", projects=("project", "api_key__project"), teams=("team",), person="member"
    )
    sees = Capability.SEE
    changes = Capability.MANAGE_QUOTAS
    list_display = (
        "owner",
        "organization",
        "scope",
        "measure",
        "counted_model",
        "window",
        "hardness",
        amount_column("limit"),
        amount_column("spent", "spent now"),
        amount_column("held", "held now"),
        amount_column("remaining"),
        "starts_at",
        "expires_at",
    )
    list_filter = ("scope", "measure", "window", "is_hard", "organization")
    list_select_related = ("organization", "team", "project", "member", "api_key")
    search_fields = (
        "organization__name",
        "organization__slug",
        "team__name",
        "project__name",
        "project__slug",
        "member__email",
        "api_key__name",
        "api_key__prefix",
        "model",
    )
    id_fields = ("pk", "organization_id", "team_id", "project_id", "api_key_id")
    date_hierarchy = "created_at"
    autocomplete_fields = ("organization", "team", "project", "member", "api_key")
    ordering = ("organization__name", "scope", "measure", "window")
    add_fieldsets: Any = (
        (
            "Whom it binds",
            {
                "fields": ("organization", "scope", "team", "project", "member", "api_key"),
                "description": "Choose the one that the scope names, and no other; none for the whole organization.",
            },
        ),
        ("What it counts", {"fields": ("measure", "model", "window")}),
        ("How much", {"fields": ("limit", "is_hard", "risk")}),
        (
            "From when until when",
            {"fields": ("starts_at", "expires_at"), "description": "A fixed window needs both. All times are UTC."},
        ),
    )
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("organization", "scope", "owner")}),
        *add_fieldsets[1:],
        ("How full it stands", {"fields": ("standing_now", "budgets_link", "created_at")}),
    )
    readonly_fields = ("owner", "standing_now", "budgets_link", "created_at")

    def get_readonly_fields(self, request: HttpRequest, obj: Quota | None = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "organization", "scope") if obj else self.readonly_fields

    def formfield_for_dbfield(self, db_field: "Field[Any, Any]", request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "model":
            seen = self.allowed(request, "view")
            return forms.ChoiceField(choices=lambda: _known_models(seen), required=False, help_text=db_field.help_text)
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Quota]:
        """With the figures of the open window. No budget is open where no call was counted in it yet."""
        found: QuerySet[Quota] = super().get_queryset(request)
        now = database_now()
        budget = Budget.objects.filter(quota=OuterRef("pk"), window_start__lte=now, window_end__gt=now)
        remaining = Greatest(F("limit") - F("spent") - F("held"), Decimal(0))
        return found.annotate(
            spent=Subquery(budget.values("spent")[:1]),
            held=Subquery(budget.values("held")[:1]),
            remaining=Case(When(spent__isnull=False, then=remaining), output_field=DecimalField()),
        )

    def save_model(self, request: HttpRequest, obj: Quota, form: Any, change: bool) -> None:
        if change:
            fields = {name: form.cleaned_data[name] for name in form.changed_data}
            changes.change(obj, fields, by=who(request))
        else:
            changes.create(obj, by=who(request))

    def delete_model(self, request: HttpRequest, obj: Quota) -> None:
        if changes.remove(obj, by=who(request)) is not None:
            messages.info(request, f"{obj} was used, so it has ended now, and what was counted for it is kept.")

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Quota]) -> None:
        # In one order, so that two of these cannot wait for each other.
        for quota in queryset.order_by("organization_id", "pk"):
            self.delete_model(request, quota)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """A quota takes its budgets and holds with it, which nobody may delete on pages of their own."""
        to_delete, counts, missing, protected = super().get_deleted_objects(objs, request)
        own = {str(model._meta.verbose_name) for model in (Budget, Hold, QuotaRequest)}
        return to_delete, counts, missing - own, protected

    @admin.display(description="owner", ordering="project__name")
    def owner(self, quota: Quota) -> str:
        return quota.owner_name

    @admin.display(description="model", ordering="model")
    def counted_model(self, quota: Quota) -> str:
        return quota.model or "every model"

    @admin.display(description="kind", ordering="is_hard")
    def hardness(self, quota: Quota) -> SafeString:
        return badge("good", "hard") if quota.is_hard else badge("quiet", "soft")

    @admin.display(description="now")
    def standing_now(self, quota: Quota) -> str:
        quota = Quota.objects.get(pk=quota.pk)  # as it is stored: a refused form shows what was typed
        now = database_now()
        if not changes.binds_at(quota, now):
            return "It does not bind now."
        state = state_now(quota, now)
        amounts = {
            "spent": state.spent,
            "held": state.held,
            "remaining": state.remaining,
        }
        figures = ", ".join(f"{in_words(quota.measure, amount)} {name}" for name, amount in amounts.items())
        return f"{window_in_words(state.limit.window)}: {figures}, of {in_words(quota.measure, quota.limit)}."

    @admin.display(description="see also")
    def budgets_link(self, quota: Quota) -> SafeString:
        return list_of("billing_budget", "Its windows", quota__id__exact=quota.pk)
