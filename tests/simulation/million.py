"""Many short schedules of a small world: the money core on plain dictionaries (`memory.py`) beside the plain model.

Whatever can go wrong between a few calls, limits and months goes wrong within a few steps of a small world, if only all
of them are tried: amounts that fill a limit to the digit, answers that come late or twice, months that end, are closed
or come back because a clock was set back. Schedules come in families: one beginning, and many ways to go on from it.

    python -m tests.simulation.million 1000000        how many; prints how long it took on one core
    python -m tests.simulation.million --seed 4711    one schedule again, step by step
"""

import argparse
import sys
import time
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from billing import chain, ledger
from billing.errors import AlreadyReleased, NoSuchReservation
from billing.grants import Claim, Likely
from billing.limits import Owner, QuotaTerms
from billing.periods import month_of
from billing.pricing import Tokens
from tests.simulation import model as plain
from tests.simulation.memory import Memory
from tests.simulation.model import (
    Adjust,
    Call,
    ChangeLimit,
    CloseMonths,
    Crash,
    Doubt,
    Jump,
    Model,
    MoveProject,
    NewPrice,
    Quota,
    Release,
    ReleaseAll,
    Reserve,
    SetTier,
    Settle,
    SettleAll,
    Step,
)

BEGINNING, REST, FAMILY = 6, 5, 32  # steps of the common beginning, steps after it, schedules of one beginning
D = Decimal
DIGIT = D("0.000000000001")
RISK = D("0.01")
ZERO = D(0)

WORLD = plain.World(
    organizations=("A", "B"),
    members=("ann", "ben"),
    models=("large", "small"),
    project_organization={"A/p": "A", "A/q": "A", "B/p": "B"},
    project_team={"A/p": "A/team", "A/q": None, "B/p": None},
    key_project={"A/p/ann": "A/p", "A/p/ben": "A/p", "A/q/ann": "A/q", "B/p/ann": "B/p"},
    key_member={"A/p/ann": "ann", "A/p/ben": "ben", "A/q/ann": "ann", "B/p/ann": "ann"},
)
KEYS = ("A/p/ann", "A/p/ann", "A/p/ben", "A/q/ann", "B/p/ann")
TIERS = {1: D(2), 2: D(3)}
PRICES = {  # a hundred tokens of output are a dollar, or two
    "first": NewPrice("first", "large", D(5000), D(2500), D(10000)),
    "second": NewPrice("second", "large", D(5000), D("0.000001"), D(20000)),
}
STARTS = (
    datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2024, 12, 31, 12, tzinfo=UTC),
    datetime(2026, 8, 30, 22, tzinfo=UTC),  # a Sunday
)


def _quota(name: str, scope: str, owner: str, measure: str, window: str, limit: str, **more: Any) -> Quota:
    fields = {"model": "", "is_hard": True, "starts": None, "expires": None, **more}
    return Quota(name, "A", scope, owner, fields.pop("model"), measure, window, D(limit), **fields)


def _settings(start: datetime) -> tuple[tuple[Quota, ...], ...]:
    """What limits there are; each schedule has one of these."""
    over_the_edge = {"starts": start - timedelta(days=2), "expires": start + timedelta(days=4)}
    return (
        (_quota("team", "team", "A/team", "usd", "month", "1.5"), _quota("jobs", "member", "ann", "jobs", "day", "2")),
        (
            _quota("day", "project", "A/p", "usd", "day", "1"),
            _quota("key", "key", "A/p/ann", "output_tokens", "week", "150"),
        ),
        (
            _quota("fixed", "organization", "A", "usd", "fixed", "1.5", **over_the_edge),
            _quota("soft", "member", "ann", "usd", "week", "0.5", is_hard=False),
        ),
        (
            _quota("large", "organization", "A", "usd", "day", "1", model="large"),
            _quota("reason", "project", "A/p", "reasoning_tokens", "month", "100"),
            _quota("late", "team", "A/team", "tokens", "month", "200", starts=start + timedelta(hours=1)),
        ),
        (_quota("short", "project", "A/p", "usd", "month", "1", expires=start + timedelta(days=1)),),
        (
            _quota("tight", "project", "A/p", "usd", "month", "0.75"),
            _quota("reserve", "organization", "A", "reserve_usd", "month", "1.5", risk=RISK),
        ),
        (
            _quota("tight", "key", "A/p/ann", "usd", "week", "0.5"),
            _quota("reserve", "organization", "A", "reserve_usd", "month", "2", risk=RISK),
            _quota("daily", "organization", "A", "reserve_usd", "day", "1", risk=2 * RISK),
        ),
    )


