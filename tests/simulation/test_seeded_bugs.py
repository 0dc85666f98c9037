"""The simulation's own test: bugs put into the money core one at a time, each of which it has to see.

A bug counts as seen where a schedule disagrees that agrees without it. Each starts at a schedule known to show it
and has the next ones in reserve, so that a change of the schedules does not make the test blind at once.

Not here: limits that are read before the lock is taken. One thread alone cannot see that;
`tests/billing/test_budgets.py` has it with two.
"""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F

from billing import books, budgets, counting, ledger, pricing, rollups, verification
from billing.errors import AlreadyReleased
from billing.models import Budget, LedgerEntry, Reservation
from billing.models.budgets import ReservationStatus
from billing.periods import day_of, month_of
from tests.simulation.running import Disagreement, run
from tests.simulation.schedule import schedule

SCHEDULES = 8  # so many at most, from the first that is named
STEPS = 40

Bug = Callable[[Any], None]
BUGS: dict[str, tuple[int, Bug]] = {}
_agrees: dict[int, bool] = {}  # schedules that were run without a bug


def bug(first: int) -> Callable[[Bug], Bug]:
    """Registers a bug by the name of its function, with the first schedule to try."""

    def register(plant: Bug) -> Bug:
        BUGS[plant.__name__] = (first, plant)
        return plant

    return register


# --- Deciding ---------------------------------------------------------------------------------------------------------
@bug(1)
def a_batch_does_not_see_its_own_grants(patch):
    fits = ledger._fits
    patch.setattr(ledger, "_fits", lambda claim, limit, rows, taken: fits(claim, limit, rows, dict.fromkeys(taken, 0)))
    patch.setattr(ledger, "_raise_holds", _unchecked)


@bug(0)
def what_fits_to_the_last_digit_is_refused(patch):
    def fits(claim, limit, rows, taken):
        row = rows[limit.key]
        total = row.spent + row.held + taken[limit.key] + claim.amounts.of(limit.measure)
        return not limit.is_hard or total < row.limit

    patch.setattr(ledger, "_fits", fits)


@bug(3)
def a_digit_too_much_is_granted(patch):
    fits = ledger._fits

    def nearly(claim, limit, rows, taken):
        return fits(claim, limit, rows, {key: amount - Decimal("1e-12") for key, amount in taken.items()})

    patch.setattr(ledger, "_fits", nearly)
    patch.setattr(ledger, "_raise_holds", _unchecked)


@bug(0)
def a_soft_limit_refuses(patch):
    def fits(claim, limit, rows, taken):
        row = rows[limit.key]
        return row.spent + row.held + taken[limit.key] + claim.amounts.of(limit.measure) <= row.limit

    patch.setattr(ledger, "_fits", fits)


@bug(1)
def a_limit_that_was_changed_is_not_written_onto_its_open_budget(patch):
    def open_budgets(limits):
        wanted = {limit.key: limit for limit in limits}
        found = budgets._budgets(wanted.values())
        return found | {key: budgets._open(limit) for key, limit in wanted.items() if key not in found}

    patch.setattr(ledger, "open_budgets", open_budgets)
    patch.setattr(ledger, "_raise_holds", _unchecked)


@bug(0)
def a_quota_for_one_model_binds_every_model(patch):
    binds = budgets.binds

    def any_model(quota, owner):
        return binds(quota, budgets.Owner(owner.project, owner.team_id, owner.member_id, owner.api_key_id))

    patch.setattr(budgets, "binds", any_model)


@bug(6)
def a_quota_binds_one_instant_past_its_expiry(patch):
    quotas_at = budgets.quotas_at

    def late(organizations, now):
        organizations = list(organizations)
        rows = quotas_at(organizations, now)
        over = budgets.Quota.objects.filter(organization_id__in=organizations, expires_at=now)
        return sorted([*rows, *over], key=lambda row: row.pk)

    patch.setattr(budgets, "quotas_at", late)


# --- Settling and releasing -------------------------------------------------------------------------------------------
@bug(0)
def settling_leaves_the_hold(patch):
    def settle_holds(reservation, amounts):
        for hold in reservation.holds.select_related("budget"):
            Budget.objects.filter(pk=hold.budget_id).update(spent=F("spent") + amounts.of(hold.budget.measure))

    patch.setattr(ledger, "_settle_holds", settle_holds)


