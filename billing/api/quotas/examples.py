"""Examples for the documentation of quotas: a team's fifty dollars a month, and a request for twenty more."""

from typing import Any

from drf_spectacular.utils import OpenApiExample

QUOTA_ID, TEAM_ID = "01924290-1b2c-7d3e-8f40-5a6b7c8d9e0f", "0192428f-0a1b-7c2d-9e3f-4a5b6c7d8e9f"
OWNER: dict[str, Any] = {
    "scope": "team",
    "owner": {"id": TEAM_ID, "name": "Numbers"},
    "measure": "usd",
    "window": "month",
    "model": None,
}
FORECAST: dict[str, Any] = {
    "prospect": "possible",
    "expected_at": None,
    "earliest_at": "2024-09-29T15:10:00Z",
    "latest_at": None,
    "at_window_end": "44.20",
    "at_window_end_low": "37.31",
    "at_window_end_high": "51.09",
    "basis": "weekdays",
    "history_days": 28,
}
QUOTA: dict[str, Any] = {
    "id": QUOTA_ID,
    "object": "quota",
    **OWNER,
    "is_hard": True,
    "limit": "50.00",
    "raised_by": "0.00",
    "is_in_force": True,
    "spent": "31.077385",
    "held": "1.50135",
    "remaining": "17.421265",
    "resets_at": "2024-10-01T00:00:00Z",
    "forecast": FORECAST,
    "starts_at": None,
    "expires_at": None,
    "risk": None,
    "created_at": "2024-09-02T08:00:00Z",
}
REQUEST: dict[str, Any] = {
    "id": "01924291-2c3d-7e4f-9051-6b7c8d9e0f1a",
    "object": "quota_request",
    "status": "pending",
    "quota": {"id": QUOTA_ID, **OWNER},
    "amount": "20.00",
    "until": "2024-10-01T00:00:00Z",
    "reason": "The evaluation of the new prompts runs this week.",
    "asked_by": {"id": "7", "name": "mia@alice.example"},
    "asked_at": "2024-09-20T10:00:00Z",
    "granted_amount": None,
    "granted_until": None,
    "decided_by": None,
    "decided_at": None,
    "note": "",
}
PREVIEW: dict[str, Any] = {
    "month": "2024-08",
    "measure": "usd",
    "limit": "50.00",
    "is_hard": True,
    "calls": 812,
    "refused": 36,
    "never": 0,
    "next_window": 33,
    "soon": 3,
    "windows": 1,
    "first": [
        {
            "attempt_id": "01919b3c-4d5e-7f60-8172-93a4b5c6d7e8",
            "at": "2024-08-29T09:13:07Z",
            "project": {"id": "0192428f-7f3b-7c6e-9d0a-5b8c3e1f2a4d", "name": "Research"},
            "model": "o1-preview",
            "bound": "1.50135",
            "needed": "50.218735",
            "over": "0.218735",
            "outcome": "soon",
        }
    ],
}


def _page(row: dict[str, Any]) -> dict[str, Any]:
    return {"data": [row], "has_more": False, "next": None}


def _answer(name: str, value: dict[str, Any], status: str) -> OpenApiExample:
    return OpenApiExample(name, value=value, response_only=True, status_codes=[status])


def _body(name: str, value: dict[str, Any]) -> OpenApiExample:
    return OpenApiExample(name, value=value, request_only=True)


NEW = _body(
    "Fifty dollars a month for a team", {"scope": "team", "owner_id": TEAM_ID, "window": "month", "limit": "50.00"}
)
CREATED = _answer("A quota", QUOTA, "201")
ONE = _answer("A quota", QUOTA, "200")
QUOTAS = _answer("A page", _page(QUOTA), "200")
NEW_LIMIT = _body("Another limit", {"limit": "80.00"})
TRY = _body("Another limit for a quota that there is", {"quota": QUOTA_ID, "limit": "30.00", "month": "2024-08"})
PREVIEWED = _answer("What it would have refused", PREVIEW, "200")
ASK = _body(
    "Twenty dollars more",
    {"quota": QUOTA_ID, "amount": "20.00", "reason": "The evaluation of the new prompts runs this week."},
)
ASKED = _answer("A request", REQUEST, "201")
ONE_REQUEST = _answer("A request", REQUEST, "200")
REQUESTS = _answer("A page", _page(REQUEST), "200")
APPROVE = _body("Fifteen instead of twenty", {"amount": "15.00", "note": "Fifteen will do."})
APPROVED = _answer(
    "Approved",
    REQUEST
    | {
        "status": "approved",
        "granted_amount": "15.00",
        "granted_until": "2024-10-01T00:00:00Z",
        "decided_by": {"id": "3", "name": "lead@alice.example"},
        "decided_at": "2024-09-20T10:12:00Z",
        "note": "Fifteen will do.",
    },
    "200",
)
REFUSE = _body("With a word why", {"note": "Wait for October."})
