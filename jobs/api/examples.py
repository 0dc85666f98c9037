"""Examples for the documentation: one prompt on a model of September 2024, at that month's prices."""

from typing import Any

from drf_spectacular.utils import OpenApiExample

PROMPT = (
    "Write a Python script that takes a matrix represented as a string with format '[1,2],[3,4],[5,6]' and prints the "
    "transpose in the same format."
)
JOB_ID = "0192428f-7f3b-7c6e-9d0a-5b8c3e1f2a4d"
QUEUED_JOB: dict[str, Any] = {
    "id": JOB_ID,
    "object": "job",
    "status": "queued",
    "model": "o1-preview",
    "snapshot": None,
    "service_tier": "standard",
    "priority": 0,
    "metadata": {"feature": "matrix"},
    "waiting_on": {"reason": "capacity"},
    "bound": {"input_tokens": 90, "output_tokens": 25000, "cost_usd": "1.50135"},
    "expected": {
        "p50_output_tokens": 1240,
        "p90_output_tokens": 2600,
        "p99_output_tokens": 4900,
        "cost_usd": "0.0804",
        "empty_probability": "0.000000",
    },
    "max_cost_usd": "2.00",
    "deadline": None,
    "usage": None,
    "cost": None,
    "reasoning_share": None,
    "output_text": None,
    "message": None,
    "finish_reason": None,
    "incomplete_reason": None,
    "warnings": [],
    "error": None,
    "doubt": None,
    "attempts": 0,
    "queued_at": "2024-09-30T12:00:00Z",
    "started_at": None,
    "cancel_asked_at": None,
    "finished_at": None,
    "content_erased_at": None,
}
SUCCEEDED_JOB: dict[str, Any] = QUEUED_JOB | {
    "status": "succeeded",
    "snapshot": "o1-preview-2024-09-12",
    "waiting_on": None,
    "usage": {
        "prompt_tokens": 43,
        "completion_tokens": 1279,
        "total_tokens": 1322,
        "completion_tokens_details": {"reasoning_tokens": 1024},
    },
    "cost": {
        "input_usd": "0.000645",
        "cached_input_usd": "0.00",
        "output_usd": "0.0153",
        "reasoning_usd": "0.06144",
        "total_usd": "0.077385",
    },
    "reasoning_share": "0.8006",
    "output_text": "Here is a script ...",
    "message": {"role": "assistant", "content": "Here is a script ...", "refusal": None},
    "finish_reason": "stop",
    "doubt": None,
    "attempts": 1,
    "started_at": "2024-09-30T12:00:01Z",
    "finished_at": "2024-09-30T12:00:14Z",
}
EMPTY_JOB: dict[str, Any] = SUCCEEDED_JOB | {
    "status": "incomplete",
    "bound": {"input_tokens": 90, "output_tokens": 300, "cost_usd": "0.01935"},
    "usage": {
        "prompt_tokens": 43,
        "completion_tokens": 300,
        "total_tokens": 343,
        "completion_tokens_details": {"reasoning_tokens": 300},
    },
    "cost": {
        "input_usd": "0.000645",
        "cached_input_usd": "0.00",
        "output_usd": "0.00",
        "reasoning_usd": "0.018",
        "total_usd": "0.018645",
    },
    "reasoning_share": "1.0000",
    "output_text": "",
    "message": {"role": "assistant", "content": "", "refusal": None},
    "finish_reason": "length",
    "incomplete_reason": "max_completion_tokens",
    "warnings": [
        {
            "code": "empty_answer_paid",
            "message": "This call cost 0.018645 USD and gave no visible answer. Reasoning used up its cap of 300 "
            "tokens: ask again with a larger max_completion_tokens; OpenAI advises at least 25,000 to begin with.",
        }
    ],
}