@bug(0)
def settling_books_the_bound_and_not_the_cost(patch):
    settle_holds = ledger._settle_holds
    patch.setattr(
        ledger, "_settle_holds", lambda reservation, amounts: settle_holds(reservation, counting.bound_of(reservation))
    )


@bug(0)
def an_overrun_is_cut_to_the_bound(patch):
    settle_holds = ledger._settle_holds

    def cut(reservation, amounts):
        usd = min(amounts.usd, reservation.amount_usd)
        whole = counting.Amounts(usd, amounts.tokens, amounts.output_tokens, amounts.reasoning_tokens)
        settle_holds(reservation, whole)

    patch.setattr(ledger, "_settle_holds", cut)


@bug(0)
def releasing_forgets_one_hold(patch):
    def release(reference, *, reason):
        reservation, locked = ledger._locked_reservation(reference)
        if reservation.status == ReservationStatus.OPEN:
            _give_back(reservation, list(reservation.holds.order_by("id"))[:-1])
            _close(reservation, locked, reason)

    patch.setattr(ledger, "release", release)


@bug(3)
def releasing_what_is_settled_gives_its_hold_back_again(patch):
    release = ledger.release

    def again(reference, *, reason):
        reservation, _ = ledger._locked_reservation(reference)
        if reservation.status == ReservationStatus.SETTLED:
            holds = [hold for hold in reservation.holds.select_related("budget") if hold.budget.held >= hold.amount]
            _give_back(reservation, holds)
        release(reference, reason=reason)

    patch.setattr(ledger, "release", again)


@bug(1)
def settling_twice_books_twice(patch):
    settle = ledger.settle

    def twice(reference, tokens, **more):
        reservation, _ = ledger._locked_reservation(reference)
        if reservation.status == ReservationStatus.SETTLED:
            for hold in reservation.holds.all():
                Budget.objects.filter(pk=hold.budget_id).update(spent=F("spent") + reservation.settled_usd)
        return settle(reference, tokens, **more)

    patch.setattr(ledger, "settle", twice)


@bug(2)
def settling_what_was_released_passes_in_silence(patch):
    settle = ledger.settle

    def silent(reference, tokens, **more):
        try:
            return settle(reference, tokens, **more)
        except AlreadyReleased:
            return Reservation.objects.get(reference=reference)

    patch.setattr(ledger, "settle", silent)
    patch.setattr("tests.simulation.product._of_record", _what_there_is)


@bug(2)
def doubt_gives_the_hold_back(patch):
    doubt = ledger.mark_in_doubt

    def lenient(reference, *, reason):
        reservation, _ = ledger._locked_reservation(reference)
        if reservation.status == ReservationStatus.OPEN and not reservation.is_in_doubt:
            _give_back(reservation, reservation.holds.all())
        doubt(reference, reason=reason)

    patch.setattr(ledger, "mark_in_doubt", lenient)


@bug(1)
def the_newest_price_is_used_and_not_the_one_of_the_reservation(patch):
    terms_of = ledger.terms_of

    def newest(price):
        rows = type(price).objects.filter(model=price.model, service_tier=price.service_tier)
        return terms_of(rows.latest("effective_from"))

    patch.setattr(ledger, "terms_of", newest)


@bug(0)
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

    patch.setattr(ledger, "cost", cost)
    patch.setattr(verification, "cost", cost)


@bug(5)
def tokens_are_output_tokens_only(patch):
    def actual(usd, tokens):
        return counting.Amounts(usd, tokens.output, tokens.output, tokens.reasoning)

    patch.setattr(ledger, "actual", actual)


@bug(0)
def an_overrun_does_not_pause_its_project(patch):
    patch.setattr(ledger, "_pause_after_overrun", lambda record, now: None)


# --- Windows and counting ---------------------------------------------------------------------------------------------
@bug(0)
def a_week_is_a_month(patch):
    patch.setattr(budgets, "week_of", month_of)


@bug(0)
def a_week_begins_on_sunday(patch):
    def week_of(instant):
        today = day_of(instant).start
        start = today - _days(today.isoweekday() % 7)
        return budgets.Window(start, start + _days(7))

    patch.setattr(budgets, "week_of", week_of)


@bug(0)
def a_quota_made_in_mid_window_begins_at_nothing(patch):
    patch.setattr(budgets, "spent_in", lambda limit, window: Decimal(0))


@bug(0)
def a_quota_made_in_mid_window_does_not_see_what_is_held(patch):
    patch.setattr(budgets, "held_in", lambda limit, window: {})


