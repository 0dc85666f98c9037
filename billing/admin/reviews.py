"""The review of a month's spend: each line with what was said about it, to be approved or questioned."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from accounts import audit
from accounts.access import Capability
from accounts.admin.base import Place, ReadOnlyAdmin, ReadOnlyInline
from accounts.models import Organization
from billing import reviews
from billing.admin.money import dollars, usd_column
from billing.admin.months import Month
from billing.admin.statements import asked_month, organization_in_reach
from billing.errors import ReviewRefused
from billing.models import ClosedMonth, ReviewAct, ReviewedLine, ReviewNote, ReviewState
from billing.money import usd
from billing.reviews import Line, Rights

BADGES = {
    ReviewState.OPEN: "quiet",
    ReviewState.QUESTIONED: "bad",
    ReviewState.ANSWERED: "doubt",
    ReviewState.APPROVED: "good",
}
# What the buttons of a line say; the order is that of the page.
BUTTONS = {
    ReviewAct.APPROVED: "Approve",
    ReviewAct.QUESTIONED: "Question",
    ReviewAct.ANSWERED: "Answer",
    ReviewAct.COMMENTED: "Comment",
}


class ReviewNoteInline(ReadOnlyInline):
    model = ReviewNote
    fields = ("at", "act", "author", "amount_usd", "text")


@admin.register(ReviewedLine)
class ReviewedLineAdmin(ReadOnlyAdmin):
    """The lines that were reviewed, and the page on which that is done."""

    place = Place(projects=("project",))
    sees = Capability.SEE_SPEND
    list_display = ("month", "organization", "project", "model", "state", usd_column("approved_usd", "approved"))
    list_filter = ("state", "month", "organization")
    list_select_related = ("organization", "project")
    search_fields = ("organization__name", "project__name", "model")
    id_fields = ("pk", "organization_id", "project_id")
    ordering = ("-month", "organization__name", "project__name", "model")
    inlines = (ReviewNoteInline,)

    def page_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self.review_page)
        return [path("billing/spend/<uuid:organization_id>/review/", page, name="billing_review")]

    def page_links(self, request: HttpRequest) -> list[dict[str, Any]]:
        return []  # beside the statements, which have a link

    def review_page(self, request: HttpRequest, organization_id: UUID) -> HttpResponse:
        """A month's lines; what is POSTed is done to one of them, or approves all that remain."""
        organization, reach = organization_in_reach(request, organization_id)
        month = asked_month(request)
        user: Any = request.user
        rights = reviews.rights_of(user, organization.pk)
        project = _uuid(request.GET.get("project", ""))
        lines = reviews.lines_of(organization, month.window, reach)
        chosen = [line for line in lines if project in {None, line.place.project_id}]
        if request.method == "POST":
            self._act(request, organization, month, chosen, reach=reach, rights=rights)
            return HttpResponseRedirect(f"{request.path}?{request.GET.urlencode()}")
        shown = {
            "organization": organization,
            "month": month,
            "closed": ClosedMonth.objects.filter(organization=organization, starts_at=month.window.start).first(),
            "is_whole": reach.projects is None,
            "project": project,
            "projects": list(dict.fromkeys((line.place.project_id, line.project) for line in lines)),
            **_shown(chosen, rights, only_open=request.GET.get("show") == "open", query=request.GET.dict()),
        }
        common = {**self.admin_site.each_context(request), "title": f"Review of {organization}, {month.label}"}
        context = {**common, "opts": self.opts, "media": self.media, **shown}
        return TemplateResponse(request, "admin/billing/review.html", context)

    def _act(
        self, request: HttpRequest, organization: Organization, month: Month, lines: Sequence[Line], **may: Any
    ) -> None:
        """Does what the form says, and says what came of it. Raises PermissionDenied where nothing may be done."""
        rights: Rights = may["rights"]
        user: Any = request.user
        try:
            what = ReviewAct(request.POST.get("act", ""))
            if "all" in request.POST:
                places, seen = _remaining_seen(request, lines, rights)
                what = ReviewAct.APPROVED
            else:
                place = _place(request)
                places, seen = [place], {place: Decimal(request.POST.get("amount", ""))}
        except (ValueError, InvalidOperation):
            self.message_user(request, "Nothing was done: the form was not whole.", messages.ERROR)
            return
        except ReviewRefused as error:
            self.message_user(request, f"Nothing was done: {error.message}", messages.ERROR)
            return
        if not places or not all(rights.allows(what, place.project_id) for place in places):
            raise PermissionDenied
        text = request.POST.get("text", "").replace("\x00", "").strip()
        try:
            by = audit.who(request)
            count = reviews.act(
                organization, month.window, places, what, author=user, by=by, text=text, seen_usd=seen, **may
            )
        except ReviewRefused as error:
            self.message_user(request, f"Nothing was done: {error.message}", messages.ERROR)
            return
        lines_of = "1 line" if count == 1 else f"{count} lines"
        self.message_user(request, f"{lines_of} {what.label.lower()}.", messages.SUCCESS)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _place(request: HttpRequest) -> reviews.Place:
    """The line that a form is about. Raises ValueError where it names none."""
    member = request.POST.get("member", "")
    project = UUID(request.POST.get("project", ""))
    return reviews.Place(project, request.POST.get("model", ""), int(member) if member else None)