ADVICE = {
    "rule": "small_cap",
    "passage": None,
    "do": "Raise max_completion_tokens from 5,000 to 25,000: so much OpenAI advises to leave for reasoning and answer "
    "until you know your own.",
    "why": "The cap counts reasoning too. Where reasoning uses it up, the call is paid for and its answer is empty.",
    "source": "OpenAI, Reasoning models: https://developers.openai.com/api/docs/guides/reasoning",
    "saving_usd": None,
}
ESTIMATED: dict[str, Any] = {
    "object": "job.estimate",
    "model": "o1-preview",
    "prompt_tokens": 43,
    "bound": {"input_tokens": 90, "output_tokens": 5000, "cost_usd": "0.30135"},
    "expected": {
        "calls": 1204,
        "level": "class",
        "p50": {"output_tokens": 1279, "cost_usd": "0.077385"},
        "p90": {"output_tokens": 3120, "cost_usd": "0.187845"},
        "p99": {"output_tokens": 5000, "cost_usd": "0.300645"},
        "empty_probability": "0.0214",
    },
    "recommended_max_completion_tokens": 6300,
    "advice": [],
    "limits": [],
    "refusal": None,
    "waits_for": None,
}


def _answer(name: str, value: Any, status: int, media_type: str = "application/json") -> OpenApiExample:
    return OpenApiExample(name, value=value, response_only=True, status_codes=[str(status)], media_type=media_type)


