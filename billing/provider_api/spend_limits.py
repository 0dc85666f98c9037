"""`/v1/organization/spend_limit` and `/v1/organization/projects/{id}/spend_limit`: the hard monthly limit, in cents.

It is a quota like any other: of the organization or of the project, in US dollars, a month, hard, for every model and
without an end. What is changed here is counted, told and audited as everywhere else (`billing.quotas.changes`).
"""

from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction
from django.http import HttpResponse
from rest_framework import serializers
from rest_framework.exceptions import APIException, NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.fields import WholeNumberField
from accounts.api.management import Body, read_body
from accounts.api.once import answer_once, text_of
from accounts.idempotency import Answer
from accounts.models import Project
from accounts.money import usd
from billing import books
from billing.api.quotas.bodies import faults_by_field
from billing.api.quotas.reading import in_force, quotas_of
from billing.clock import database_now
from billing.errors import NotAllowed
from billing.models import Measure, Quota, Scope, WindowKind
from billing.provider_api.base import AdministrationView
from billing.provider_api.projects import project_of
from billing.quotas import changes, rights
from billing.quotas.standing import states

# As many cents as a limit has room for.
MOST_CENTS = 10**14 - 1


class SeveralLimits(APIException):
    status_code = 409
    default_code = "several_spend_limits"
    default_detail = "Several hard monthly limits bind this. Change them one by one, at /api/v1/quotas or in the admin."


class SpendLimitBody(Body):
    """A monthly limit in cents."""

    threshold_amount = WholeNumberField(min_value=0, max_value=MOST_CENTS)
    currency = serializers.ChoiceField(choices=["USD"], default="USD")
    interval = serializers.ChoiceField(choices=["month"], default="month")


class SpendLimitView(AdministrationView):
    """The organization's limit, and below a project the project's."""

    def get(self, request: Request, project_id: UUID | None = None) -> Response:
        """The limit that binds first, where there are several. Raises NotFound where there is none."""
        limits = self._limits(self._project(project_id))
        if not limits:
            raise NotFound("There is no spend limit.")
        return Response(_as_sent(min(limits, key=lambda quota: (quota.limit, quota.pk))))

    def post(self, request: Request, project_id: UUID | None = None) -> HttpResponse:
        """The limit as it is now, set anew or changed. Raises NotAllowed, and SeveralLimits."""
        project = self._managed(project_id)
        amount = Decimal(read_body(request, SpendLimitBody)["threshold_amount"]).scaleb(-2)

        def put() -> dict[str, Any]:
            with transaction.atomic(), faults_by_field():
                # Two who set it at once set one limit, and not two.
                books.lock([self.organization.pk])
                found = self._one(project)
                if found is None:
                    return _as_sent(changes.create(self._quota(project, amount), by=self.by))
                return _as_sent(changes.change(found, {"limit": amount}, by=self.by))

        return answer_once(request, lambda: Answer(200, text_of(put())), below=None)

    def delete(self, request: Request, project_id: UUID | None = None) -> Response:
        """That it is gone; what it counted is kept. Raises NotFound, NotAllowed, and SeveralLimits."""
        project = self._managed(project_id)
        with transaction.atomic():
            books.lock([self.organization.pk])
            found = self._one(project)
            if found is None:
                raise NotFound("There is no spend limit.")
            changes.remove(found, by=self.by)
        return Response({"object": f"{_kind(project)}.spend_limit.deleted", "deleted": True})

    def _project(self, project_id: UUID | None) -> Project | None:
        return None if project_id is None else project_of(self, project_id)

    def _managed(self, project_id: UUID | None) -> Project | None:
        """The project whose limit may be changed by the key's maker, or None. Raises NotAllowed and NotFound."""
        if not rights.may_manage_any(self.person, self.organization.pk):
            raise NotAllowed
        project = self._project(project_id)
        if not rights.may_manage(self.person, self._quota(project, Decimal(0))):
            raise NotAllowed
        return project

    def _quota(self, project: Project | None, amount: Decimal) -> Quota:
        """The limit as a quota that is not stored yet."""
        scope = Scope.ORGANIZATION if project is None else Scope.PROJECT
        return Quota(organization=self.organization, project=project, scope=scope, limit=amount)

    def _limits(self, project: Project | None) -> list[Quota]:
        """The quotas in force that are what the provider calls a spend limit, as far as the key's maker sees them."""
        scope = Scope.ORGANIZATION if project is None else Scope.PROJECT
        found = in_force(quotas_of(self.api_key)).filter(
            scope=scope,
            project=project,
            measure=Measure.USD,
            window=WindowKind.MONTH,
            model="",
            is_hard=True,
            expires_at__isnull=True,
        )
        return list(found.order_by("pk"))

    def _one(self, project: Project | None) -> Quota | None:
        limits = self._limits(project)
        if len(limits) > 1:
            raise SeveralLimits
        return limits[0] if limits else None


def _kind(project: Project | None) -> str:
    return "organization" if project is None else "project"


def _as_sent(quota: Quota) -> dict[str, Any]:
    """The limit in the provider's words. Cents are rounded down, so that they never say more than may be spent."""
    state = states([quota], database_now()).get(quota.pk)
    is_reached = state is not None and not state.remaining
    return {
        "object": f"{_kind(quota.project)}.spend_limit",
        "threshold_amount": int(quota.limit.scaleb(2)),
        "currency": "USD",
        "interval": "month",
        "enforcement": {"status": "enforcing" if is_reached else "inactive"},
        # Beside the provider's own fields: the limit with all of its digits, and what is left of it with its raises.
        "threshold_usd": usd(quota.limit),
        "remaining_usd": usd(quota.limit if state is None else state.remaining),
    }
