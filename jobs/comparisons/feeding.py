"""Makes jobs of runs, in their order and as far as the ceiling allows."""

import logging
from typing import Any

from django.db import DatabaseError

from accounts import api_keys
from accounts.errors import DomainError
from accounts.models import ApiKey
from billing.clock import nearly_now
from billing.models import ServiceTier
from billing.money import usd
from jobs.ceilings import Room
from jobs.comparisons.ceiling import room_of
from jobs.comparisons.requests import Prompt, Variant, request_of
from jobs.comparisons.states import NotRun, RunStatus
from jobs.errors import BacklogFull, MaxCostTooSmall
from jobs.models import Comparison, ComparisonRun
from jobs.submission import Submission, submit

logger = logging.getLogger(__name__)

RUNS_AT_ONCE = 100
INTERNAL = {"code": "internal_error", "message": "The run could not be submitted."}


def feed_on(comparison: Comparison) -> bool:
    """Feeds a comparison whose key may have ended meanwhile; whether more may be fed at once."""
    key = comparison.api_key and api_keys.find_again(comparison.api_key.secret_hash, nearly_now())
    if key is None:
        end_waiting(comparison, NotRun.KEY_OVER)
        return False
    return feed(comparison, key)


def feed(comparison: Comparison, key: ApiKey) -> bool:
    """Submits some runs; whether more may be submitted at once. Runs in the caller's transaction, which has locked the
    comparison or made it.
    """
    runs = list(comparison.runs.filter(status=RunStatus.WAITING).order_by("number")[:RUNS_AT_ONCE])
    if not runs:
        return False
    room, done, is_full = room_of(comparison), [], False
    for run in runs:
        if not _feed(comparison, key, run, room):
            is_full = True
            break
        done.append(run)
    ComparisonRun.objects.bulk_update(done, ["status", "job", "reason", "figures", "error"])
    return not is_full and len(runs) == RUNS_AT_ONCE


def end_waiting(comparison: Comparison, reason: NotRun) -> None:
    """Runs that have no job get none any more."""
    comparison.runs.filter(status=RunStatus.WAITING).update(status=RunStatus.NOT_RUN, reason=reason)


def _feed(comparison: Comparison, key: ApiKey, run: ComparisonRun, room: Room) -> bool:
    """Whether it is known what becomes of the run. False: it waits, and so do those behind it, which would otherwise
    take what it waits for.
    """
    assert room.usd is not None, "every comparison has a ceiling"
    try:
        if run.bound_usd > room.usd:
            raise MaxCostTooSmall
        job = submit(key, _submission(comparison, run, room))
    except BacklogFull:
        return False
    except MaxCostTooSmall:
        if room.may_grow:
            return False
        _not_run(run, NotRun.CEILING, figures=_figures(comparison, run, room))
    except DatabaseError:
        raise
    except DomainError as error:
        _not_run(run, NotRun.REFUSED, error={"code": error.code, "message": error.message})
    except Exception:
        # One run that nobody expected does not keep the others from being compared.
        logger.exception("run %d of comparison %s could not be submitted", run.number, comparison.pk)
        _not_run(run, NotRun.REFUSED, error=INTERNAL)
    else:
        run.status, run.job = RunStatus.FED, job
        room.take(job.bound_usd)
    return True


def _not_run(run: ComparisonRun, reason: NotRun, **said: Any) -> None:
    run.status, run.reason = RunStatus.NOT_RUN, reason
    for name, value in said.items():
        setattr(run, name, value)


def _figures(comparison: Comparison, run: ComparisonRun, room: Room) -> dict[str, str]:
    """By what a run did not fit: the ceiling, what of it is taken, and what the run could cost."""
    assert room.usd is not None, "every comparison has a ceiling"
    return {
        "max_cost_usd": usd(comparison.max_cost_usd),
        "taken_usd": usd(comparison.max_cost_usd - room.usd),
        "required_usd": usd(run.bound_usd),
    }


def _submission(comparison: Comparison, run: ComparisonRun, room: Room) -> Submission:
    """The job that a run becomes, found again by its metadata."""
    told, content = comparison.variants[run.variant - 1], comparison.content
    assert content is not None, "it is erased when nothing is left to be fed"
    asked = content["variants"][run.variant - 1]
    variant = Variant(
        told["name"], told["model"], asked["parameters"], asked["wording"], ServiceTier(told["service_tier"])
    )
    prompt = Prompt(comparison.prompt_names[run.prompt - 1], content["prompts"][run.prompt - 1])
    return Submission(
        request_of(prompt, variant),
        metadata={
            "comparison_id": str(comparison.pk),
            "prompt": str(run.prompt),
            "variant": str(run.variant),
            "round": str(run.round),
        },
        priority=comparison.priority,
        service_tier=variant.service_tier,
        max_cost_usd=room.usd,
        is_held_to_its_bound=True,
    )
