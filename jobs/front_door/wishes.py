"""How a request wants to be treated, beyond what the provider would do: said in headers alone, so that the body stays
the provider's own.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request

from accounts.api.fields import AmountField
from accounts.models import AdviceRule
from jobs.validation import RequestRejected
from jobs.validation.refusals import listed

MAX_COST, ON_DISCONNECT, PREFER = "X-Max-Cost-USD", "X-On-Disconnect", "Prefer"
IGNORE_ADVICE = "X-Ignore-Advice"
# Which try this is of an official client; it sends the same request again by itself (openai-python, openai-node).
RETRY_COUNT = "x-stainless-retry-count"
_WAIT = re.compile(r"wait\s*=\s*\"?(\d{1,6})\"?", re.IGNORECASE)
_AMOUNT = AmountField()


class OnDisconnect(StrEnum):
    FINISH = "finish"  # the job goes on, and is there for whoever asks again
    CANCEL = "cancel"  # it is withdrawn, if it is still queued


@dataclass(frozen=True, slots=True)
class Wishes:
    """`wait_seconds`: how long the client waits before it wants the job instead; None: as long as it takes."""

    max_cost_usd: Decimal | None = None
    wants_job: bool = False
    wait_seconds: int | None = None
    on_disconnect: OnDisconnect = OnDisconnect.FINISH
    is_retry: bool = False
    ignored_advice: frozenset[AdviceRule] = frozenset()

    @property
    def stays(self) -> bool:
        """Whether the client reads what comes until the answer is whole, however long that takes."""
        return not self.wants_job and self.wait_seconds is None

    @property
    def applied(self) -> str:
        """What of the preferences was heeded, for `Preference-Applied` (RFC 7240)."""
        if self.wants_job:
            return "respond-async"
        return "" if self.wait_seconds is None else f"wait={self.wait_seconds}"


def wishes_of(request: Request) -> Wishes:
    """Those of a request. Raises RequestRejected for a header that says nothing sensible; unknown preferences do not
    count, as RFC 7240 wants it.
    """
    wants_job, wait_seconds = _preferences(request.headers.get(PREFER, ""))
    return Wishes(
        max_cost_usd=max_cost_of(request),
        # A client that would wait a while before it takes the job says so: respond-async, wait=10.
        wants_job=wants_job and not wait_seconds,
        wait_seconds=wait_seconds,
        on_disconnect=_on_disconnect(request.headers.get(ON_DISCONNECT)),
        is_retry=request.headers.get(RETRY_COUNT, "0").strip() not in {"", "0"},
        ignored_advice=_ignored_advice(request.headers.get(IGNORE_ADVICE, "")),
    )


def _preferences(header: str) -> tuple[bool, int | None]:
    wants_job, wait_seconds = False, None
    for part in header.split(","):
        name = part.split(";")[0].strip()
        if name.lower() == "respond-async":
            wants_job = True
        elif (wait := _WAIT.fullmatch(name)) and wait_seconds is None:
            wait_seconds = int(wait[1])
    return wants_job, wait_seconds


def max_cost_of(request: Request) -> Decimal | None:
    """The most US dollars that a request may come to; None where it does not say. Raises RequestRejected."""
    header = request.headers.get(MAX_COST)
    if header is None:
        return None
    try:
        amount: Decimal = _AMOUNT.run_validation(header.strip())
    except ValidationError as error:
        faults = error.detail if isinstance(error.detail, list) else [ErrorDetail("Not an amount.", code="invalid")]
        raise RequestRejected(
            f"Invalid '{MAX_COST}': {faults[0]} Send US dollars as a decimal number above 0.",
            code="invalid_value",
            param=MAX_COST,
        ) from error
    return amount


def _ignored_advice(header: str) -> frozenset[AdviceRule]:
    names = [name.strip() for name in header.split(",") if name.strip()]
    for name in names:
        if name not in AdviceRule.values:
            raise RequestRejected(
                f"Invalid '{IGNORE_ADVICE}': '{name}'. Supported values are: {listed(AdviceRule.values)}.",
                code="invalid_value",
                param=IGNORE_ADVICE,
            )
    return frozenset(map(AdviceRule, names))


def _on_disconnect(header: str | None) -> OnDisconnect:
    try:
        return OnDisconnect((header or OnDisconnect.FINISH).strip().lower())
    except ValueError as error:
        raise RequestRejected(
            f"Invalid '{ON_DISCONNECT}': '{header}'. Supported values are: 'finish' and 'cancel'.",
            code="invalid_value",
            param=ON_DISCONNECT,
        ) from error