@bug(0)
def a_quota_made_in_mid_window_gets_no_holds(patch):
    opened = budgets._open

    def without(limit):
        row = opened(limit)
        row.holds.all().delete()
        return row

    patch.setattr(budgets, "_open", without)


@bug(1)
def a_member_is_counted_in_other_organizations_too(patch):
    of_owner = counting._of_owner

    def anywhere(limit):
        if limit.scope != "member":
            return of_owner(limit)
        return counting.Q(member_id=counting.Quota.objects.get(pk=limit.quota_id).member_id)

    patch.setattr(counting, "_of_owner", anywhere)


@bug(1)
def what_a_quota_counted_before_is_kept_when_it_counts_something_else(patch):
    patch.setattr(budgets, "recount", lambda quota: None)


# --- Corrections and books --------------------------------------------------------------------------------------------
@bug(0)
def a_correction_does_not_count_on_the_project(patch):
    limits_of = ledger.limits_of
    patch.setattr(
        ledger,
        "limits_of",
        lambda owner, now: [limit for limit in limits_of(owner, now) if limit.scope != "project"],
    )


@bug(1)
def a_correction_counts_for_one_model_too(patch):
    limits_of = ledger.limits_of

    def every(owner, now):
        return [budgets.replace_model(limit) for limit in limits_of(owner, now)]

    patch.setattr(budgets, "replace_model", _without_model, raising=False)
    patch.setattr(ledger, "limits_of", every)


@bug(0)
def the_rollup_is_not_added(patch):
    patch.setattr(rollups, "add", lambda record: None)


@bug(0)
def the_chain_is_not_sealed(patch):
    def append(locked, entries):
        for pk, book in locked.items():
            own = [entry for entry in entries if entry.organization_id == pk]
            for entry in own:
                book.head_sequence += 1
                entry.sequence, entry.seal = book.head_sequence, book.head_seal
            book.save()
        LedgerEntry.objects.bulk_create(entries)

    patch.setattr(books, "append", append)


@bug(0)
def a_release_is_not_written_into_the_book(patch):
    append = books.append

    def forgetful(locked, entries):
        append(locked, [entry for entry in entries if entry.kind != "release"])

    patch.setattr(books, "append", forgetful)


# --- What bugs are made of --------------------------------------------------------------------------------------------
def _days(number):
    return timedelta(days=number)


def _without_model(limit):
    return budgets.Limit(**{name: getattr(limit, name) for name in limit.__slots__} | {"model": ""})


def _unchecked(rows, taken, limits):
    """Holds are raised without the condition of the UPDATE, which would catch the bug before the model does."""
    for key, amount in taken.items():
        Budget.objects.filter(pk=rows[key].pk).update(held=F("held") + amount)


def _give_back(reservation, holds):
    for hold in holds:
        Budget.objects.filter(pk=hold.budget_id).update(held=F("held") - hold.amount)


def _close(reservation, locked, reason):
    now = ledger.database_now()
    ledger._resolve(reservation, ReservationStatus.RELEASED, now)
    entry = ledger._entry(reservation, ledger.EntryKind.RELEASE, now, held=-reservation.amount_usd, reason=reason)
    books.append(locked, [entry])


def _what_there_is(record):
    if isinstance(record, Reservation):
        return "settled"
    tokens = (record.input_tokens, record.cached_input_tokens, record.output_tokens, record.reasoning_tokens)
    return record.total_usd, tokens, record.is_overrun


# --- The test ---------------------------------------------------------------------------------------------------------
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", BUGS)
@pytest.mark.django_db
def test_the_simulation_sees_a_bug(name, monkeypatch):
    first, plant = BUGS[name]
    for seed in range(first, first + SCHEDULES):
        if _seen(seed, plant, monkeypatch):
            return
    pytest.fail(f"{SCHEDULES} schedules from {first} on did not see that {name.replace('_', ' ')}")


def _seen(seed, plant, monkeypatch):
    """Whether a schedule disagrees with the bug, and agrees without it."""
    plan = schedule(seed, STEPS)
    with monkeypatch.context() as patch:
        plant(patch)
        told = _disagreement(plan, patch)
    if told is None:
        return False
    if seed not in _agrees:
        with monkeypatch.context() as patch:
            _agrees[seed] = _disagreement(plan, patch) is None
    if _agrees[seed]:
        print(told.partition("organizations {")[0])
    return _agrees[seed]


def _disagreement(plan, patch):
    try:
        run(plan, patch)
    except Disagreement as disagreement:
        return str(disagreement)
    return None
