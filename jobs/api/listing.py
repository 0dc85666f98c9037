"""Which jobs `GET /jobs` lists, and page by page: newest first, each page begun where the one before ended."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request

from accounts.api.fields import InstantField
from billing.api.contract import read_query
from jobs.models import Job
from jobs.states import JobStatus
from jobs.waste.categories import Category
from jobs.waste.filtering import wasted_in

PAGE, MAX_PAGE = 20, 100
_METADATA = re.compile(r"metadata\[(?P<key>.+)\]", re.DOTALL)


class JobQuery(serializers.Serializer):
    limit = serializers.IntegerField(default=PAGE, min_value=1, max_value=MAX_PAGE, help_text="Jobs on a page.")
    cursor = serializers.UUIDField(required=False, help_text="From `next`: where the page begins.")
    status = serializers.ListField(
        child=serializers.ChoiceField(choices=JobStatus.choices),
        required=False,
        help_text="Any of these; separated by commas or repeated.",
    )
    model = serializers.CharField(required=False, help_text="As asked: an alias or a snapshot.")
    created_after = InstantField(required=False, help_text="Inclusive. ISO 8601 with an offset.")
    created_before = InstantField(required=False, help_text="Exclusive. ISO 8601 with an offset.")
    waste = serializers.ChoiceField(
        choices=Category.choices, required=False, help_text="Of which some cost is in this category of `GET /waste`."
    )
    waste_month = serializers.RegexField(
        r"^2\d{3}-(0[1-9]|1[0-2])$", required=False, help_text="With `waste`: in this month, as 2026-11."
    )


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs, and the address of the next page; None on the last one."""

    jobs: list[Job]
    next: str | None


def read_page(jobs: "QuerySet[Job]", request: Request) -> Page:
    """The page of these jobs that the request asks for. Raises ValidationError."""
    metadata_names = [name for name in request.query_params if _METADATA.fullmatch(name)]
    query = read_query(request, JobQuery, beside=metadata_names)
    found = _matching(jobs, query, _metadata(request, metadata_names))
    if "cursor" in query:
        found = found.filter(pk__lt=query["cursor"])
    # One more than asked for tells whether there is a next page, without counting them all.
    rows = list(found.order_by("-id")[: query["limit"] + 1])
    page = rows[: query["limit"]]
    return Page(page, _next(request, page[-1]) if len(rows) > len(page) else None)


def _matching(jobs: "QuerySet[Job]", query: dict[str, Any], metadata: dict[str, str]) -> "QuerySet[Job]":
    conditions = {
        "status__in": query.get("status"),
        "model": query.get("model"),
        "queued_at__gte": query.get("created_after"),
        "queued_at__lt": query.get("created_before"),
        "metadata__contains": metadata or None,
    }
    found = jobs.filter(**{name: value for name, value in conditions.items() if value is not None})
    return wasted_in(found, query["waste"], query.get("waste_month", "")) if "waste" in query else found


def _metadata(request: Request, names: list[str]) -> dict[str, str]:
    wanted = {}
    for name in names:
        match, value = _METADATA.fullmatch(name), request.query_params[name]
        assert match is not None
        if "\0" in name + value:
            raise ValidationError(
                {name: [ErrorDetail("Null characters are not allowed.", code="null_characters_not_allowed")]}
            )
        wanted[match["key"]] = value
    return wanted


def _next(request: Request, last: Job) -> str:
    pairs = [(name, value) for name, values in request.query_params.lists() for value in values if name != "cursor"]
    return f"{request.build_absolute_uri(request.path)}?{urlencode([*pairs, ('cursor', last.pk)])}"
