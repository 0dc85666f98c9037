"""Books with what their last verification said, the page that has one made, and every verification that was."""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from accounts import audit
from accounts.admin.base import Act, Capability, Place, ReadOnlyAdmin, badge, link, list_of
from accounts.models import Organization
from billing import verifications
from billing.models import Book, Origin, Verification

OUTCOME_BADGES = {
    "agrees": "good",
    "differs": "bad",
    "broken off": "bad",
    "under way": "busy",
    "waiting": "busy",
}
SHOWN = 20


def outcome_badge(verification: Verification) -> SafeString:
    return badge(OUTCOME_BADGES[verification.outcome], verification.outcome)


@admin.register(Book)
class BookAdmin(ReadOnlyAdmin):
    """Shown only; beside it, whoever may has a book verified, and what is derived from it made anew."""

    place = Place(organization="organization")
    sees = Capability.SEE_SPEND
    acts = {
        "verify": Act("billing.verify_book", Capability.REVIEW_SPEND),
        "repair": Act("billing.repair_book", None),
    }

    list_display = ("organization", "lines", "seal", "last_verification", "verify_button")
    list_select_related = ("organization",)
    search_fields = ("organization__name", "organization__slug", "head_seal")
    id_fields = ("organization_id",)
    ordering = ("organization__name",)
    fields = ("organization", "lines", "seal", "last_verification", "entries")
    actions = ("verify_chosen",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Book]:
        last = Verification.objects.order_by("organization_id", "-asked_at", "-id").distinct("organization_id")
        found: QuerySet[Book] = super().get_queryset(request)
        return found.prefetch_related(Prefetch("organization__verifications", last, to_attr="last_ones"))

    def get_list_display(self, request: HttpRequest) -> Any:
        names = super().get_list_display(request)
        return names if self.has_verify_permission(request) else [name for name in names if name != "verify_button"]

    def has_verify_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "verify")

    def has_repair_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "repair")

    @admin.display(description="lines", ordering="head_sequence")
    def lines(self, book: Book) -> str:
        return f"{book.head_sequence:,}"

    @admin.display(description="seal of the last line")
    def seal(self, book: Book) -> SafeString:
        return format_html("<code>{}</code>", book.head_seal)

    @admin.display(description="last verification")
    def last_verification(self, book: Any) -> SafeString:
        page = reverse("admin:billing_book_verification", args=[book.pk])
        if not book.organization.last_ones:
            return link(page, "never")
        (last,) = book.organization.last_ones
        return format_html(
            '{} <span class="nowrap">{}</span>', outcome_badge(last), link(page, f"{last.asked_at:%Y-%m-%d %H:%M}")
        )

    @admin.display(description="verify")
    def verify_button(self, book: Book) -> SafeString:
        # Its row lies in the form of the list, which brings the token against forgery.
        return format_html(
            '<button type="submit" class="button" formaction="{}">Verify</button>',
            reverse("admin:billing_book_verify", args=[book.pk]),
        )

    @admin.display(description="see also")
    def entries(self, book: Book) -> SafeString:
        return list_of("billing_ledgerentry", "Its lines", organization__id__exact=book.organization_id)

    @admin.action(description="Verify the chosen books", permissions=["verify"])
    def verify_chosen(self, request: HttpRequest, queryset: QuerySet[Book]) -> None:
        asked = [self._ask(request, book.organization) for book in queryset.select_related("organization")]
        if all(asked):
            self.message_user(request, f"{len(asked)} to be verified; this list says what came out.", messages.SUCCESS)

    def page_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path(
                "billing/book/<uuid:organization_id>/verification/",
                wrap(self.verification_page),
                name="billing_book_verification",
            ),
            path(
                "billing/book/<uuid:organization_id>/verify/",
                wrap(require_POST(self.verify)),
                name="billing_book_verify",
            ),
            path("billing/book/<uuid:organization_id>/repair/", wrap(self.repair), name="billing_book_repair"),
        ]

    def page_links(self, request: HttpRequest) -> list[dict[str, Any]]:
        """None: each is a book's, and reached from it."""
        return []

    def verification_page(self, request: HttpRequest, organization_id: UUID) -> HttpResponse:
        """The last outcome check by check, and those before it; looks again by itself while one is under way."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        book = self._book_of(request, "view", organization_id)
        past = list(book.organization.verifications.select_related("actor")[:SHOWN])
        done = next((one for one in past if one.verified_at), None)
        shown = {
            "last": past[0] if past else None,
            "is_under_way": bool(past) and past[0].outcome in {"waiting", "under way"},
            "done": done,
            "checks": _by_check(done) if done else [],
            "lines_since": book.head_sequence - (done.lines or 0) if done else 0,
            "past": [(one, outcome_badge(one)) for one in past],
            "may_verify": self.may(request, "verify", book),
            "may_repair": self.may(request, "repair", book),
        }
        return self._page(request, "verification.html", f"Verification of the book of {book.organization}", book, shown)

    def verify(self, request: HttpRequest, organization_id: UUID) -> HttpResponse:
        if not self.has_verify_permission(request):
            raise PermissionDenied
        self._ask(request, self._book_of(request, "verify", organization_id).organization)
        return HttpResponseRedirect(reverse("admin:billing_book_verification", args=[organization_id]))

    def repair(self, request: HttpRequest, organization_id: UUID) -> HttpResponse:
        """Asks whether it is meant, and does it on POST."""
        if not self.has_repair_permission(request):
            raise PermissionDenied
        book = self._book_of(request, "repair", organization_id)
        if request.method != "POST":
            return self._page(request, "repair.html", f"Repair derived rows of {book.organization}?", book, {})
        if self._ask(request, book.organization, is_repair=True):
            self.log_change(request, book, "Had rollups and budgets made anew.")
        return HttpResponseRedirect(reverse("admin:billing_book_verification", args=[organization_id]))

    def _book_of(self, request: HttpRequest, act: str, organization_id: UUID) -> Book:
        """Raises Http404 where there is none with which the person may do this."""
        found: Book = get_object_or_404(self.allowed(request, act).select_related("organization"), pk=organization_id)
        return found

    def _ask(self, request: HttpRequest, organization: Organization, *, is_repair: bool = False) -> bool:
        """Has a worker do it: a long book takes longer than a page may. Whether one was told."""
        user: Any = request.user
        asked = verifications.ask(organization, Origin.PAGE, actor=user, is_repair=is_repair, by=audit.who(request))
        handed_over = verifications.hand_over(asked)
        if not handed_over:
            self.message_user(request, f"{organization}: {asked.failure}", messages.ERROR)
        return handed_over

    def _page(self, request: HttpRequest, template: str, title: str, book: Book, shown: dict[str, Any]) -> HttpResponse:
        common = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "media": self.media,
            "book": book,
        }
        return TemplateResponse(request, f"admin/billing/{template}", {**common, **shown})


def _by_check(verification: Verification) -> list[tuple[str, dict[str, Any] | None]]:
    """Each check that was made, and the first difference that it found."""
    differences = {difference["check"]: difference for difference in verification.differences}
    names = [*verification.checks, *(name for name in differences if name not in verification.checks)]
    return [(name, differences.get(name)) for name in names]


@admin.register(Verification)
class VerificationAdmin(ReadOnlyAdmin):
    place = Place(organization="organization")
    sees = Capability.SEE_SPEND
    list_display = ("asked_at", "organization", "outcome", "asked_by", "is_repair", "took", "lines", "head_seal")
    list_filter = ("origin", "is_repair", "organization")
    list_select_related = ("organization", "actor")
    search_fields = ("organization__name", "organization__slug", "actor__email", "head_seal")
    id_fields = ("pk", "organization_id")
    date_hierarchy = "asked_at"
    ordering = ("-asked_at", "-id")
    fields = (*list_display, "began_at", "verified_at", "found", "failure")

    @admin.display(description="outcome")
    def outcome(self, verification: Verification) -> SafeString:
        return outcome_badge(verification)

    @admin.display(description="asked by")
    def asked_by(self, verification: Verification) -> str:
        return verification.asked_by

    @admin.display(description="took")
    def took(self, verification: Verification) -> str:
        return verification.took

    @admin.display(description="differences")
    def found(self, verification: Verification) -> str:
        return (
            "; ".join(f"{one['check']}, {one['place']}: {one['detail']}" for one in verification.differences) or "none"
        )
