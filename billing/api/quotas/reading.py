"""Which quotas and requests a key sees."""

from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet
from rest_framework import serializers
from rest_framework.exceptions import NotFound

from accounts.api.management import PageQuery
from accounts.models import ApiKey
from billing.api.quotas.representation import quota_as_sent, request_as_sent
from billing.clock import database_now
from billing.models import Quota, QuotaRequest, RequestStatus, Scope
from billing.outlook.histories import outlooks
from billing.quotas import rights
from billing.quotas.standing import states

Row = TypeVar("Row", bound=Model)


class QuotaQuery(PageQuery):
    scope = serializers.ChoiceField(choices=Scope.choices, required=False)
    in_force = serializers.BooleanField(default=True, help_text="Only those that bind now. false: the others, too.")


class QuotaRequestQuery(PageQuery):
    status = serializers.ChoiceField(choices=RequestStatus.choices, required=False)


def quotas_of(api_key: ApiKey) -> QuerySet[Quota]:
    """The quotas that a key sees: those that bind its own calls; a management key those that its maker sees."""
    project = api_key.project
    ours = Quota.objects.filter(organization=project.organization_id).select_related(
        "organization", "team", "project", "member", "api_key"
    )
    if api_key.may_manage:
        return ours.filter(pk__in=rights.visible(api_key.created_by).values("pk"))
    binding = Q(scope=Scope.ORGANIZATION) | Q(project=project) | Q(member=api_key.created_by) | Q(api_key=api_key)
    return ours.filter(binding | Q(team=project.team_id) if project.team_id else binding)


def requests_of(api_key: ApiKey) -> QuerySet[QuotaRequest]:
    """The requests of a key's maker; with the right to manage, those too that the maker may decide about."""
    ours = QuotaRequest.objects.filter(organization=api_key.project.organization_id).select_related(
        *("quota__organization", "quota__team", "quota__project", "quota__member", "quota__api_key__project"),
        *("organization", "asked_by", "decided_by"),
    )
    if not api_key.may_manage:
        return ours.filter(asked_by=api_key.created_by)
    return ours.filter(pk__in=rights.visible_requests(api_key.created_by).values("pk"))


def one_of(rows: QuerySet[Row], pk: UUID) -> Row:
    """One row. Raises NotFound, for one that the key does not see as for one that never was."""
    row = rows.filter(pk=pk).first()
    if row is None:
        raise NotFound(f"There is no {rows.model._meta.verbose_name} with this id.")
    return row


def in_force(quotas: QuerySet[Quota]) -> QuerySet[Quota]:
    now = database_now()
    begun = Q(starts_at=None) | Q(starts_at__lte=now)
    return quotas.filter(begun, Q(expires_at=None) | Q(expires_at__gt=now))


def sent(quotas: list[Quota]) -> list[dict[str, Any]]:
    """Quotas as they are sent, with how full they stand."""
    now = database_now()
    stand = states(quotas, now)
    found = {key[1]: each for key, each in outlooks(stand.values(), now).items()}
    return [quota_as_sent(quota, stand.get(quota.pk), found.get(quota.pk)) for quota in quotas]


def sent_requests(requests: list[QuotaRequest]) -> list[dict[str, Any]]:
    return [request_as_sent(each) for each in requests]
