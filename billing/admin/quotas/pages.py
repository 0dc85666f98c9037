"""The pages, and the list of requests as rows. Each page asks who looks; what one may not see answers 404."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count, Q
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from accounts import access
from accounts.access import Capability
from accounts.admin.base import ReadOnlyAdmin
from accounts.audit import who
from accounts.errors import DomainError
from accounts.models import ApiKey, Membership, Organization, User
from billing.admin.money import amount_column, dollars, in_words, share
from billing.admin.quotas.forms import AskForm, DecisionForm, LimitForm, NewQuotaForm
from billing.admin.quotas.tree import SORTS, cells_of, tree_of
from billing.clock import database_now
from billing.limits import BudgetState
from billing.models import Measure, Quota, QuotaRequest, RequestStatus, Scope, WindowKind
from billing.outlook.histories import outlooks
from billing.quotas import asking, changes, rights
from billing.quotas.preview import Preview, last_month, preview
from billing.quotas.standing import states
from billing.reserves import experience

OUTCOMES = {
    "never": "refused when submitted",
    "next_window": "waits for the next window",
    "soon": "waits for calls in flight",
}


@admin.register(QuotaRequest)
class QuotaRequestAdmin(ReadOnlyAdmin):
    """Requests as rows, and the pages on which people work with quotas."""

    list_display = (
        "quota",
        "organization",
        "status",
        amount_column("amount", "asked for", measure_of=lambda row: row.quota.measure),
        "until",
        "asked_by",
        "asked_at",
        amount_column("granted_amount", "granted", measure_of=lambda row: row.quota.measure),
        "granted_until",
        "decided_by",
    )
    list_filter = ("status", "organization")
    list_select_related = (
        *("organization", "asked_by", "decided_by", "quota__organization", "quota__team"),
        *("quota__project", "quota__member", "quota__api_key"),
    )
    search_fields = ("organization__name", "reason", "asked_by__email")
    id_fields = ("pk", "quota_id", "organization_id")
    ordering = ("-id",)

    def page_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        of = "billing/quotas/<uuid:organization_id>/"
        return [
            path("billing/quotas/", wrap(self.index_page), name="billing_quotas"),
            path(of, wrap(self.tree_page), name="billing_quotas_organization"),
            path(f"{of}new/", wrap(self.new_page), name="billing_quota_new"),
            path(f"{of}requests/", wrap(self.requests_page), name="billing_quota_requests"),
            path(f"{of}<uuid:quota_id>/", wrap(self.quota_page), name="billing_quota_page"),
        ]

    def page_links(self, request: HttpRequest) -> list[dict[str, Any]]:
        if not organizations_of(request).exists():
            return []
        return [
            {
                "model": None,
                "name": "Quotas by organization",
                "object_name": "Quotas",
                "perms": {"add": False, "change": False, "delete": False, "view": True},
                "admin_url": reverse("admin:billing_quotas"),
                "add_url": None,
                "view_only": True,
            }
        ]

    def index_page(self, request: HttpRequest) -> HttpResponse:
        """The organizations, with how many requests wait for this person."""
        undecided = Q(
            quota_requests__status=RequestStatus.PENDING,
            quota_requests__in=rights.visible_requests(_person(request)).values("pk"),
        )
        found = organizations_of(request).annotate(pending=Count("quota_requests", filter=undecided)).order_by("name")
        rows = list(found[:500])
        if len(rows) == 1:
            return HttpResponseRedirect(reverse("admin:billing_quotas_organization", args=[rows[0].pk]))
        return self._page(request, "quotas_index.html", "Quotas", {"organizations": rows})

    def tree_page(self, request: HttpRequest, organization_id: UUID) -> HttpResponse:
        """The quotas of an organization."""
        organization = _organization(request, organization_id)
        asked = request.GET.get("sort", "")
        sort = asked if asked in SORTS else "name"
        rows = tree_of(organization, _person(request), database_now(), sort)
        shown = {"organization": organization, "rows": rows, "sort": sort, "sorts": SORTS}
        return self._page(request, "quotas_tree.html", f"Quotas of {organization}", shown)

    def new_page(self, request: HttpRequest, organization_id: UUID) -> HttpResponse:
        """A new quota for the owner that the address names."""
        organization = _organization(request, organization_id)
        quota = _blank(request, organization)
        if not rights.may_manage(_person(request), quota):
            raise PermissionDenied
        form = NewQuotaForm(request.POST or None, may_be_reserve=quota.scope == Scope.ORGANIZATION)
        tried = Tried()
        if request.method == "POST" and form.is_valid():
            for name, value in form.cleaned_data.items():
                setattr(quota, name, value)
            tried = _try(request, quota, quota.limit)
            if tried.may_be_saved and _act(form, lambda: changes.create(quota, by=who(request))):
                messages.success(request, f"{quota} binds from now on.")
                return HttpResponseRedirect(reverse("admin:billing_quotas_organization", args=[organization.pk]))
        shown = {"organization": organization, "quota": quota, "form": form, **tried.shown}
        return self._page(request, "quota_new.html", f"New quota for {quota.owner_name}", shown)

    def quota_page(self, request: HttpRequest, organization_id: UUID, quota_id: UUID) -> HttpResponse:
        """One quota: how full it stands, its limit to change or end, and to ask for more."""
        organization, person = _organization(request, organization_id), _person(request)
        visible = rights.visible(person).select_related("organization", "team", "project", "member", "api_key__project")
        quota = get_object_or_404(visible, pk=quota_id, organization=organization)
        may_manage, may_ask = rights.may_manage(person, quota), rights.may_ask(person, organization.pk)
        initial = {
            "limit": f"{quota.limit.normalize():f}",
            "is_hard": quota.is_hard,
            "expires_at": _to_the_minute(quota),
            "risk": quota.stated_risk,
        }
        act = request.POST.get("act", "")
        is_reserve = quota.measure == Measure.RESERVE
        posted = request.POST if act in {"save", "preview"} else None
        form = LimitForm(posted, initial=initial, may_be_reserve=is_reserve)
        ask = AskForm(request.POST if act == "ask" else None)
        tried = Tried()
        if act in {"save", "preview", "end"} and not may_manage:
            raise PermissionDenied
        here = reverse("admin:billing_quota_page", args=[organization.pk, quota.pk])
        if act == "end" and _act(form, lambda: changes.remove(quota, by=who(request))):
            messages.success(request, f"{quota} has ended.")
            return HttpResponseRedirect(reverse("admin:billing_quotas_organization", args=[organization.pk]))
        if act in {"save", "preview"} and form.is_valid():
            given = form.cleaned_data
            changed = {name: given[name] for name in form.changed_data}
            is_looser = given["limit"] >= quota.limit and quota.is_hard
            tried = Tried(may_be_saved=True) if act == "save" and is_looser else _try(request, quota, given["limit"])
            if tried.may_be_saved and _act(form, lambda: changes.change(quota, changed, by=who(request))):
                messages.success(request, "Saved. The open window follows at once.")
                return HttpResponseRedirect(here)
        if act == "ask" and ask.is_valid():
            asked = ask.cleaned_data
            if _act(ask, lambda: asking.ask(quota, asked_by=_user(request), by=who(request), **asked)):
                messages.success(request, "Asked. Whoever manages the quota is told, and so are you of the decision.")
                return HttpResponseRedirect(here)
        now = database_now()
        state = states([quota], now).get(quota.pk)
        ahead = outlooks([state], now)[state.limit.key] if state else None
        shown = {
            "organization": organization,
            "quota": quota,
            "cells": cells_of(quota, state, ahead) if state and ahead else None,
            "reserve": _experience(quota, state) if is_reserve and state else "",
            "form": form if may_manage else None,
            "ask": ask if may_ask and state else None,
            "asked": _lines(request, rights.visible_requests(person).filter(quota=quota)[:50]),
            **tried.shown,
        }
        return self._page(request, "quota_page.html", str(quota), shown)

    def requests_page(self, request: HttpRequest, organization_id: UUID) -> HttpResponse:
        """The requests that this person made or may decide about, the pending ones first."""
        organization, person = _organization(request, organization_id), _person(request)
        found = rights.visible_requests(person).filter(organization=organization)
        form = DecisionForm(request.POST or None)
        if request.method == "POST":
            subject = get_object_or_404(
                found.select_related(*asking.WITH_QUOTA, "organization", "asked_by"),
                pk=_uuid(request.POST.get("request")),
            )
            if form.is_valid() and _act(form, lambda: _decide(request, subject, form.cleaned_data)):
                messages.success(request, "Done.")
                return HttpResponseRedirect(request.path)
        pending = found.filter(status=RequestStatus.PENDING).order_by("pk")[:200]
        others = found.exclude(status=RequestStatus.PENDING).order_by("-pk")[:100]
        shown = {
            "organization": organization,
            "pending": _lines(request, pending),
            "others": _lines(request, others),
            "form": form,
            "failed": request.POST.get("request", ""),
        }
        return self._page(request, "quota_requests.html", f"Requests for more, {organization}", shown)

    def _page(self, request: HttpRequest, template: str, title: str, shown: dict[str, Any]) -> HttpResponse:
        common = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, "media": self.media}
        organization = shown.get("organization")
        if organization:
            waiting = rights.visible_requests(_person(request)).filter(
                organization=organization, status=RequestStatus.PENDING
            )
            common["waiting"] = waiting.count()
        return TemplateResponse(request, f"admin/billing/{template}", {**common, **shown})


def organizations_of(request: HttpRequest) -> Any:
    """The organizations whose quotas this person may look at."""
    if rights.is_staff_with(_person(request), rights.VIEW):
        return Organization.objects.all()
    return access.organizations(_person(request))


def _person(request: HttpRequest) -> access.Person:
    return request.user


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User), "the admin lets nobody else in"
    return request.user


def _organization(request: HttpRequest, organization_id: UUID) -> Organization:
    organization: Organization = get_object_or_404(organizations_of(request), pk=organization_id)
    return organization


def _to_the_minute(quota: Quota) -> datetime | None:
    """When a quota ends, as the form shows it, so that what nobody touches is not changed."""
    return quota.expires_at and quota.expires_at.replace(second=0, microsecond=0)


def _experience(quota: Quota, state: BudgetState) -> str:
    """What became of the calls that a reserve took part in, beside the risk that it states."""
    found = experience(quota.organization_id, state.limit.counted)
    if not found.calls:
        return (
            "No call was held with its help in this window yet. It takes quotas in dollars below the organization, and "
            "calls of a kind that a hundred were made of."
        )
    plural = "call was" if found.calls == 1 else "calls were"
    stated = (100 * (quota.risk or Decimal(0))).normalize()
    return (
        f"{found.calls:,} {plural} held at the likely cost in this window and settled; {found.beyond:,} of them "
        f"({share(found.beyond, found.calls)}) came to more, where {stated:f} % is stated. "
        f"The reserve paid {dollars(found.paid_usd)} for that."
    )


def _uuid(text: str | None) -> UUID:
    try:
        return UUID(text or "")
    except ValueError as error:
        raise Http404("This is no id.") from error


def _blank(request: HttpRequest, organization: Organization) -> Quota:
    """The quota of the owner that the address names. Raises Http404 for one that this person does not see."""
    person, scope, owner = _person(request), request.GET.get("scope", ""), request.GET.get("owner", "")
    sees_all = rights.is_staff_with(person, rights.VIEW)
    quota = Quota(organization=organization, scope=scope)
    if scope == Scope.ORGANIZATION:
        return quota
    if scope == Scope.MEMBER:
        sees_members = sees_all or access.may(person, Capability.SEE_SPEND, organization.pk)
        if not sees_members or not owner.isdecimal() or len(owner) > 18:
            raise Http404("This is no member's id.")
        membership = get_object_or_404(Membership, organization=organization, user=int(owner))
        quota.member = membership.user
        return quota
    if scope == Scope.TEAM:
        teams = organization.teams.all() if sees_all else access.teams(person).filter(organization=organization)
        quota.team = get_object_or_404(teams, pk=_uuid(owner))
        return quota
    projects = organization.projects.all() if sees_all else access.projects(person).filter(organization=organization)
    if scope == Scope.PROJECT:
        quota.project = get_object_or_404(projects, pk=_uuid(owner))
        return quota
    if scope == Scope.KEY:
        keys = ApiKey.objects.select_related("project").filter(project__in=projects.values("pk"))
        quota.api_key = get_object_or_404(keys, pk=_uuid(owner))
        return quota
    raise Http404("There is no such level.")


def _act(form: Form, act: Callable[[], object]) -> bool:
    """Whether it was done; what was refused stands in the form."""
    try:
        act()
    except ValidationError as error:
        known = error.message_dict if hasattr(error, "error_dict") else {"": error.messages}
        for name, told in known.items():
            form.add_error(name if name in form.fields else None, told)
    except DomainError as error:
        form.add_error(None, error.message)
    return not form.errors


def _decide(request: HttpRequest, subject: QuotaRequest, given: dict[str, Any]) -> object:
    person, by = _user(request), who(request)
    match request.POST.get("act"):
        case "approve":
            return asking.approve(subject, decider=person, by=by, **given)
        case "refuse":
            return asking.refuse(subject, decider=person, by=by, note=given["note"])
        case "withdraw":
            return asking.withdraw(subject, person=person, by=by)
        case "end":
            return asking.end_raise(subject, person=person, by=by)
    raise Http404("There is nothing like this to do.")


@dataclass(frozen=True, slots=True)
class Tried:
    """What a limit would have refused last month, as the template writes it, and whether it may be saved now."""

    may_be_saved: bool = False
    shown: dict[str, Any] = field(default_factory=dict)


def _try(request: HttpRequest, quota: Quota, limit: Decimal) -> Tried:
    """Replays last month, unless the window is fixed or it takes too long.

    A hard limit that would have refused something is saved once that was seen.
    """
    wants_only_that = request.POST.get("act") == "preview"
    is_hard = request.POST.get("is_hard") == "on"
    if quota.window == WindowKind.FIXED and not wants_only_that:
        return Tried(may_be_saved=True)
    try:
        found = preview(quota, limit, last_month(database_now()))
    except ValidationError as error:
        return Tried(not wants_only_that, {"preview_failed": " ".join(error.messages)})
    except DomainError as error:
        return Tried(not wants_only_that, {"preview_failed": error.message})
    was_seen = request.POST.get("seen") == str(limit)
    may_be_saved = not wants_only_that and (was_seen or not is_hard or not found.refused)
    return Tried(may_be_saved, {**_shown_preview(found), "seen": limit, "must_be_seen": not wants_only_that})


def _shown_preview(found: Preview) -> dict[str, Any]:
    """A preview as the template writes it."""
    calls = [
        {
            "at": f"{call.at:%Y-%m-%d %H:%M:%S}",
            "project": call.project_name,
            "model": call.model,
            "bound": in_words(found.measure, call.bound),
            "over": in_words(found.measure, call.over),
            "outcome": OUTCOMES[call.outcome],
            "attempt": call.attempt,
        }
        for call in found.first
    ]
    month = f"{found.month.start:%Y-%m}"
    return {
        "preview": found,
        "preview_calls": calls,
        "preview_month": month,
        "preview_limit": in_words(found.measure, found.limit),
    }


def _lines(request: HttpRequest, found: Any) -> list[dict[str, Any]]:
    """Requests as the template writes them, with what this person may do about each."""
    person = _person(request)
    rows = list(found.select_related(*asking.WITH_QUOTA, "asked_by", "decided_by"))
    manages = set(rights.manageable(person).filter(pk__in=[row.quota_id for row in rows]).values_list("pk", flat=True))
    owns = bool(rows) and access.may(person, Capability.OWN, rows[0].organization_id)
    now = database_now()
    return [
        {
            "row": row,
            "amount": in_words(row.quota.measure, row.amount),
            "plain_amount": f"{row.amount.normalize():f}",
            "until": f"{row.until:%Y-%m-%d %H:%M}",
            "granted": in_words(row.quota.measure, row.granted_amount) if row.granted_amount else "",
            "granted_until": f"{row.granted_until:%Y-%m-%d %H:%M}" if row.granted_until else "",
            "is_running": bool(row.granted_until and row.granted_until > now),
            "is_own": row.asked_by_id == person.pk,
            "may_decide": row.quota_id in manages and (row.asked_by_id != person.pk or owns),
            "may_end": row.quota_id in manages,
        }
        for row in rows
    ]