SUBMISSION = OpenApiExample(
    "A prompt with a cap",
    value={
        "model": "o1-preview",
        "prompt": PROMPT,
        "max_completion_tokens": 25000,
        "max_cost_usd": "2.00",
        "metadata": {"feature": "matrix"},
    },
    request_only=True,
)
QUEUED = _answer("Queued", QUEUED_JOB | {"advice": [ADVICE]}, 202)
ESTIMATE = _answer("As earlier calls were", ESTIMATED, 200)
SUCCEEDED = _answer("Succeeded", SUCCEEDED_JOB, 200)
WAITING = _answer(
    "Waits for a rate limit",
    QUEUED_JOB
    | {
        "waiting_on": {
            "reason": "rate_limit",
            "limit": "requests_per_minute",
            "limit_value": 500,
            "model": "o1-preview",
            "jobs_ahead": 120,
            "more_ahead": False,
            "expected_start": "2024-09-30T12:00:15Z",
        }
    },
    200,
)
EMPTY = _answer("Paid for, and no visible answer", EMPTY_JOB, 200)
ERASED = _answer(
    "Its books stay",
    SUCCEEDED_JOB | {"output_text": None, "message": None, "content_erased_at": "2024-10-30T12:00:20Z"},
    200,
)
PAGE = _answer("The last page", {"data": [SUCCEEDED_JOB], "has_more": False, "next": None}, 200)
OVER_LIMIT = _answer(
    "Over the limit",
    {
        "type": "urn:bursar:problem:exceeds_limit",
        "title": "Exceeds limit",
        "status": 402,
        "detail": "One call can come to 1.50135 USD, more than the whole limit of 1.00 USD of project "
        "'Research'. Shorten the prompt, lower max_completion_tokens or have the limit raised.",
        "instance": "/api/v1/jobs",
        "code": "exceeds_limit",
        "request_id": "req_0b7c6f3a5d8e4c1f9a2b3c4d5e6f7a8b",
        "budget": {
            "scope": "project",
            "id": "0192428f-0000-7000-8000-000000000001",
            "name": "Research",
            "origin": "quota",
            "measure": "usd",
            "model": None,
            "is_hard": True,
            "limit": "1.00",
            "spent": "0.096",
            "held": "0.00",
            "remaining": "0.904",
            "window_start": "2024-09-01T00:00:00Z",
            "resets_at": "2024-10-01T00:00:00Z",
            "required": "1.50135",
        },
    },
    402,
    "application/problem+json",
)
ATTEMPTS = _answer(
    "One call",
    {
        "data": [
            {
                "id": "01924290-0000-7000-8000-000000000002",
                "object": "attempt",
                "number": 1,
                "status": "answered",
                "snapshot": "o1-preview-2024-09-12",
                "hold": {"status": "settled", "is_in_doubt": False, "amount_usd": "1.50135"},
                "usage": {
                    "input_tokens": 43,
                    "cached_input_tokens": 0,
                    "output_tokens": 1279,
                    "reasoning_tokens": 1024,
                    "cache_write_tokens": 0,
                },
                "cost": SUCCEEDED_JOB["cost"],
                "http_status": 200,
                "error": None,
                "provider_request_id": "req_5f1e",
                "provider_response_id": "chatcmpl-ABHjL9dkoM3vS",
                "created_at": "2024-09-30T12:00:00Z",
                "calling_at": "2024-09-30T12:00:01Z",
                "finished_at": "2024-09-30T12:00:14Z",
            }
        ],
        "has_more": False,
        "next": None,
    },
    200,
)
RATE_LIMITS = {
    "requests_per_minute": 500,
    "tokens_per_minute": 30_000_000,
    "requests_per_day": None,
    "tokens_per_day": None,
    "batch_queue_tokens": None,
}
MODELS = _answer(
    "One model",
    {
        "data": [
            {
                "name": "o1-preview",
                "object": "model",
                "snapshots": [
                    {
                        "name": "o1-preview-2024-09-12",
                        "is_current": True,
                        "max_output_tokens": None,
                        "shutdown_on": None,
                    }
                ],
                "is_reasoning": True,
                "context_window": 128_000,
                "max_output_tokens": 32_768,
                "endpoints": ["chat"],
                "reasoning_efforts": [],
                "minimum_tier": 5,
                "released_on": "2024-09-12",
                "shutdown_on": "2025-07-28",
                "successor": "o3",
                "availability": {"usable": True, "code": None, "reason": None},
                "prices": {
                    "standard": {
                        "input_usd_per_million": "15.00",
                        "cached_input_usd_per_million": "15.00",
                        "output_usd_per_million": "60.00",
                        "cache_write_usd_per_million": None,
                        "effective_from": "2024-09-12",
                    }
                },
                "rate_limits": RATE_LIMITS,
            }
        ],
        "has_more": False,
        "next": None,
    },
    200,
)
_FORECAST = {
    "prospect": "not_in_window",
    "expected_at": None,
    "earliest_at": None,
    "latest_at": None,
    "at_window_end": "0.14",
    "at_window_end_low": "0.11",
    "at_window_end_high": "0.17",
    "basis": "weekdays",
    "history_days": 28,
}
_BUDGET = {
    "origin": "usage tier 5",
    "measure": "usd",
    "model": None,
    "is_hard": True,
    "limit": "50000.00",
    "spent": "0.09603",
    "held": "1.50135",
    "remaining": "49998.40262",
    "window_start": "2024-09-01T00:00:00Z",
    "resets_at": "2024-10-01T00:00:00Z",
    "forecast": _FORECAST,
}
_ORGANIZATION = {"id": "0192428f-0000-7000-8000-000000000000", "name": "Example Inc."}
_PROJECT = {"id": "0192428f-0000-7000-8000-000000000001", "name": "Research"}
LIMITS = _answer(
    "Tier 5",
    {
        "organization": _ORGANIZATION,
        "project": _PROJECT,
        "tier": {
            "number": 5,
            "name": "Tier 5",
            "is_override": False,
            "monthly_limit_usd": "50000.00",
            "paid_usd": "1000.00",
            "days_since_first_payment": 40,
        },
        "budgets": [
            {"scope": "organization", **_ORGANIZATION, **_BUDGET},
            {"scope": "project", **_PROJECT, **_BUDGET},
        ],
        "rate_limits": [{"model": "o1-preview", "family": "o1-preview", **RATE_LIMITS}],
    },
    200,
)
WASTE = _answer(
    "A month",
    {
        "object": "waste_report",
        "month": "2024-09",
        "project": _PROJECT,
        "status": "ready",
        "is_current": True,
        "reckoned_at": "2024-09-30T12:00:00Z",
        "calls": 4,
        "ledger_usd": "0.1203",
        "wasted_usd": "0.018645",
        "useful_usd": "0.101655",
        "corrections_usd": "0.00",
        "categories": [
            {
                "category": "empty",
                "usd": "0.018645",
                "jobs": 1,
                "is_upper_estimate": False,
                "reckoned": "The whole cost of answers of which nothing can be seen: reasoning used up the cap.",
                "to_do": "Raise max_completion_tokens (at least 25,000 to begin with) or lower reasoning_effort.",
                "jobs_url": "http://localhost:8000/api/v1/jobs?waste=empty&waste_month=2024-09",
            }
        ],
        "switches": [],
    },
    200,
)
