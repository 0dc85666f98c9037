"""The page "What if": what an organization's calls would have cost at other prices, beside what they did cost."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from accounts import audit
from accounts.access import Capability
from accounts.admin.scope import organizations_seen
from accounts.models import AuditAction, Organization, Project
from billing.admin.money import dollars
from billing.clock import database_now
from billing.csv_files import attached
from billing.models import Price, ServiceTier
from billing.periods import month_of
from billing.price_files import MAX_BYTES, PriceFileFaulty, PriceRow, read
from billing.rerating import Line, Report, Scenario, rerate
from billing.rerating_tables import as_csv

SHOWN_FAULTS = 20
# Who may ask what an organization's calls would have cost.
RECORDS = ("billing.view_usagerecord", Capability.SEE_SPEND)
DAY = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")


def _models() -> list[tuple[str, str]]:
    names = Price.objects.order_by("model").values_list("model", flat=True).distinct()
    return [(name, name) for name in names]


class WhatIfForm(forms.Form):
    """Which calls, and how they are priced instead. After a file was taken its text comes along in `file_text`."""

    project = forms.ModelChoiceField(Project.objects.none(), required=False, empty_label="All projects")
    start = forms.DateField(label="From", widget=DAY)
    end = forms.DateField(label="To, exclusive", widget=DAY, help_text="The day after the last, UTC.")
    prices_of = forms.DateField(
        label="At the prices of",
        required=False,
        widget=DAY,
        help_text="A day. Empty: that of the organization’s terms, else each call’s own.",
    )
    service_tier = forms.ChoiceField(
        label="In the service tier", required=False, choices=[("", "Each call’s own"), *ServiceTier.choices]
    )
    model = forms.ChoiceField(label="The tokens of", required=False, choices=lambda: [("", "Every model"), *_models()])
    as_model = forms.ChoiceField(
        label="Priced as", required=False, choices=lambda: [("", "Each call’s own model"), *_models()]
    )
    price_file = forms.FileField(
        label="With the prices of a file", required=False, help_text="CSV or JSON. They go before the stored ones."
    )
    file_text = forms.CharField(required=False, widget=forms.HiddenInput, strip=False)
    file_name = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, organization: Organization, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        projects: Any = self.fields["project"]
        projects.queryset = organization.projects.order_by("name")

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        start, end = cleaned.get("start"), cleaned.get("end")
        if start and end and start >= end:
            self.add_error("end", "This day is exclusive and comes after the first one.")
        if cleaned.get("model") and not cleaned.get("as_model"):
            self.add_error("as_model", "Choose the model whose prices to take.")
        rows = self._price_rows(cleaned)
        other = {cleaned.get("model") or "": cleaned["as_model"]} if cleaned.get("as_model") else {}
        scenario = Scenario(cleaned.get("prices_of"), cleaned.get("service_tier") or "", other, rows)
        if scenario.is_empty and not self.errors:
            self.add_error(None, "Say what is different: another day’s prices, a service tier, a model or a file.")
        return {**cleaned, "scenario": scenario}

    def _price_rows(self, cleaned: dict[str, Any]) -> list[PriceRow]:
        upload = cleaned.get("price_file")
        content: bytes = upload.read(MAX_BYTES + 1) if upload else (cleaned.get("file_text") or "").encode()
        if not content:
            return []
        try:
            rows = read(content)
        except PriceFileFaulty as error:
            told = [str(fault) for fault in error.faults[:SHOWN_FAULTS]]
            more = len(error.faults) - len(told)
            self.add_error("price_file", [*told, *([f"and {more} more"] if more else [])])
            return []
        if upload:
            self._keep(content.decode("utf-8-sig"), upload.name)
        return rows

    def _keep(self, text: str, name: str) -> None:
        """A browser sends no file twice: its text goes along with the form."""
        assert isinstance(self.data, QueryDict)
        data = self.data.copy()
        data[self.add_prefix("file_text")], data[self.add_prefix("file_name")] = text, name[:100]
        self.data = data


class WhatIfPage:
    """A model's admin with the page "What if". Whoever may look at usage records may ask."""

    admin_site: admin.AdminSite
    opts: Any
    media: Any

    def page_urls(self) -> list[URLPattern]:
        return [path("billing/what-if/", self.admin_site.admin_view(self.what_if_page), name="billing_what_if")]

    def page_links(self, request: HttpRequest) -> list[dict[str, Any]]:
        if not self.may_ask_what_if(request):
            return []
        return [
            {
                "model": None,
                "name": "What if",
                "object_name": "WhatIf",
                "perms": {"add": False, "change": False, "delete": False, "view": True},
                "admin_url": reverse("admin:billing_what_if"),
                "add_url": None,
                "view_only": True,
            }
        ]

    def may_ask_what_if(self, request: HttpRequest) -> bool:
        return request.user.has_perm(RECORDS[0]) or organizations_seen(request, *RECORDS).exists()

    def what_if_page(self, request: HttpRequest) -> HttpResponse:
        """Asks for the organization, then for the rest; then the report, or with `download` as CSV."""
        if not self.may_ask_what_if(request):
            raise PermissionDenied
        asked = request.POST.get("organization") or request.GET.get("organization", "")
        if not asked:
            organizations = organizations_seen(request, *RECORDS).order_by("name")
            return self._what_if(request, "What if", {"organizations": organizations})
        organization = _organization(request, asked)
        if request.method != "POST":
            form = WhatIfForm(organization, initial=_initial(request))
            return self._what_if(request, f"What if: {organization}", {"organization": organization, "form": form})
        form = WhatIfForm(organization, request.POST, request.FILES)
        report = None
        if form.is_valid():
            given = form.cleaned_data
            report = rerate(organization, given["project"], given["start"], given["end"], given["scenario"])
            if "download" in request.POST:
                self._record_export(request, report)
                return _csv(report)
        shown = {"organization": organization, "form": form, "report": report, **(_shown(report) if report else {})}
        return self._what_if(request, f"What if: {organization}", shown)

    @staticmethod
    def _record_export(request: HttpRequest, report: Report) -> None:
        audit.record(
            AuditAction.EXPORTED,
            "what_if",
            report.organization.pk,
            by=audit.who(request),
            organization_id=report.organization.pk,
            name=f"What if: {report.organization}",
            after={"start": report.start, "end": report.end, "rows": len(report.lines)},
        )

    def _what_if(self, request: HttpRequest, title: str, shown: dict[str, Any]) -> HttpResponse:
        common = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, "media": self.media}
        return TemplateResponse(request, "admin/billing/what_if.html", {**common, **shown})


