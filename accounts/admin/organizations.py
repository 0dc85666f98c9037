"""Organizations with their standing, their teams, and their projects, which can be paused."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Count, Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.forms import ActionForm

from accounts import audit
from accounts.access import may
from accounts.admin.base import BursarAdmin, Capability, Place, SeenWithOwner, badge, dollars, link, list_of
from accounts.models import AdviceRule, Membership, Organization, Project, Team
from accounts.tiers import missing_for, standing, tiers_on


class MembershipInline(SeenWithOwner, TabularInline):
    model = Membership
    extra = 0
    autocomplete_fields = ("user",)


class OrganizationAdmin(BursarAdmin):
    """Registered by `billing.admin.standing`: the terms of an organization move its limits.

    An owner names it; its terms, and whether there is one at all, are the provider's affair.
    """

    place = Place(organization="pk")
    sees = Capability.SEE
    changes = Capability.OWN

    list_display = ("name", "slug", "terms", "project_count", "member_count", "spend", "created_at")
    list_filter = ("terms_on",)
    search_fields = ("name", "slug")
    date_hierarchy = "created_at"
    ordering = ("name",)
    prepopulated_fields = {"slug": ("name",)}
    inlines = (MembershipInline,)
    readonly_fields = ("standing", "related", "created_at")
    fieldsets = (
        (None, {"fields": ("name", "slug", "terms_on", "created_at")}),
        ("Dispatch", {"fields": ("dispatch_weight",)}),
        ("Standing", {"fields": ("standing", "related")}),
    )
    add_fieldsets = ((None, {"fields": ("name", "slug", "terms_on")}),)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._by_django(request, "add")

    def has_delete_permission(self, request: HttpRequest, obj: Organization | None = None) -> bool:
        return self._by_django(request, "delete")

    def get_readonly_fields(self, request: HttpRequest, obj: Organization | None = None) -> Any:
        fixed = ("terms_on", "dispatch_weight") if self.is_by_role(request) else ()
        return (*self.readonly_fields, *fixed)

    def get_fieldsets(self, request: HttpRequest, obj: Organization | None = None) -> Any:
        """What was paid, and what follows from it, is shown to whoever may see what was spent."""
        found = super().get_fieldsets(request, obj)
        if obj is None or not self.is_by_role(request) or may(request.user, Capability.SEE_SPEND, obj.pk):
            return found
        return [part for part in found if part[0] != "Standing"]

    def get_inlines(self, request: HttpRequest, obj: Organization | None) -> Any:
        return self.inlines if obj else ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Organization]:
        found: QuerySet[Organization] = super().get_queryset(request)
        return found.annotate(
            projects_number=Count("projects", distinct=True), members_number=Count("memberships", distinct=True)
        )

    @admin.display(description="terms of", ordering="terms_on", empty_value="today")
    def terms(self, organization: Organization) -> object:
        return organization.terms_on

    @admin.display(description="projects", ordering="projects_number")
    def project_count(self, organization: Any) -> SafeString:
        return list_of("accounts_project", organization.projects_number, organization__id__exact=organization.pk)

    @admin.display(description="members", ordering="members_number")
    def member_count(self, organization: Any) -> SafeString:
        return list_of("accounts_membership", organization.members_number, organization__id__exact=organization.pk)

    @admin.display(description="spend")
    def spend(self, organization: Organization) -> SafeString:
        return link(reverse("admin:dashboard", args=[organization.pk]), "This month")

    @admin.display(description="usage tier")
    def standing(self, organization: Organization) -> object:
        return format_html_join("", "<p>{}</p>", ((sentence,) for sentence in _standing_in_words(organization)))

    @admin.display(description="see also")
    def related(self, organization: Organization) -> SafeString:
        mine = {"organization__id__exact": organization.pk}
        links = (
            (link(reverse("admin:dashboard", args=[organization.pk]), "Spend"),),
            (list_of("accounts_project", "Projects", **mine),),
            (list_of("accounts_team", "Teams", **mine),),
            (list_of("jobs_job", "Jobs", **mine),),
            (list_of("jobs_queue", "Queues", project__organization__id__exact=organization.pk),),
            (list_of("accounts_payment", "Payments", **mine),),
            (list_of("accounts_tieroverride", "Tier overrides", **mine),),
            (list_of("billing_ledgerentry", "Ledger entries", **mine),),
        )
        return format_html_join(" · ", "{}", links)


def _standing_in_words(organization: Organization) -> list[str]:
    """The tier, what it follows from, and what the next one asks for."""
    now = timezone.now()
    try:
        stands = standing(organization, now)
    except LookupError as error:
        return [str(error)]
    days = stands.days_since_first_payment
    payments = "no payment yet" if days is None else f"{days} days since the first payment"
    origin = ", set by hand" if stands.is_override else ""
    sentences = [
        f"{stands.tier.name}{origin}: up to {dollars(stands.tier.monthly_limit_usd)} a month.",
        f"{dollars(stands.paid_usd)} paid, {payments}.",
    ]
    following = tiers_on(organization.terms_date(now)).get(stands.tier.number + 1)
    if following is None:
        sentences.append("There is no higher tier.")
    else:
        sentences.append(f"{following.name} takes {missing_for(following, stands)}.")
    return sentences


class OwnOrganizationForm(forms.ModelForm):
    """Whatever a row names beside its organization belongs to the same one."""

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or self.cleaned_data
        organization = cleaned.get("organization") or getattr(self.instance, "organization", None)
        for name in ("team", "members", "leads"):
            chosen = cleaned.get(name)
            rows: Iterable[Any] = [chosen] if isinstance(chosen, Model) else chosen or ()
            if any(row.organization_id != organization.pk for row in rows if organization):
                self.add_error(name, f"Choose from the same organization: {organization}.")
        return cleaned


class ProjectForm(OwnOrganizationForm):
    blocks_on_advice = forms.MultipleChoiceField(
        choices=AdviceRule.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label="Advice that refuses jobs",
        help_text="Jobs whose prompt gets advice of these kinds are refused, unless their sender ignores it by name.",
    )


class FixedOrganization(BursarAdmin):
    """A row of an organization: chosen once, because spend and members hang on it."""

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fixed = super().get_readonly_fields(request, obj)
        return (*fixed, "organization") if obj else fixed


@admin.register(Team)
class TeamAdmin(FixedOrganization):
    place = Place(organization="organization", teams=("pk",))
    sees = Capability.SEE
    changes = Capability.MANAGE_PEOPLE
    form = OwnOrganizationForm
    list_display = ("name", "organization", "member_count", "created_at")
    list_filter = ("organization",)
    list_select_related = ("organization",)
    search_fields = ("name", "organization__name", "organization__slug")
    id_fields = ("pk", "organization_id")
    date_hierarchy = "created_at"
    autocomplete_fields = ("organization", "members", "leads")
    ordering = ("organization__name", "name")
    readonly_fields = ("created_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Team]:
        found: QuerySet[Team] = super().get_queryset(request)
        return found.annotate(members_number=Count("members"))

    @admin.display(description="members", ordering="members_number")
    def member_count(self, team: Any) -> int:
        return int(team.members_number)


class PausedFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("running", "Running"), ("paused", "Paused")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Project]) -> QuerySet[Project]:
        if self.value() in {"running", "paused"}:
            return queryset.filter(paused_at__isnull=self.value() == "running")
        return queryset


class ReasonForm(ActionForm):
    reason = forms.CharField(required=False, max_length=300, label="Reason to pause:")


@admin.register(Project)
class ProjectAdmin(FixedOrganization):
    place = Place(organization="organization", projects=("pk",))
    sees = Capability.SEE
    changes = Capability.MANAGE_PROJECTS
    form = ProjectForm
    action_form = ReasonForm
    actions = ("pause", "unpause")
    list_display = ("name", "organization", "team", "state", "paused_reason", "spend", "created_at")
    list_filter = (PausedFilter, "organization")
    list_select_related = ("organization", "team")
    search_fields = ("name", "slug", "provider_project_id", "organization__name", "organization__slug")
    id_fields = ("pk", "organization_id")
    date_hierarchy = "created_at"
    autocomplete_fields = ("organization", "team")
    ordering = ("organization__name", "name")
    prepopulated_fields = {"slug": ("name",)}
    # Pausing goes by the actions, so that it never happens without a reason.
    readonly_fields = ("state", "paused_at", "paused_reason", "related", "created_at")
    fieldsets = (
        (None, {"fields": ("organization", "team", "name", "slug", "provider_project_id", "dispatch_weight")}),
        ("Lost answers", {"fields": ("doubt_policy", "doubt_patience_hours")}),
        ("Prompts and answers", {"fields": ("content_retention_days",)}),
        ("Batches", {"fields": ("may_batch_at_provider",)}),
        ("Advice on prompts", {"fields": ("blocks_on_advice",)}),
        ("State", {"fields": ("state", "paused_at", "paused_reason", "related", "created_at")}),
    )
    add_fieldsets = (fieldsets[0],)

    @admin.display(description="state", ordering="paused_at")
    def state(self, project: Project) -> SafeString:
        return badge("bad", "paused") if project.paused_at else badge("good", "running")

    @admin.display(description="spend")
    def spend(self, project: Project, text: str = "This month") -> SafeString:
        url = reverse("admin:dashboard", args=[project.organization_id])
        return link(f"{url}?project={project.pk}", text)

    @admin.display(description="see also")
    def related(self, project: Project) -> SafeString:
        mine = {"project__id__exact": project.pk}
        links = (
            (self.spend(project, "Spend"),),
            (list_of("jobs_job", "Jobs", **mine),),
            (list_of("jobs_queue", "Queues", **mine),),
            (list_of("jobs_doubt", "Doubts", attempt__job__project__id__exact=project.pk),),
            (list_of("accounts_apikey", "API keys", **mine),),
            (list_of("accounts_projectratelimit", "Rate limits of its own", **mine),),
            (list_of("billing_quota", "Quota", q=project.pk),),
            (list_of("billing_ledgerentry", "Ledger entries", **mine),),
        )
        return format_html_join(" · ", "{}", links)

    @admin.action(description="Pause: no new call starts (give a reason)", permissions=["change"])
    @transaction.atomic
    def pause(self, request: HttpRequest, queryset: QuerySet[Project]) -> None:
        reason = request.POST.get("reason", "").strip()[:300]
        if not reason:
            self.message_user(request, "Nothing was paused: say why in the field beside the action.", messages.ERROR)
            return
        chosen = list(queryset.filter(paused_at__isnull=True).order_by("pk").select_for_update(of=("self",)))
        now = timezone.now()
        Project.objects.filter(pk__in=[project.pk for project in chosen]).update(paused_at=now, paused_reason=reason)
        after = {"paused_at": now, "paused_reason": reason}
        self.audit(request, chosen, before={"paused_at": None}, after=after, reason=reason)
        self._report(request, chosen, queryset.count(), f"Paused: {reason}", "paused")

    @admin.action(description="Unpause: calls may start again", permissions=["change"])
    @transaction.atomic
    def unpause(self, request: HttpRequest, queryset: QuerySet[Project]) -> None:
        chosen = list(queryset.filter(paused_at__isnull=False).order_by("pk").select_for_update(of=("self",)))
        Project.objects.filter(pk__in=[project.pk for project in chosen]).update(paused_at=None, paused_reason="")
        for project in audit.in_order(chosen):
            before = {name: getattr(project, name) for name in ("paused_at", "paused_reason")}
            self.audit(request, [project], before=before, after={"paused_at": None})
        self._report(request, chosen, queryset.count(), "Unpaused.", "unpaused")

    def _report(self, request: HttpRequest, changed: list[Project], chosen: int, note: str, done: str) -> None:
        """Writes the change into each project's history, and says what happened."""
        for project in changed:
            self.log_change(request, project, note)
        untouched = f"; {chosen - len(changed)} already were" if chosen > len(changed) else ""
        level = messages.SUCCESS if changed else messages.WARNING
        self.message_user(request, f"{len(changed)} {done}{untouched}.", level)
