"""One schedule on both the model and the product, compared after every step; nothing of it stays in the database."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from billing import closing, ledger
from tests.simulation.model import ZERO, Crash, Limit, Model, Reserve, Step
from tests.simulation.product import Product
from tests.simulation.schedule import TIER_LIMITS, Schedule


class Disagreement(AssertionError):
    """Model and product differ: where, and what each says."""


class _Done(Exception):
    """Ends the transaction of a schedule without keeping any of it."""


def run(plan: Schedule, monkeypatch: Any) -> None:
    """Raises Disagreement, with all that it takes to see it again, where the product is not what the model says."""
    at = -1
    try:
        with transaction.atomic():
            model = plan.model()
            product = Product(plan.world, plan.tier, TIER_LIMITS, plan.start)
            monkeypatch.setattr(ledger.storage, "now", lambda: product.now)
            monkeypatch.setattr(closing, "database_now", lambda: product.now)
            for number, step in enumerate(plan.steps):
                at = number
                _take(step, model, product)
            at = len(plan.steps)
            for key in plan.world.key_project:
                _same("limits", [_state(model, limit) for limit in model.binding(key, None)], product.states(key, None))
            _same("verification", [], product.differences())
            raise _Done
    except _Done:
        return
    except Exception as error:
        raise Disagreement(_told(plan, at, error)) from error


def _take(step: Step, model: Model, product: Product) -> None:
    before = product.budget_rows()
    expected = None if isinstance(step, Crash) else model.apply(step)
    _same("outcome", expected, product.apply(step))
    after = product.budget_rows()
    _same("budgets", {key: model.used(limit) for key, limit in _kept(model, after).items()}, after)
    _same("reservations", _reservations(model), product.reservations())
    _same("paused projects", model.paused, product.paused())
    assert all(held >= 0 for held, _ in after.values()), "a budget holds less than nothing"
    if isinstance(step, Reserve):
        _check_holds(step, expected, model, before, after)
    key, name = _asked(step, model)
    _same("limits", [_state(model, limit) for limit in model.binding(key, name)], product.states(key, name))


def _check_holds(step: Reserve, outcomes: list[Any], model: Model, before: dict, after: dict) -> None:
    """By the budgets alone: no hard limit is crossed by a new hold, and what was refused moved nothing."""
    for key, limit in _kept(model, after).items():
        if limit.is_hard and key in before and after[key][0] > before[key][0]:
            assert sum(after[key]) <= limit.amount, f"{limit} was crossed: {after[key]}"
    if "granted" not in outcomes:
        assert before.items() <= after.items(), "a refused call moved money"
    for call, outcome in zip(step.calls, outcomes, strict=True):
        if outcome == "granted":
            opened = {(limit.name, limit.scope, limit.start) for limit in model.binding(call.key, call.model)}
            assert opened <= {(name, scope, start) for name, scope, _, start in after}, "a limit has no budget"


def _kept(model: Model, rows: dict) -> dict[Any, Limit]:
    """The limit of each budget there is, in its window; of removed quotas there may be none."""
    kept = {}
    for name, scope, owner, start in rows:
        quota = model.quotas.get(name)
        limit = model.quota_at(quota, start) if quota else model.tier_on(scope, owner, start)
        assert (limit.name, limit.scope, limit.start) == (name, scope, start), f"there is a budget of {name} at {start}"
        kept[name, scope, owner, start] = limit
    return kept


def _state(model: Model, limit: Limit) -> Any:
    held, spent = model.used(limit)
    remaining = max(limit.amount - held - spent, ZERO)
    said = (limit.name, limit.scope, limit.measure, limit.start, limit.end, limit.amount, limit.is_hard)
    return (*said, held, spent, remaining)


def _reservations(model: Model) -> dict[str, Any]:
    return {
        reference: (row.state, row.in_doubt, row.made, row.cost, row.tokens)
        for reference, row in model.reservations.items()
    }


def _asked(step: Step, model: Model) -> tuple[str, str | None]:
    """Whose limits are looked at after a step: those of its call, or of somebody, in turn."""
    if isinstance(step, Reserve):
        return step.calls[-1].key, step.calls[-1].model
    reservation = model.reservations.get(getattr(step, "reference", ""))
    if reservation is not None:
        return reservation.call.key, reservation.call.model
    keys = list(model.world.key_project)
    return keys[model.now.microsecond % len(keys)], None


def _same(what: str, expected: Any, got: Any) -> None:
    if expected == got:
        return
    if isinstance(expected, dict) and isinstance(got, dict):
        keys = [key for key in {**expected, **got} if expected.get(key) != got.get(key)]
        expected, got = {key: expected.get(key) for key in keys}, {key: got.get(key) for key in keys}
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        pairs = [pair for pair in zip(expected, got, strict=True) if pair[0] != pair[1]]
        expected, got = [left for left, _ in pairs], [right for _, right in pairs]
    raise AssertionError(f"{what} differ\n    expected {_plain(expected)}\n    got      {_plain(got)}")


def _plain(value: Any) -> str:
    """A value as people read it."""
    match value:
        case Decimal():
            return f"{value:f}"
        case datetime():
            return value.isoformat()
        case dict():
            return "{" + ", ".join(f"{_plain(key)}: {_plain(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "(" + ", ".join(_plain(item) for item in value) + ")"
    return str(value)


def _told(plan: Schedule, at: int, error: Exception) -> str:
    steps = [
        f"{'-->' if number == at else '   '} {number:3} {step}" for number, step in enumerate(plan.steps[: at + 1])
    ]
    return "\n".join(
        [
            f"seed {plan.seed}, step {at}: {type(error).__name__}: {error}",
            f"organizations {plan.tier} from {plan.start.isoformat()}, teams {plan.world.project_team}",
            *steps,
            f"Replay it: SIMULATION_SEED={plan.seed} pytest tests/simulation/test_simulation.py"
            f"{' -k reserves' if plan.has_reserves else ''}",
        ]
    )