def _remaining(lines: Sequence[Line], rights: Rights) -> list[Line]:
    """What "approve all" approves: all that is not done, but what was questioned and not answered."""
    approve = ReviewAct.APPROVED
    return [
        line
        for line in lines
        if not line.is_done and not line.awaits_an_answer and rights.allows(approve, line.place.project_id)
    ]


def _remaining_seen(
    request: HttpRequest, lines: Sequence[Line], rights: Rights
) -> tuple[list[reviews.Place], dict[reviews.Place, Decimal]]:
    """The remaining lines, if they still come to what the author saw on the page. Raises ReviewRefused if not."""
    found = _remaining(lines, rights)
    amount = sum((line.amount_usd for line in found), Decimal(0))
    if (request.POST.get("count"), request.POST.get("amount")) != (str(len(found)), usd(amount)):
        raise ReviewRefused("The remaining lines are others, or come to something else by now. Look at them again.")
    return [line.place for line in found], {line.place: line.amount_usd for line in found}


def _shown(lines: Sequence[Line], rights: Rights, *, only_open: bool, query: dict[str, str]) -> dict[str, Any]:
    """The lines by project, and the figures above them, as the template writes them."""
    remaining = _remaining(lines, rights)
    done = [line for line in lines if line.is_done]
    by_project: dict[UUID, list[Line]] = {}
    for line in lines:
        by_project.setdefault(line.place.project_id, []).append(line)
    groups = [
        {
            "name": own[0].project,
            "total": dollars(_sum(own)),
            "done": sum(line.is_done for line in own),
            "count": len(own),
            "rows": [_cells(line, rights) for line in own if not (only_open and line.is_done)],
        }
        for own in by_project.values()
    ]
    return {
        "groups": [group for group in groups if group["rows"]],
        "count": len(lines),
        "done": len(done),
        "total": dollars(_sum(lines)),
        "done_usd": dollars(_sum(done)),
        "questioned": sum(line.awaits_an_answer for line in lines),
        "percent": f"{100 * len(done) / len(lines):.0f}" if lines else "0",
        "remaining": {"count": len(remaining), "amount": usd(_sum(remaining)), "shown": dollars(_sum(remaining))},
        "only_open": only_open,
        "toggle": urlencode(
            {**{k: v for k, v in query.items() if k != "show"}, **({} if only_open else {"show": "open"})}
        ),
        "query": urlencode(query),
    }


def _sum(lines: Sequence[Line]) -> Decimal:
    return sum((line.amount_usd for line in lines), Decimal(0))


def _cells(line: Line, rights: Rights) -> dict[str, Any]:
    """One line of the table, with the buttons that this person has for it."""
    acts = [
        act for act in BUTTONS if rights.allows(act, line.place.project_id) and line.state in reviews.COMES_FROM[act]
    ]
    approved = line.reviewed.approved_usd if line.reviewed else None
    return {
        "line": line,
        "model": line.place.model or "Adjustments",
        "member": line.member or ("–" if line.place.member_id is None else f"member {line.place.member_id}"),
        "calls": f"{line.calls:,}",
        "tokens": f"{line.tokens:,}",
        "amount": dollars(line.amount_usd),
        "seen": usd(line.amount_usd),
        "badge": BADGES[line.state],
        "changed_from": dollars(approved) if line.has_changed and approved is not None else "",
        "notes": [(note, dollars(note.amount_usd)) for note in line.notes],
        "acts": [(act.value, BUTTONS[act]) for act in acts if act is not ReviewAct.APPROVED or not line.is_done],
    }