def _organization(request: HttpRequest, text: str) -> Organization:
    try:
        return get_object_or_404(organizations_seen(request, *RECORDS), pk=UUID(text))
    except ValueError as error:
        raise Http404("This is no organization's id.") from error


def _initial(request: HttpRequest) -> dict[str, Any]:
    """The open month, and what a link to the page says otherwise."""
    month = month_of(database_now())
    initial: dict[str, Any] = {"start": month.start.date(), "end": month.end.date()}
    return {**initial, **{name: request.GET[name] for name in ("project", "start", "end") if request.GET.get(name)}}


def _csv(report: Report) -> HttpResponse:
    last = report.end - timedelta(days=1)
    name = f"what-if-{report.organization.slug}-{report.start}-{last}.csv"
    return attached(as_csv(report), name)


# --- The report as the template writes it -----------------------------------------------------------------------------
def _shown(report: Report) -> dict[str, Any]:
    amounts = [line.amounts.actual_usd for line in report.lines]
    dearest = max([*amounts, *(line.what_if_usd or Decimal(0) for line in report.lines)], default=Decimal(0))
    not_compared = {"what_if": "not known", "difference": "–", "percent": "–"}
    return {
        "lines": [{**_cells(line), "bars": _bars(line, dearest)} for line in report.lines],
        "total": _cells(report.total),
        "unknown_total": {**_cells(report.unknown_total), **not_compared} if report.unknown else None,
        "last_day": report.end - timedelta(days=1),
    }


def _cells(line: Line) -> dict[str, Any]:
    amounts = line.amounts
    what_if, difference = line.what_if_usd, line.difference_usd
    return {
        "model": line.model,
        "priced_as": line.priced_as if line.priced_as != line.model else "",
        "service_tier": line.service_tier,
        "calls": f"{amounts.calls:,}",
        "input": f"{amounts.input_tokens:,}",
        "cached_input": f"{amounts.cached_input_tokens:,}",
        "output": f"{amounts.output_tokens:,}",
        "reasoning": f"{amounts.reasoning_tokens:,}",
        "actual": dollars(amounts.actual_usd),
        "what_if": "not known" if what_if is None else dollars(what_if),
        "difference": "–" if difference is None else _signed(difference),
        "percent": "–" if line.percent is None else f"{line.percent:+} %",
        "prices": [str(price) for price in line.prices],
        "unknown": line.unknown,
    }


def _signed(amount: Decimal) -> str:
    return f"+{dollars(amount)}" if amount > 0 else dollars(amount)


def _bars(line: Line, dearest: Decimal) -> list[str]:
    """How long the two bars are, in per cent of the dearest one."""
    amounts = (line.amounts.actual_usd, line.what_if_usd or Decimal(0))
    return [f"{amount * 100 / dearest:.2f}" if dearest else "0" for amount in amounts]