# --- Steps, made once -------------------------------------------------------------------------------------------------
_AMOUNTS = (  # US dollars, input and output tokens of a bound; what is likely of the dollars, with which risk
    (D(1), 0, 100, None, ZERO),
    (D("0.5"), 0, 50, D("0.25"), RISK),
    (D("0.5") + DIGIT, 0, 50, D("0.5"), RISK),
    (D(1) - DIGIT, 10, 90, D("0.5") - DIGIT, RISK),
    (D(1) + DIGIT, 0, 100, D("0.5"), RISK),
    (D("1.5"), 50, 100, D("0.25"), 2 * RISK),
    (D("0.5"), 0, 150, ZERO, RISK),
)
_BILLS = (  # input, cached, output and reasoning tokens of an answer
    (0, 0, 50, 50),
    (0, 0, 100, 0),
    (10, 10, 90, 40),
    (0, 0, 0, 0),
    (20, 1, 150, 150),  # above most bounds
)
_REFERENCES = tuple(f"c{number}" for number in range(40))
_CALLS = {
    reference: tuple(
        Call(reference, key, model, usd, tokens_in, tokens_out, price, likely, risk)
        for key in KEYS
        for usd, tokens_in, tokens_out, likely, risk in _AMOUNTS
        for model, price in (("large", "first"), ("large", "second"), ("small", "first"))
    )
    for reference in _REFERENCES
}
_SETTLES = {reference: tuple(Settle(reference, *bill) for bill in _BILLS) for reference in _REFERENCES}
_LIMITS = tuple(D(text) for text in ("0", "0.5", "1", "1.500000000001", "2", "100"))


def _instants(start: datetime) -> tuple[datetime, ...]:
    """Where the clock may be set: over the edges of days, weeks and months, and back."""
    month = month_of(start).end
    after = month_of(month).end
    moment = timedelta(microseconds=1)
    midnight = datetime(start.year, start.month, start.day, tzinfo=UTC) + timedelta(days=1)
    return (
        midnight - moment,
        midnight,
        midnight + timedelta(days=1, hours=3),
        month - moment,
        month,
        month + timedelta(days=3),
        after,
        after + timedelta(days=40),
        start - timedelta(days=1),
        start,
    )


@dataclass(frozen=True)
class Setting:
    """What all schedules of a family begin with."""

    start: datetime
    quotas: tuple[Quota, ...]
    tier: int
    instants: tuple[datetime, ...]


_SETTINGS = tuple(
    Setting(start, quotas, tier, _instants(start)) for start in STARTS for quotas in _settings(start) for tier in TIERS
)


class Dice:
    """Chooses the steps of a schedule; `made` counts the calls that were tried, each with a name of its own."""

    def __init__(self, seed: int, setting: Setting, made: int):
        self.random, self.setting, self.made = Random(seed), setting, made

    def steps(self, number: int) -> Iterator[Step]:
        for _ in range(number):
            step = self._step()
            yield Crash(step) if self.random.random() < 0.06 and not isinstance(step, Jump) else step

    def _step(self) -> Step:
        random, kind = self.random.random, self.random.random()
        if kind < 0.40:
            calls = []
            for _ in range(1 if random() < 0.7 else 2):
                calls.append(self._one(_CALLS[_REFERENCES[self.made]]))
                self.made += 1
            return Reserve(tuple(calls))
        if kind < 0.74:
            return self._of_calls(kind)
        if kind < 0.84:
            return Jump(self._one(self.setting.instants))
        if kind < 0.90:
            return CloseMonths("A")
        if kind < 0.93:
            return Adjust(self._one(("A/p", "A/q")), self._one((D("0.25"), D("-0.25"))))
        if kind < 0.96:
            quota = self._one(self.setting.quotas)
            return ChangeLimit(quota.name, self._one(_LIMITS), random() < 0.8 or quota.risk is not None, False)
        if kind < 0.98:
            return SetTier("A", self._one((1, 2)), False)
        return MoveProject("A/p", self._one(("A/team", None)))

    def _of_calls(self, kind: float) -> Step:
        if kind < 0.55:
            return self._settle()
        if kind < 0.62:
            return SettleAll(tuple(self._settle() for _ in range(2 if self.random.random() < 0.7 else 3)))
        if kind < 0.67:
            return Release(self._reference())
        return Doubt(self._reference()) if kind < 0.71 else ReleaseAll((self._reference(), self._reference()))

    def _settle(self) -> Settle:
        settle: Settle = self._one(_SETTLES[self._reference()])
        return settle

    def _reference(self) -> str:
        """Of a call that there is, mostly; the next one's name is that of none."""
        return _REFERENCES[int(self.random.random() * (self.made + 0.1))]

    def _one(self, choices: Any) -> Any:
        return choices[int(self.random.random() * len(choices))]


