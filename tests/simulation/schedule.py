"""From a seed, a world and what happens in it: steps with all their values, so that a schedule replays to the digit.

The amounts are chosen by a model that is run along, near what a limit has room for: at it, or a digit
below or above it.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from uuid import UUID

from tests.simulation.model import (
    ZERO,
    AddQuota,
    Adjust,
    Call,
    ChangeLimit,
    ChangeQuota,
    CloseMonths,
    Crash,
    Doubt,
    Jump,
    Limit,
    Model,
    MoveProject,
    NewPrice,
    Quota,
    Release,
    ReleaseAll,
    RemoveQuota,
    Reserve,
    SetTier,
    Settle,
    SettleAll,
    Step,
    World,
    window,
)

TIER_LIMITS = {1: Decimal(6), 2: Decimal("37.5"), 3: Decimal(150), 4: Decimal(1000), 5: Decimal(5000)}
DIGIT = Decimal("0.000000000001")
MICROSECOND = timedelta(microseconds=1)
# Ends of months, of a leap February, of a year; a Sunday before a Monday; an ordinary Wednesday.
BEGINNINGS = ("2024-02-28", "2024-09-29", "2024-12-30", "2025-01-31", "2025-06-15", "2026-03-18", "2026-08-30")
SCOPES = ("organization", "team", "project", "member", "key")
MEASURES = ("usd", "usd", "tokens", "output_tokens", "reasoning_tokens", "jobs")
WINDOWS = ("day", "week", "month", "fixed")
RISKS = (Decimal("0.01"), Decimal("0.05"))


@dataclass(frozen=True)
class Schedule:
    seed: int
    world: World
    start: datetime
    tier: dict[str, int]
    steps: tuple[Step, ...]
    has_reserves: bool = False

    def model(self) -> Model:
        """A model at the beginning of the schedule."""
        return Model(self.world, TIER_LIMITS, self.start, dict(self.tier), dict(self.world.project_team))


def schedule(seed: int, length: int = 30, *, has_reserves: bool = False) -> Schedule:
    """The schedule of a seed: always the same. `has_reserves`: another one, in which organizations keep reserves."""
    return _Maker(seed, has_reserves).make(length)


class _Maker:
    def __init__(self, seed: int, has_reserves: bool):
        self.seed, self.has_reserves = seed, has_reserves
        self.random = Random(f"{seed} with reserves") if has_reserves else Random(seed)
        self.world = self._world()
        day = datetime.fromisoformat(self.random.choice(BEGINNINGS)).replace(tzinfo=UTC)
        self.start = day + timedelta(seconds=self.random.randrange(86_400), microseconds=self.random.randrange(10**6))
        self.tier = {name: self.random.choice((2, 3, 4, 5)) for name in self.world.organizations}
        self.model = Model(self.world, TIER_LIMITS, self.start, dict(self.tier), dict(self.world.project_team))
        self.steps: list[Step] = []
        self.names = 0

    def make(self, length: int) -> Schedule:
        for model in self.world.models:
            self._do(self._price(model))
        for _ in range(self.random.randint(1, 3)):
            self._do(self._add_quota())
        if self.has_reserves:
            for organization in self.world.organizations:
                self._do(AddQuota(self._reserve_of(organization), self.random.random() < 0.5))
        choices = {
            self._reserve: 30,
            self._settle: 14,
            self._settle_all: 11,
            self._release: 5,
            self._release_all: 3,
            self._doubt: 4,
            self._stale: 8,
            self._adjust: 7,
            self._add_quota: 8,
            self._change_limit: 5,
            self._change_quota: 5,
            self._remove_quota: 1,
            self._set_tier: 3,
            self._move_project: 2,
            self._new_price: 3,
            self._jump: 14,
            self._close_months: 4,
        }
        while len(self.steps) < length:
            (make,) = self.random.choices(list(choices), list(choices.values()))
            step = make()
            if step is None:
                continue
            if self.random.random() < 0.08 and not isinstance(step, Jump | NewPrice):
                self._do(Crash(step))
            self._do(step)
        return Schedule(self.seed, self.world, self.start, self.tier, tuple(self.steps), self.has_reserves)

    def _do(self, step: Step) -> None:
        self.steps.append(step)
        self.model.apply(step)

    def _world(self) -> World:
        organizations = ("A", "B")[: self.random.choice((1, 2, 2))]
        projects = {f"{organization}/{name}": organization for organization in organizations for name in ("p", "q")}
        keys = {f"{project}/{member}": (project, member) for project in projects for member in ("ann", "ben")}
        shared = self.random.random() < 0.5
        teams = {p: f"{o}/team" if shared or p.endswith("p") else None for p, o in projects.items()}
        return World(
            organizations,
            ("ann", "ben"),
            ("sim-large", "sim-small"),
            projects,
            teams,
            {key: project for key, (project, _) in keys.items()},
            {key: member for key, (_, member) in keys.items()},
        )

    def _name(self, kind: str) -> str:
        self.names += 1
        return f"{kind}{self.names}"

    # --- Calls --------------------------------------------------------------------------------------------------------
    def _reserve(self) -> Step:
        trial = replace(self.model, reservations=dict(self.model.reservations))  # what is reserved here is tried only
        calls = []
        for _ in range(self.random.choice((1, 1, 2, 3, 4, 6))):
            calls.append(self._call(trial))
            trial.apply(Reserve((calls[-1],)))
        return Reserve(tuple(calls))

    def _call(self, trial: Model) -> Call:
        random = self.random
        key, model = random.choice(list(self.world.key_project)), random.choice(self.world.models)
        price = [price.name for price in trial.prices.values() if price.model == model][-1]
        usd = self._usd(random.choice(("0.01", "0.5", "3")))
        tokens_in, tokens_out = random.choice((0, random.randrange(9_000))), random.randrange(1, 30_000)
        call = Call(str(UUID(int=random.getrandbits(128), version=4)), key, model, usd, tokens_in, tokens_out, price)
        limits = [limit for limit in trial.binding(key, model) if limit.name]
        if random.random() < 0.1:  # seldom: where a tier's limit is full, there is little left to do
            limits = trial.binding(key, model)
        if limits and random.random() < 0.7:
            call = self._near_the_room(call, trial, random.choice(limits))
        return self._with_likely(call, trial) if self.has_reserves and random.random() < 0.8 else call

    def _with_likely(self, call: Call, trial: Model) -> Call:
        """The call with a bound that quotas may have no room for, of which most will hardly be needed."""
        random, limits = self.random, trial.binding(call.key, call.model)
        relieved = [limit for limit in limits if limit.is_relieved]
        if relieved and random.random() < 0.6:
            room = max(trial.room(random.choice(relieved)), ZERO)
            call = replace(call, usd=room + self._usd("1"))
            likely = max(room + random.choice((-1, 0, 0, 1)) * DIGIT, ZERO)
        else:
            likely = call.usd * random.choice((0, 1, 5, 10)) / 10
        return replace(call, likely=likely.quantize(DIGIT), risk=random.choice((RISKS[0], *RISKS)))

    def _near_the_room(self, call: Call, trial: Model, limit: Limit) -> Call:
        """The call, grown or shrunk to what a limit has room for: exactly, a digit less, a digit more."""
        room, beside = trial.room(limit), self.random.choice((-1, 0, 0, 0, 1))
        if limit.measure == "usd":
            return replace(call, usd=max(room + beside * DIGIT, ZERO))
        fits = int(room) + beside - (call.input if limit.measure == "tokens" else 0)
        return replace(call, output=min(max(fits, 1), 10**6)) if limit.measure != "jobs" else call

    def _usd(self, scale: str) -> Decimal:
        return (Decimal(self.random.randrange(1, 10**12)) * DIGIT * Decimal(scale)).quantize(DIGIT)

    def _settle(self) -> Step | None:
        opened = list(self.model.open())
        return self._bill(self.random.choice(opened).call) if opened else None

    def _bill(self, call: Call) -> Settle:
        random, price = self.random, self.model.prices[call.price]
        most = int(call.usd * 1_000_000 / price.output)  # that much output the bound pays for
        tokens_out = random.randint(0, most) if most else 0
        tokens_out = min(tokens_out, call.output)
        if random.random() < 0.12:
            tokens_out = min(most, 100_000) + random.randint(1, 2_000)  # above the bound
        tokens_in = random.choice((0, random.randrange(1, 4_000), random.randrange(1, 4_000)))
        cached = random.randint(0, tokens_in)
        return Settle(call.reference, tokens_in, cached, tokens_out, random.randint(0, tokens_out))

    def _release(self) -> Step | None:
        opened = list(self.model.open())
        return Release(self.random.choice(opened).call.reference) if opened else None

    def _settle_all(self) -> Step | None:
        """Some answers together; now and then one comes twice, or for a call that is over or never was."""
        calls = self._some_open()
        if not calls:
            return None
        settles = [self._bill(call) for call in calls]
        if self.random.random() < 0.3:
            settles.append(self._bill(self.random.choice(calls)))
        stale = self._stale() if self.random.random() < 0.3 else None
        if isinstance(stale, Settle):
            settles.insert(self.random.randrange(len(settles)), stale)
        return SettleAll(tuple(settles))

    def _release_all(self) -> Step | None:
        references = [call.reference for call in self._some_open()]
        stale = self._stale() if self.random.random() < 0.3 else None
        if isinstance(stale, Release):
            references.append(stale.reference)
        return ReleaseAll(tuple(references)) if references else None

    def _some_open(self) -> list[Call]:
        opened = [reservation.call for reservation in self.model.open()]
        return self.random.sample(opened, min(len(opened), self.random.randint(2, 5)))

    def _doubt(self) -> Step | None:
        opened = list(self.model.open())
        return Doubt(self.random.choice(opened).call.reference) if opened else None

    def _stale(self) -> Step | None:
        """Something for a call that is over, or that never was."""
        over = [reservation.call for reservation in self.model.reservations.values() if reservation.state != "open"]
        if not over or self.random.random() < 0.05:
            reference = str(UUID(int=self.random.getrandbits(128), version=4))
            return self.random.choice((Settle(reference, 0, 0, 1, 0), Release(reference), Doubt(reference)))
        call = self.random.choice(over)
        again = self.random.choice((Settle, Settle, Release, Release, Doubt))
        return self._bill(call) if again is Settle else again(call.reference)

    def _adjust(self) -> Step:
        project = self.random.choice(list(self.world.project_organization))
        return Adjust(project, self._usd("1") * self.random.choice((1, 1, -1)))

    # --- Limits -------------------------------------------------------------------------------------------------------
    def _add_quota(self) -> Step:
        return AddQuota(self._quota(), self.random.random() < 0.5)

    def _quota(self) -> Quota:
        random = self.random
        organization, scope = random.choice(self.world.organizations), random.choice(SCOPES)
        projects = [name for name, owner in self.world.project_organization.items() if owner == organization]
        owners = {
            "organization": [organization],
            "team": [f"{organization}/team", f"{organization}/team", f"{organization}/crew"],
            "project": projects,
            "member": self.world.members,
            "key": [key for key, project in self.world.key_project.items() if project in projects],
        }
        quota = Quota(
            name=self._name("quota"),
            organization=organization,
            scope=scope,
            owner=random.choice(owners[scope]),
            model=random.choice(("", "", *self.world.models)),
            measure="usd",
            window="month",
            limit=ZERO,
            is_hard=random.random() < 0.85,
            starts=None,
            expires=None,
        )
        return self._counting(quota)

    def _reserve_of(self, organization: str) -> Quota:
        """A reserve, of a month or of a day."""
        kind, risk = self.random.choice(("month", "month", "day")), self.random.choice((RISKS[1], *RISKS))
        fields = {"model": "", "measure": "reserve_usd", "window": kind, "starts": None, "expires": None}
        name, limit = self._name("reserve"), self._usd("6")
        return Quota(name, organization, "organization", organization, **fields, limit=limit, is_hard=True, risk=risk)

    def _counting(self, quota: Quota) -> Quota:
        """The same quota, with another measure and window, and a limit that suits them."""
        random, now = self.random, self.model.now
        measure, kind = random.choice(MEASURES), random.choice(WINDOWS)
        starts = expires = None
        if kind == "fixed":
            starts = now + timedelta(hours=random.choice((-60, -24, -5, 0, 3)))
            expires = starts + timedelta(hours=random.choice((7, 61, 72, 240)))
            if random.random() < 0.4:  # whole days
                starts, expires = window("day", starts, None, None)[0], window("day", expires, None, None)[1]
        elif random.random() < 0.2:
            starts = now + timedelta(hours=random.choice((-30, 2, 20)))
        elif random.random() < 0.3:
            expires = now + timedelta(hours=random.choice((1, 5, 20, 90)))
        quota = replace(quota, measure=measure, window=kind, starts=starts, expires=expires)
        return replace(quota, limit=self._amount(quota))

    def _amount(self, quota: Quota) -> Decimal:
        """A limit that is soon reached; often what is used already and a little, or not even that."""
        used = sum(self.model.used(self.model.quota_at(quota, self.model.now)), ZERO)
        dollars = self._usd("4")
        little = {"usd": dollars, "reserve_usd": dollars, "jobs": Decimal(self.random.randrange(1, 9))}
        more = little.get(quota.measure, Decimal(self.random.randrange(100_000)))
        limit = self.random.choice((used + more, used + more, used + 2 * more, used or more, used / 2 or more))
        return max(limit, ZERO).quantize(DIGIT if quota.measure in ("usd", "reserve_usd") else Decimal(1))

    def _change_limit(self) -> Step | None:
        if not self.model.quotas:
            return None
        quota = self.random.choice(list(self.model.quotas.values()))
        is_hard = quota.is_hard ^ (self.random.random() < 0.2) or quota.risk is not None
        return ChangeLimit(quota.name, self._amount(quota), is_hard, self.random.random() < 0.5)

    def _change_quota(self) -> Step | None:
        quotas = [quota for quota in self.model.quotas.values() if quota.risk is None]
        if not quotas:
            return None
        quota = self._counting(self.random.choice(quotas))
        return ChangeQuota(replace(quota, model=self.random.choice((quota.model, "", *self.world.models))))

    def _remove_quota(self) -> Step | None:
        return RemoveQuota(self.random.choice(list(self.model.quotas))) if self.model.quotas else None

    def _set_tier(self) -> Step:
        organization, tier = self.random.choice(self.world.organizations), self.random.choice(list(TIER_LIMITS))
        return SetTier(organization, tier, self.random.random() < 0.5)

    def _move_project(self) -> Step:
        project, organization = self.random.choice(list(self.world.project_organization.items()))
        return MoveProject(project, self.random.choice((f"{organization}/team", f"{organization}/crew", None)))

    def _new_price(self) -> Step:
        return self._price(self.random.choice(self.world.models))

    def _price(self, model: str) -> NewPrice:
        million = Decimal(10) ** -6  # prices have six places, so that costs have twelve
        whole = Decimal(self.random.randrange(10**6, 9 * 10**7)) * million
        half = Decimal(self.random.randrange(0, int(whole / million))) * million
        return NewPrice(self._name("price"), model, whole, half, Decimal(self.random.randrange(10**6, 10**8)) * million)

    # --- Time ---------------------------------------------------------------------------------------------------------
    def _close_months(self) -> Step:
        return CloseMonths(self.random.choice(self.world.organizations))

    def _jump(self) -> Step:
        random, now = self.random, self.model.now
        if random.random() < 0.12:  # the clock is set back
            return Jump(now - timedelta(hours=random.choice((1, 5, 30, 400, 900))))
        ends = [window(kind, now, None, None)[1] for kind in ("day", "day", "week", "month")]
        for quota in self.model.quotas.values():
            ends += [instant for instant in (quota.starts, quota.expires) if instant and instant > now]
        edges = [instant for end in ends for instant in (end - MICROSECOND, end) if instant > now]
        hours = random.choice((1, 5, 17, 24, 40, 170, 700))
        return Jump(random.choice(edges) if random.random() < 0.5 else now + timedelta(hours=hours))
