"""The simulations beside known bugs: each bug is planted alone, and one of them has to see it.

Most are planted where money is decided, and seen by the simulation on plain dictionaries (`million.py`) within a few
thousand schedules. Those of counting and of what is written are seen by the one on PostgreSQL: there a bug counts as
seen where a schedule disagrees that agrees without it; each starts at a schedule known to show it and has the next ones
in reserve. Those of locks are seen by threads, in `tests/billing/test_guards.py`.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing import (
    amounts,
    books,
    budgets,
    chain,
    counting,
    grants,
    ledger,
    limits,
    pricing,
    settlements,
    storage,
)
from billing.errors import AlreadyReleased
from billing.models.entries import EntryKind
from billing.periods import day_of, month_of
from billing.settlements import Move
from tests.simulation import million
from tests.simulation.running import Disagreement, run
from tests.simulation.schedule import schedule

MANY = 6400  # schedules on dictionaries, at most
SCHEDULES = 8  # schedules on PostgreSQL, at most, from the first that is named
STEPS = 40
ZERO = Decimal(0)

Bug = Callable[[Any], None]
BUGS: dict[str, Bug] = {}  # where money is decided
STORED: dict[str, tuple[int, Bug, bool]] = {}  # where it is counted and written
_agrees: dict[tuple[int, bool], bool] = {}  # schedules that were run without a bug


def bug(plant: Bug) -> Bug:
    """Registers a bug by the name of its function."""
    BUGS[plant.__name__] = plant
    return plant


def stored(first: int, *, has_reserves: bool = False) -> Callable[[Bug], Bug]:
    """Registers a bug of what is stored, with the first schedule to try."""

    def register(plant: Bug) -> Bug:
        STORED[plant.__name__] = (first, plant, has_reserves)
        return plant

    return register


def _memory_raises_unchecked(patch: Any) -> None:
    """Holds are raised without the condition of the UPDATE, which would catch the bug before the model does."""

    def raise_holds(self, raises):
        by_id = {account.budget_id: account for account in self.accounts.values()}
        for raised in raises:
            by_id[raised.budget_id].held += raised.amount
        return len(raises)

    patch.setattr(million.Memory, "raise_holds", raise_holds)


# --- Granting ---------------------------------------------------------------------------------------------------------
@bug
def a_batch_does_not_see_its_own_grants(patch):
    grant = grants.grant

    def blind(claims, binding, accounts):
        before = {key: replace(account) for key, account in accounts.items()}
        found = grants.Grants()
        taken: dict[Any, Any] = {}
        for claim in claims:
            one = grant([claim], binding, {key: replace(account) for key, account in before.items()})
            found.granted += one.granted
            found.refusals += one.refusals
            for raised in one.raises:
                amount = taken[raised.budget_id].amount if raised.budget_id in taken else ZERO
                taken[raised.budget_id] = replace(raised, amount=raised.amount + amount)
        found.raises = list(taken.values())
        return found

    patch.setattr(ledger, "grant", blind)
    _memory_raises_unchecked(patch)


@bug
def what_fits_to_the_last_digit_is_refused(patch):
    def fits(amount, limit, account):
        return not limit.is_hard or account.spent + account.held + amount < account.limit

    patch.setattr(grants, "fits", fits)


@bug
def a_digit_too_much_is_granted(patch):
    fits = grants.fits
    patch.setattr(grants, "fits", lambda amount, *more: fits(amount - Decimal("1e-12"), *more))
    _memory_raises_unchecked(patch)


@bug
def a_soft_limit_refuses(patch):
    def fits(amount, limit, account):
        return account.spent + account.held + amount <= account.limit

    patch.setattr(grants, "fits", fits)


@bug
def what_is_held_is_forgotten(patch):
    def fits(amount, limit, account):
        return not limit.is_hard or account.spent + amount <= account.limit

    patch.setattr(grants, "fits", fits)
    _memory_raises_unchecked(patch)


@bug
def a_refused_claim_holds_on_the_budgets_before_the_full_one(patch):
    grant = grants.grant

    def leaky(claims, binding, accounts):
        found = grant(claims, binding, accounts)
        for refusal in found.refusals[:1]:
            first = binding[refusal.claim.owner][0]
            account = accounts[first.key]
            found.raises = [raised for raised in found.raises if raised.budget_id != account.budget_id]
            found.raises.append(grants.Raise(account.budget_id, refusal.claim.amount_usd, is_hard=False))
        return found

    patch.setattr(ledger, "grant", leaky)


@bug
def only_the_first_limit_is_asked(patch):
    grant = grants.grant

    def hasty(claims, binding, accounts):
        return grant(claims, {owner: own[:1] for owner, own in binding.items()}, accounts)

    patch.setattr(ledger, "grant", hasty)


@bug
def a_quota_for_one_model_binds_every_model(patch):
    binds = limits.binds
    patch.setattr(limits, "binds", lambda quota, owner: binds(quota, replace(owner, model=None)))


@bug
def a_member_is_bound_in_other_organizations_too(patch):
    binds = limits.binds

    def anywhere(quota, owner):
        return quota.member_id == owner.member_id if quota.scope == "member" else binds(quota, owner)

    patch.setattr(limits, "binds", anywhere)


@bug
def a_limit_that_was_changed_is_not_seen(patch):
    opened = million.Memory.open_accounts

    def stale(self, wanted):
        kept = {key: account.limit for key, account in self.accounts.items()}
        found = opened(self, wanted)
        for key, limit in kept.items():
            self.accounts[key].limit = limit
            if key in found:
                found[key].limit = limit
        return found

    patch.setattr(million.Memory, "open_accounts", stale)


# --- Settling and releasing -------------------------------------------------------------------------------------------
def _moves(patch: Any, change: Callable[..., Any]) -> None:
    """Plants a bug into what resolving a reservation moves: change(found moves, reservation, settlement)."""
    moves = settlements.moves

    def changed(row, settled=None, *more):
        return change(moves(row, settled, *more), row, settled)

    patch.setattr(ledger, "moves", changed)


@bug
def settling_leaves_the_hold(patch):
    _moves(
        patch,
        lambda found, row, settled: {pk: Move(ZERO, m.spent) if settled else m for pk, m in found.items()},
    )


@bug
def settling_books_the_bound_and_not_the_cost(patch):
    _moves(
        patch,
        lambda found, row, settled: {pk: Move(m.held, -m.held if settled else ZERO) for pk, m in found.items()},
    )


@bug
def an_overrun_is_cut_to_the_bound(patch):
    _moves(
        patch,
        lambda found, row, settled: {pk: Move(m.held, min(m.spent, -m.held)) for pk, m in found.items()},
    )


@bug
def releasing_forgets_one_hold(patch):
    _moves(
        patch,
        lambda found, row, settled: found if settled else dict(list(found.items())[:-1]),
    )


@bug
def releasing_what_is_settled_gives_its_hold_back_again(patch):
    release = ledger.release

    def again(reference, *, reason):
        row = ledger.storage.rows.get(reference)
        if row is not None and row.status == "settled":
            accounts = {account.budget_id: account for account in ledger.storage.accounts.values()}
            ledger.storage.move(
                {h.budget_id: Move(-h.amount, ZERO) for h in row.holds if accounts[h.budget_id].held >= h.amount}
            )
        release(reference, reason=reason)

    patch.setattr(ledger, "release", again)


@bug
def settling_twice_books_twice(patch):
    settle = ledger.settle

    def twice(reference, tokens, **more):
        row = ledger.storage.rows.get(reference)
        if row is not None and row.status == "settled":
            spent = ledger.storage.usage[reference].total_usd
            ledger.storage.move({hold.budget_id: Move(ZERO, spent) for hold in row.holds})
        return settle(reference, tokens, **more)

    patch.setattr(ledger, "settle", twice)


@bug
def settling_what_was_released_passes_in_silence(patch):
    settle = ledger.settle

    def silent(reference, tokens, **more):
        try:
            return settle(reference, tokens, **more)
        except AlreadyReleased:
            row = ledger.storage.rows[reference]
            head = ledger.storage.lock([row.organization_id])[row.organization_id]
            return settlements.settlement(row, tokens, head, ledger.storage.now())

    patch.setattr(ledger, "settle", silent)


@bug
def doubt_gives_the_hold_back(patch):
    doubt = ledger.mark_in_doubt

    def lenient(reference, *, reason):
        row = ledger.storage.rows.get(reference)
        if row is not None and row.is_open and not row.is_in_doubt:
            ledger.storage.move(settlements.moves(row))
        doubt(reference, reason=reason)

    patch.setattr(ledger, "mark_in_doubt", lenient)


@bug
def a_price_that_came_later_is_used(patch):
    settlement = settlements.settlement

    def repriced(row, tokens, head, now):
        return settlement(replace(row, terms=ledger.terms_of(million._PRICE_ROWS["second"])), tokens, head, now)

    patch.setattr(ledger, "settlement", repriced)


@bug
def costs_are_counted_in_floats(patch):
    def cost(tokens, price):
        def times(count, rate):
            return Decimal(str(float(count) * float(rate) / 1e6 + 1e-9)).quantize(Decimal("1e-12"))

        return pricing.Cost(
            times(tokens.input - tokens.cached_input, price.input),
            times(tokens.cached_input, price.cached_input),
            times(tokens.output - tokens.reasoning, price.output),
            times(tokens.reasoning, price.output),
        )

    patch.setattr(settlements, "cost", cost)


@bug
def reasoning_is_priced_twice(patch):
    cost = settlements.cost

    def twice(tokens, price):
        once = cost(tokens, price)
        return replace(once, output_usd=once.output_usd + once.reasoning_usd)

    patch.setattr(settlements, "cost", twice)


@bug
def cached_input_is_free(patch):
    cost = settlements.cost
    patch.setattr(settlements, "cost", lambda tokens, price: replace(cost(tokens, price), cached_input_usd=ZERO))


@bug
def tokens_are_output_tokens_only(patch):
    def actual(usd, tokens):
        return amounts.Amounts(usd, tokens.output, tokens.output, tokens.reasoning)

    patch.setattr(settlements, "actual", actual)


@bug
def an_overrun_does_not_pause_its_project(patch):
    patch.setattr(ledger, "_pause_after_overrun", lambda settled, now: None)


# --- Batches ----------------------------------------------------------------------------------------------------------
@bug
def what_a_batch_names_twice_is_booked_twice(patch):
    settle_all = ledger.settle_all

    def twice(usages):
        records = settle_all(usages)
        named = set()
        for usage, record in zip(usages, records, strict=True):
            if usage.reference in named:
                row = ledger.storage.rows[usage.reference]
                ledger.storage.move({hold.budget_id: Move(ZERO, record.total_usd) for hold in row.holds})
            named.add(usage.reference)
        return records

    patch.setattr(ledger, "settle_all", twice)


@bug
def of_two_answers_to_one_call_the_last_is_booked(patch):
    settle_all = ledger.settle_all
    patch.setattr(ledger, "settle_all", lambda usages: settle_all(usages[::-1])[::-1])


@bug
def what_stands_before_a_mistake_in_a_batch_is_booked(patch):
    settle_all = ledger.settle_all
    patch.setattr(ledger, "settle_all", lambda usages: [record for usage in usages for record in settle_all([usage])])


@bug
def what_was_released_is_left_out_of_its_batch_in_silence(patch):
    settle_all = ledger.settle_all

    def lenient(usages):
        rows = ledger.storage.rows
        kept = [usage for usage in usages if usage.reference not in rows or rows[usage.reference].status != "released"]
        return settle_all(kept if len(usages) > 1 else usages)

    patch.setattr(ledger, "settle_all", lenient)


@bug
def two_calls_of_a_batch_move_a_budget_once(patch):
    patch.setattr(ledger, "total", lambda found: {pk: move for each in found for pk, move in each.items()})


# --- Windows, months and clocks ---------------------------------------------------------------------------------------
@bug
def a_week_is_a_month(patch):
    patch.setattr(limits, "week_of", month_of)


@bug
def a_week_begins_on_sunday(patch):
    def week_of(instant):
        today = day_of(instant).start
        start = today - timedelta(days=today.isoweekday() % 7)
        return limits.Window(start, start + timedelta(days=7))

    patch.setattr(limits, "week_of", week_of)


@bug
def a_month_begins_a_day_late(patch):
    def late(instant):
        return month_of(instant - timedelta(days=1))

    patch.setattr(limits, "month_of", late)


@bug
def a_call_belongs_to_the_month_of_its_answer(patch):
    settlement = settlements.settlement

    def of_answer(row, tokens, head, now):
        return replace(settlement(row, tokens, head, now), booked_at=now)

    patch.setattr(ledger, "settlement", of_answer)


@bug
def late_truth_is_booked_in_its_closed_month(patch):
    patch.setattr(settlements, "booked_at", lambda happened_at, head, now: happened_at)


@bug
def late_truth_counts_on_the_budgets_of_its_closed_month(patch):
    def old(settled, heads, now):
        in_time = [replace(each, booked_at=each.reserved.reserved_at) for each in settled]
        return settlements.total(settlements.moves(each.reserved, each) for each in in_time)

    patch.setattr(ledger, "_moves", old)


@bug
def a_clock_that_is_set_back_reopens_a_closed_month(patch):
    patch.setattr(ledger, "clock", lambda head, now: now)
    patch.setattr(settlements, "clock", lambda head, now: now)


# --- Corrections and books --------------------------------------------------------------------------------------------
@bug
def a_correction_does_not_count_on_the_project(patch):
    corrected = ledger._is_corrected
    patch.setattr(ledger, "_is_corrected", lambda limit: corrected(limit) and limit.scope != "project")


@bug
def a_correction_counts_for_one_model_too(patch):
    corrected = ledger._is_corrected
    patch.setattr(ledger, "_is_corrected", lambda limit: corrected(replace(limit, model="")))


@bug
def the_chain_is_not_sealed(patch):
    def extend(head, lines):
        for line in lines:
            head.sequence += 1
            line.sequence = head.sequence
        return [(line, head.seal) for line in lines]

    patch.setattr(chain, "extend", extend)


@bug
def a_release_is_not_written_into_the_book(patch):
    append = million.Memory.append

    def forgetful(self, heads, lines):
        append(self, heads, [line for line in lines if line.kind != EntryKind.RELEASE])

    patch.setattr(million.Memory, "append", forgetful)


# --- Reserves ---------------------------------------------------------------------------------------------------------
def _other_ways(patch: Any, change: Callable[[Any, Any], Any]) -> None:
    """Calls are held in the ways that this makes of the right ones and of what is likely."""
    ways_to_hold = grants.ways_to_hold

    def ways(bound, likely, of):
        found = ways_to_hold(bound, likely, of)
        return change(found, likely) if len(found) > 1 else found

    patch.setattr(grants, "ways_to_hold", ways)


@bug
def what_is_beyond_the_likely_is_held_nowhere(patch):
    _other_ways(patch, lambda found, likely: (replace(found[-1], usd=likely.usd), found[-1]))


@bug
def the_bound_is_held_though_the_reserve_has_room(patch):
    _other_ways(patch, lambda found, likely: found[::-1])


@bug
def a_reserve_takes_any_risk(patch):
    ways_to_hold = grants.ways_to_hold

    def ways(bound, likely, of):
        return ways_to_hold(bound, likely and replace(likely, risk=ZERO), of)

    patch.setattr(grants, "ways_to_hold", ways)


@bug
def only_the_first_reserve_holds(patch):
    held = grants._held

    def first(wanted, binding):
        reserves = [each for each in binding if each[0].is_reserve]
        kept = [pair for pair in zip(wanted, binding, strict=True) if pair[1] not in reserves[1:]]
        return held([amount for amount, _ in kept], [each for _, each in kept])

    patch.setattr(grants, "_held", first)


@bug
def a_quota_counts_what_the_reserve_pays(patch):
    actual = settlements.actual
    patch.setattr(settlements, "actual", lambda usd, tokens, reserve_usd=ZERO: actual(usd, tokens))


@bug
def a_reserve_pays_what_is_above_the_bound(patch):
    def paid(total, bound, likely):
        return ZERO if likely is None else max(total - likely, ZERO)

    patch.setattr(settlements, "paid_by_reserve", paid)


@bug
def the_tiers_limit_on_a_project_is_relieved(patch):
    patch.setattr(limits, "is_relieved", lambda measure, scope, quota_id: measure == "usd" and scope != "organization")


@stored(12, has_reserves=True)
def a_quota_that_is_counted_counts_what_the_reserve_paid(patch):
    patch.setattr(counting, "is_relieved", lambda measure, scope, quota_id: False)


@stored(0, has_reserves=True)
def what_is_likely_is_not_kept(patch):
    patch.setattr(storage, "_RESERVE", storage._RESERVE.replace("reserved_at, likely_usd\n", "reserved_at, NULL\n"))


@stored(0, has_reserves=True)
def what_a_reserve_paid_is_not_written(patch):
    at, usage_row = storage._USAGE_COLUMNS.index("reserve_usd"), storage._usage_row

    def row(*given):
        made = usage_row(*given)
        return (*made[:at], ZERO, *made[at + 1 :])

    patch.setattr(storage, "_usage_row", row)


# --- What is counted and stored ---------------------------------------------------------------------------------------
@stored(19)
def a_quota_binds_one_instant_past_its_expiry(patch):
    patch.setattr(budgets, "_QUOTAS", budgets._QUOTAS.replace("expires_at > %s", "expires_at >= %s"))


@stored(0)
def a_quota_made_in_mid_window_begins_at_nothing(patch):
    patch.setattr(budgets, "spent_in", lambda limit, window: Decimal(0))


@stored(0)
def a_quota_made_in_mid_window_does_not_see_what_is_held(patch):
    patch.setattr(budgets, "held_in", lambda limit, window: {})


@stored(0)
def a_quota_made_in_mid_window_gets_no_holds(patch):
    opened = budgets._open

    def without(limit):
        account = opened(limit)
        counting.Reservation.budgets.through.objects.filter(budget=account.budget_id).delete()
        return account

    patch.setattr(budgets, "_open", without)


@stored(1)
def a_member_is_counted_in_other_organizations_too(patch):
    of_owner = counting._of_owner

    def anywhere(limit):
        if limit.scope != "member":
            return of_owner(limit)
        return {"member_id": counting.Quota.objects.get(pk=limit.quota_id).member_id}

    patch.setattr(counting, "_of_owner", anywhere)


@stored(1)
def what_a_quota_counted_before_is_kept_when_it_counts_something_else(patch):
    patch.setattr(budgets, "recount", lambda quota: None)


@stored(32)
def a_changed_limit_is_not_written_onto_its_open_budget(patch):
    def open_accounts(wanted):
        by_key = {limit.key: limit for limit in wanted}
        found = budgets._accounts(by_key.values())
        return found | {key: budgets._open(limit) for key, limit in by_key.items() if key not in found}

    patch.setattr(storage, "open_accounts", open_accounts)


@stored(0)
def the_rollup_is_not_added(patch):
    patch.setattr(storage, "_RECORD", storage._RECORD.partition(", added AS")[0] + " SELECT")


@stored(0)
def the_rollup_gets_the_first_of_a_batch_only(patch):
    patch.setattr(storage, "_RECORD", storage._RECORD.replace("FROM written", "FROM (SELECT * FROM written LIMIT 1)"))


@stored(0)
def two_moves_of_one_statement_reach_one_budget(patch):
    move = storage.move

    def one(moves):
        move(dict(list(moves.items())[:1]))

    patch.setattr(storage, "move", one)


@stored(0)
def a_line_is_not_written(patch):
    append = books.append

    def forgetful(heads, lines):
        append(heads, [line for line in lines if line.kind != EntryKind.RELEASE])

    patch.setattr(storage, "append", forgetful)


# --- The tests --------------------------------------------------------------------------------------------------------
def test_the_simulation_agrees_without_a_bug():
    assert million.run(MANY) > 10 * MANY


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", BUGS)
def test_many_schedules_see_a_bug(name, monkeypatch):
    BUGS[name](monkeypatch)
    with pytest.raises(million.Violation) as violation:
        million.run(MANY)
    print(str(violation.value).partition("\n")[0])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", STORED)
@pytest.mark.django_db
def test_the_stored_simulation_sees_a_bug(name, monkeypatch):
    first, plant, has_reserves = STORED[name]
    for seed in range(first, first + SCHEDULES):
        if _seen(schedule(seed, STEPS, has_reserves=has_reserves), plant, monkeypatch):
            return
    pytest.fail(f"{SCHEDULES} schedules from {first} on did not see that {name.replace('_', ' ')}")


def _seen(plan, plant, monkeypatch):
    """Whether a schedule disagrees with the bug, and agrees without it."""
    one = (plan.seed, plan.has_reserves)
    with monkeypatch.context() as patch:
        plant(patch)
        told = _disagreement(plan, patch)
    if told is None:
        return False
    if one not in _agrees:
        with monkeypatch.context() as patch:
            _agrees[one] = _disagreement(plan, patch) is None
    if _agrees[one]:
        print(told.partition("organizations {")[0])
    return _agrees[one]


def _disagreement(plan, patch):
    try:
        run(plan, patch)
    except Disagreement as disagreement:
        return str(disagreement)
    return None