# --- The product's side -----------------------------------------------------------------------------------------------
class Named:
    """An organization or a project by name; its name is its key."""

    __slots__ = ("name", "organization", "organization_id", "pk", "team_id")

    def __init__(self, name: str, organization: "Named | None" = None):
        self.name = self.pk = name
        self.organization: Any = organization
        self.organization_id = organization.pk if organization else None
        self.team_id: Any = None


_ORGANIZATIONS = {name: Named(name) for name in WORLD.organizations}
_PROJECTS = {name: Named(name, _ORGANIZATIONS[owner]) for name, owner in WORLD.project_organization.items()}
_TIER_ROWS = {number: SimpleNamespace(number=number, monthly_limit_usd=limit) for number, limit in TIERS.items()}
_PRICE_ROWS = {
    name: SimpleNamespace(
        pk=name,
        input_usd_per_million=price.input,
        cached_input_usd_per_million=price.cached,
        output_usd_per_million=price.output,
        cache_write_usd_per_million=None,
    )
    for name, price in PRICES.items()
}
_ACTOR = SimpleNamespace(pk=1)
_COLUMNS = {"team": "team_id", "project": "project_id", "member": "member_id", "key": "api_key_id"}


def _row(quota: Quota) -> QuotaTerms:
    row: Any = QuotaTerms(
        *(quota.name, quota.organization, quota.scope, None, None, None, None, quota.model, quota.measure),  # type: ignore[arg-type]
        *(quota.window, quota.limit, quota.is_hard, quota.starts, quota.expires, quota.risk, quota.owner),  # type: ignore[arg-type]
    )
    if quota.scope in _COLUMNS:
        setattr(row, _COLUMNS[quota.scope], quota.owner)
    return row


def _usage(step: Settle) -> ledger.Usage:
    reference: Any = step.reference
    return ledger.Usage(reference, Tokens(step.input, step.cached, step.output, step.reasoning), "small")


def _said(settled: Any) -> Any:
    """What a settlement came to; in memory it stands for its usage record."""
    tokens = settled.tokens
    said = (tokens.input, tokens.cached_input, tokens.output, tokens.reasoning)
    return settled.total_usd, said, settled.is_overrun


def _same(row: plain.Reservation) -> plain.Reservation:
    return copy(row)


