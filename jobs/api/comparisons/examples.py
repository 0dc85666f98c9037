"""Examples for the documentation: four calls of September 2024, at that month's prices."""

from typing import Any

from drf_spectacular.utils import OpenApiExample

from jobs.api.examples import PROMPT

WORDING = "Limit yourself to the answer and don't add explanations or introductions."
COMPARISON_ID = "0192428f-9a11-7d02-8c4e-3b1f0a2d4e5f"
SUBMISSION_BODY: dict[str, Any] = {
    "name": "Transpose",
    "prompt": PROMPT,
    "variants": [
        {"name": "o1-preview", "model": "o1-preview"},
        {"name": "o1-preview, 300 tokens", "model": "o1-preview", "max_completion_tokens": 300},
        {"name": "o1-mini", "model": "o1-mini"},
        {"name": "o1-mini, answer only", "model": "o1-mini", "wording": WORDING},
    ],
    "max_cost_usd": "4.00",
}
SUBMISSION = OpenApiExample("Two models, a cap and a wording", value=SUBMISSION_BODY, request_only=True)


def _variant(number: int, name: str, model: str, cap: int | None = None) -> dict[str, Any]:
    return {
        "number": number,
        "name": name,
        "model": model,
        "service_tier": "standard",
        "reasoning_effort": None,
        "max_completion_tokens": cap,
    }


VARIANTS = [
    _variant(1, "o1-preview", "o1-preview"),
    _variant(2, "o1-preview, 300 tokens", "o1-preview", 300),
    _variant(3, "o1-mini", "o1-mini"),
    _variant(4, "o1-mini, answer only", "o1-mini"),
]
RUNNING_COMPARISON: dict[str, Any] = {
    "id": COMPARISON_ID,
    "object": "comparison",
    "name": "Transpose",
    "status": "running",
    "max_cost_usd": "4.00",
    "spent_usd": "0.00",
    "times": 1,
    "baseline": 1,
    "progress": {"runs": 4, "ended": 0, "not_run": 0},
    "prompts": [{"number": 1, "name": "Prompt 1"}],
    "variants": VARIANTS,
    "created_at": "2024-09-30T12:00:00Z",
    "finished_at": None,
    "content_erased_at": None,
}


def _found(status: str, tokens: tuple[int, int, int], cost: str, latency: int, *, empty: int = 0) -> dict[str, Any]:
    """The figures of one run: prompt, completion and reasoning tokens."""
    prompt, completion, reasoning = tokens
    counted = {
        "input": prompt,
        "cached": 0,
        "reasoning": reasoning,
        "visible": completion - reasoning,
        "output": completion,
    }
    return {
        "runs": 1,
        "counts": {status: 1},
        "empty": empty,
        "tokens": {name: {"mean": str(count), "min": count, "max": count} for name, count in counted.items()},
        "latency_ms": {"median": latency, "max": latency},
        "cost": dict.fromkeys(("total_usd", "mean_usd", "min_usd", "max_usd"), cost),
    }


def _saved(usd: str, percent: str) -> dict[str, Any]:
    return {
        "per_thousand_calls_usd": usd,
        "percent": percent,
        "prompts": 1,
        "runs": 1,
        "range": None,
        "confidence_95": None,
    }


_FIGURES = [
    _found("succeeded", (43, 1279, 1024), "0.077385", 13_210),
    _found("incomplete", (43, 300, 300), "0.018645", 3_020, empty=1),
    _found("succeeded", (43, 1511, 256), "0.018261", 8_140),
    _found("succeeded", (55, 487, 320), "0.006009", 3_480),
]
_SAVINGS = [None, _saved("58.74", "75.9"), _saved("59.124", "76.4"), _saved("71.376", "92.2")]
_BOUNDS = ["1.96743", "0.01935", "0.786702", "0.786738"]
_TEXTS = ["Here is a script ...", "", "Here is a script ...", "import ast ..."]


def _answer(place: int) -> dict[str, Any]:
    status = next(iter(_FIGURES[place]["counts"]))
    return {
        "job_id": f"0192428f-9a12-7000-8000-00000000000{place + 1}",
        "round": 1,
        "status": status,
        "finish_reason": "length" if status == "incomplete" else "stop",
        "output_text": _TEXTS[place],
    }


COMPLETED_COMPARISON: dict[str, Any] = RUNNING_COMPARISON | {
    "status": "completed",
    "spent_usd": "0.1203",
    "progress": {"runs": 4, "ended": 4, "not_run": 0},
    "variants": [
        {
            **told,
            "wording": WORDING if place == 3 else None,
            "parameters": {"max_completion_tokens": 300} if place == 1 else {},
            "bound_usd": _BOUNDS[place],
            "figures": _FIGURES[place],
            "saving": _SAVINGS[place],
        }
        for place, told in enumerate(VARIANTS)
    ],
    "prompts": [
        {
            "number": 1,
            "name": "Prompt 1",
            "messages": [{"role": "user", "content": PROMPT}],
            "variants": [
                {
                    "number": place + 1,
                    "figures": _FIGURES[place],
                    "saving": _SAVINGS[place],
                    "answer": _answer(place),
                }
                for place in range(4)
            ],
        }
    ],
    "finished_at": "2024-09-30T12:00:14Z",
}
RUNNING = OpenApiExample("Running", value=RUNNING_COMPARISON, response_only=True, status_codes=["202"])
COMPLETED = OpenApiExample("Completed", value=COMPLETED_COMPARISON, response_only=True, status_codes=["200"])
ERASED = OpenApiExample(
    "Its books stay",
    value=RUNNING_COMPARISON
    | {
        "status": "completed",
        "spent_usd": "0.1203",
        "progress": {"runs": 4, "ended": 4, "not_run": 0},
        "finished_at": "2024-09-30T12:00:14Z",
        "content_erased_at": "2024-10-30T12:00:20Z",
    },
    response_only=True,
    status_codes=["200"],
)
NOT_ERASABLE = OpenApiExample(
    "It still runs",
    value={
        "type": "urn:bursar:problem:not_erasable",
        "title": "Not erasable",
        "status": 409,
        "detail": "The comparison still runs: what it asks is still needed. Cancel it first "
        f"(POST /api/v1/comparisons/{COMPARISON_ID}/cancel), or wait for its end.",
        "instance": f"/api/v1/comparisons/{COMPARISON_ID}/erase",
        "code": "not_erasable",
        "request_id": "req_0b7c6f3a5d8e4c1f9a2b3c4d5e6f7a8b",
    },
    response_only=True,
    status_codes=["409"],
    media_type="application/problem+json",
)
