"""A problem in the provider's own envelope, for clients that were written for the provider (`/v1`)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.http import HttpResponse, JsonResponse

from jobs.front_door.endings import INVALID, NO_RETRY, QUOTA, SERVER_ERROR, SPENT_CODES

if TYPE_CHECKING:
    from config.errors import Problem

# What says that a limit of money is in the way. Waiting does not help, so that no client is to try again by itself.
SPENT = frozenset({"exceeds_limit", "budget_exceeded", "project_paused", "provider_quota"})


def answer(problem: "Problem") -> HttpResponse:
    """The problem as the provider would answer it: `error` with message, type, param and code, all four always there.

    A limit of money is 429 with the type `insufficient_quota` and `x-should-retry: false`.
    """
    status, kind, code = _said(problem)
    body = {"message": problem.detail, "type": kind, "param": _param(problem), "code": code}
    headers = dict(problem.headers)
    if kind == QUOTA:
        headers.update(NO_RETRY)
    # Indented as the provider's errors are (recorded answers, 2024 and 2025).
    return JsonResponse({"error": body}, status=status, headers=headers, json_dumps_params={"indent": 2})


def _said(problem: "Problem") -> tuple[int, str, str | None]:
    """HTTP status, type and code."""
    if problem.code in SPENT:
        budget: Mapping[str, Any] = problem.details.get("budget") or {}
        return 429, QUOTA, SPENT_CODES.get(str(budget.get("scope")), QUOTA)
    match problem.status:
        case 402:
            return 400, INVALID, problem.code
        case 429:
            return 429, "requests", "rate_limit_exceeded"
        case status if status >= 500:
            return status, SERVER_ERROR, problem.code
        case status:
            return status, INVALID, problem.provider_code


def _param(problem: "Problem") -> str | None:
    """The first field that is wrong, as the provider names it: messages[0].role."""
    if problem.param is not None or not problem.errors:
        return problem.param
    first = problem.errors[0]
    if "pointer" not in first:
        return first.get("parameter") or first.get("header")
    name = ""
    for part in first["pointer"].removeprefix("#").split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        name += f"[{part}]" if part.isdigit() else f".{part}" if name else part
    return name or None