class Pair:
    """The model and the product after the same steps, and what closed months came to when they were closed."""

    def __init__(self, setting: Setting):
        self.model = Model(WORLD, TIERS, setting.start, dict.fromkeys("AB", setting.tier), dict(WORLD.project_team))
        self.model.prices = PRICES
        self.memory = Memory(SimpleNamespace(projects=_PROJECTS), setting.start)
        self.memory.tiers = dict.fromkeys("AB", _TIER_ROWS[setting.tier])
        for quota in setting.quotas:
            self.model.quotas[quota.name] = quota
            self.memory.quotas[quota.name] = _row(quota)
        self.closed: dict[datetime, Any] = {}
        self.seals: dict[str, str] = {}  # of the last lines that were checked
        self.checked = 0

    def fork(self) -> "Pair":
        other = copy(self)
        model = self.model
        other.memory, other.closed = self.memory.snapshot(), self.closed.copy()
        other.model = Model(
            model.world,
            model.tier_limits,
            model.now,
            model.tier.copy(),
            model.team.copy(),
            model.prices,
            model.quotas.copy(),
            {key: _same(row) for key, row in model.reservations.items()},
            model.adjustments.copy(),
            model.closed.copy(),
            model.paused.copy(),
        )
        return other

    def take(self, step: Step) -> None:
        """Takes a step on both sides. Raises AssertionError where they differ."""
        if isinstance(step, Crash):
            before, closed = self.memory.snapshot(), dict(self.closed)
            self._product(step.step)
            self.memory, self.closed = before, closed
            return
        expected, got = self.model.apply(step), self._product(step)
        assert expected == got, f"the model says {expected}, the product {got}"

    def check(self) -> None:
        """All budgets, all lines, all closed months. Raises AssertionError."""
        for key, account in self.memory.accounts.items():
            limit = self._limit(key)
            expected = self.model.used(limit)
            assert expected == (account.held, account.spent), f"{limit} has {account}, and not {expected}"
        seals: Any = dict(self.seals)
        for line, seal in self.memory.lines[self.checked :]:
            assert seal == chain.seal(line, seals.get(line.organization, chain.GENESIS)), f"{line} is not sealed"
            seals[line.organization] = seal
        self.seals, self.checked = seals, len(self.memory.lines)
        assert seals == {head.organization: head.seal for head in self.memory.heads.values() if head.sequence}
        spent = {(o, s): account.spent for (o, q, p, s), account in self.memory.accounts.items() if not (q or p)}
        sums: dict[Any, Decimal] = dict.fromkeys(spent, ZERO)
        for line, _ in self.memory.lines:
            if line.spent_change_usd:
                sums[line.organization, line.window_start] += line.spent_change_usd
        assert sums == spent, f"the lines come to {sums}, the budgets to {spent}"
        held = sum((line.held_change_usd for line, _ in self.memory.lines), ZERO)
        assert held == sum((row.call.usd for row in self.model.open()), ZERO), f"the lines hold {held}"
        for month, said in self.closed.items():
            assert self._month(month) == said, f"the closed month of {month} changed"
        assert self.memory.paused == self.model.paused

    def _limit(self, key: Any) -> plain.Limit:
        organization, quota, project, start = key
        if quota:
            return self.model.quota_at(self.model.quotas[quota], start)
        return self.model.tier_on("project" if project else "organization", project or organization, start)

    def _month(self, month: datetime) -> Any:
        """The total of a month of A, and its seals."""
        lines = [pair for pair in self.memory.lines if (pair[0].organization, pair[0].window_start) == ("A", month)]
        return sum((line.spent_change_usd for line, _ in lines), ZERO), [seal for _, seal in lines]

    # --- Steps of the product -----------------------------------------------------------------------------------------
    def _product(self, step: Step) -> Any:
        with_memory.current = self.memory
        try:
            return getattr(self, f"_{type(step).__name__.lower()}")(step)
        except NoSuchReservation:
            return "no such reservation"
        except AlreadyReleased:
            return "already released"

    def _reserve(self, step: Reserve) -> list[Any]:
        claims = [self._claim(call) for call in step.calls]
        refused = {}
        for refusal in ledger.reserve(claims):
            state, limit = refusal.budget, refusal.budget.limit
            said = (limit.scope, limit.measure, limit.quota_id or "", state.held, state.spent, state.remaining)
            refused[refusal.claim.reference] = said
        return [refused.get(call.reference, "granted") for call in step.calls]  # type: ignore[call-overload]

    def _claim(self, call: Call) -> Claim:
        project = _PROJECTS[WORLD.key_project[call.key]]
        team, member = self.model.team[project.name], WORLD.key_member[call.key]
        owner = Owner(project, team, member, call.key, call.model)  # type: ignore[arg-type]
        price: Any = _PRICE_ROWS[call.price]
        likely = None if call.likely is None else Likely(call.likely, call.risk)
        return Claim(call.reference, call.usd, call.input, call.output, owner, "standard", price, likely)  # type: ignore[arg-type]

    def _settle(self, step: Settle) -> Any:
        usage = _usage(step)
        return _said(ledger.settle(usage.reference, usage.tokens, snapshot=usage.snapshot))

    def _settleall(self, step: SettleAll) -> list[Any]:
        return [_said(settled) for settled in ledger.settle_all([_usage(settle) for settle in step.settles])]

    def _release(self, step: Release) -> None:
        reference: Any = step.reference
        ledger.release(reference, reason="simulated")

    def _releaseall(self, step: ReleaseAll) -> None:
        reasons: Any = dict.fromkeys(step.references, "simulated")
        ledger.release_all(reasons)

    def _doubt(self, step: Any) -> None:
        ledger.mark_in_doubt(step.reference, reason="simulated")

    def _adjust(self, step: Adjust) -> None:
        project: Any = _PROJECTS[step.project]
        project.team_id = self.model.team[step.project]
        actor: Any = _ACTOR
        ledger.adjust(project, step.usd, reason="simulated", actor=actor)

    def _changelimit(self, step: ChangeLimit) -> None:
        row = copy(self.memory.quotas[step.name])
        row.limit, row.is_hard = step.limit, step.is_hard
        self.memory.quotas[step.name] = row

    def _settier(self, step: SetTier) -> None:
        self.memory.tiers[step.organization] = _TIER_ROWS[step.tier]

    def _moveproject(self, step: MoveProject) -> None:
        """The model's team is the one that claims are made with."""

    def _jump(self, step: Jump) -> None:
        self.memory.instant = step.to

    def _closemonths(self, step: CloseMonths) -> None:
        head = self.memory.heads.get(step.organization)
        if head is None or not head.sequence:
            return
        until = month_of(self.memory.instant).start
        months = {line.window_start for line, _ in self.memory.lines if line.organization == step.organization}
        if min(months) < until and head.closed_until < until:
            head.closed_until = until
            self.closed |= {month: self._month(month) for month in months if month < until and month not in self.closed}


class _WithMemory:
    """The ledger on dictionaries: forwards to the storage of the pair whose step is taken."""

    current: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.current, name)


with_memory = _WithMemory()


# --- Families ---------------------------------------------------------------------------------------------------------
class Violation(AssertionError):
    """Model and product differ: the seed of the schedule, and its steps up to there."""


def family(number: int, only: int | None = None) -> int:
    """Runs the schedules of a family, or one of them; returns how many steps were taken. Raises Violation."""
    setting = _SETTINGS[number % len(_SETTINGS)]
    dice, common, taken = Dice(number, setting, 0), Pair(setting), 0
    beginning = list(dice.steps(BEGINNING))
    for at in range(len(beginning)):
        _take(common, beginning[: at + 1], number * FAMILY)
    _check(common, beginning, number * FAMILY)
    for member in range(FAMILY):
        if only is not None and member != only:
            continue
        seed, pair, steps = number * FAMILY + member, common.fork(), list(beginning)
        for step in Dice(-1 - seed, setting, dice.made).steps(REST):
            steps.append(step)
            _take(pair, steps, seed)
        taken += len(steps)
        _check(pair, steps, seed)
    return taken


def _take(pair: Pair, steps: list[Step], seed: int) -> None:
    try:
        pair.take(steps[-1])
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise Violation(_told(seed, steps, error)) from error


def _check(pair: Pair, steps: list[Step], seed: int) -> None:
    try:
        pair.check()
    except AssertionError as error:
        raise Violation(_told(seed, steps, error)) from error


def _told(seed: int, steps: list[Step], error: Exception) -> str:
    lines = [f"seed {seed}: {type(error).__name__}: {error}", *(f"  {step}" for step in steps)]
    return "\n".join([*lines, f"Replay it: python -m tests.simulation.million --seed {seed}"])


def run(schedules: int, first: int = 0) -> int:
    """Runs so many schedules, rounded up to whole families, from a family on; returns the number of steps.

    Raises Violation where one of them differs.
    """
    families = -(-schedules // FAMILY)
    with patch.object(ledger, "storage", with_memory), patch.object(ledger, "_require_transaction", lambda: None):
        return sum(family(number) for number in range(first, first + families))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.million", description=__doc__.partition("\n")[0])
    parser.add_argument("schedules", type=int, nargs="?", default=10_000, help="how many (default: 10000)")
    parser.add_argument("--seed", type=int, help="run this one schedule only")
    options = parser.parse_args()
    if options.seed is not None:
        with patch.object(ledger, "storage", with_memory), patch.object(ledger, "_require_transaction", lambda: None):
            family(options.seed // FAMILY, options.seed % FAMILY)
        print(f"schedule {options.seed} agrees")
        return
    began, done, steps = time.process_time(), 0, 0
    while done < options.schedules:
        part = min(20_000, options.schedules - done)
        steps += run(part, done // FAMILY)
        done += part
        spent = time.process_time() - began
        print(f"\r{done:,} schedules, {steps:,} steps, {spent:,.0f} s of one core", end="", flush=True)
    print(f", {spent / done * 1e6:,.0f} µs each: no violation", file=sys.stdout)


if __name__ == "__main__":
    import os

    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.environ.setdefault("BURSAR_SECRET_KEY", "simulated")
    django.setup()
    main()
