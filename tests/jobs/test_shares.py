"""Turns between organizations and projects, by the plain arithmetic: weights, idleness, and what a stranger gets."""

from collections import Counter
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from jobs.dispatch.shares import FairOrder, Party, Shares

weights = st.integers(1, 400)
costs = st.integers(10**6, 10**10)  # nanoseconds: no limit admits more than a thousand calls a millisecond


def party(number: int, weight: int) -> Party:
    return Party(UUID(int=number), weight)


def run(shares: Shares, turns: list, costs_of: dict[UUID, int], starts: int) -> Counter:
    """Starts so many calls; what each project had, in the cost of its calls."""
    order, had = FairOrder(shares, turns), Counter()
    for _ in range(starts):
        _, project = order.first()
        had[project.id] += costs_of[project.id]
        order.start(costs_of[project.id])
    return had


@given(st.lists(st.tuples(weights, costs), min_size=2, max_size=6))
def test_what_projects_get_is_in_proportion_to_their_weights_whatever_their_calls_cost(given_):
    organization = party(1, 100)
    projects = [party(10 + n, weight) for n, (weight, _) in enumerate(given_)]
    cost = {project.id: c for project, (_, c) in zip(projects, given_, strict=True)}
    had = run(Shares(), [(organization, project) for project in projects], cost, 400)
    served = [had[project.id] / project.weight for project in projects]
    one_call = max(cost[project.id] / project.weight for project in projects)
    # At no time is one further ahead of another than a single call of the largest.
    assert max(served) - min(served) <= one_call * 1.01 + 1


@given(weights, weights, st.integers(2, 5), st.integers(0, 300))
def test_organizations_share_by_weight_however_many_projects_they_have(weight, other_weight, projects, starts):
    many, few = party(1, weight), party(2, other_weight)
    turns = [(many, party(10 + n, 100)) for n in range(projects)] + [(few, party(20, 100))]
    had = run(Shares(), turns, {project.id: 10**6 for _, project in turns}, starts)
    of_few = had[UUID(int=20)] / other_weight
    of_many = (sum(had.values()) - had[UUID(int=20)]) / weight
    assert abs(of_few - of_many) <= 10**6 / min(weight, other_weight) * 1.01


@given(st.integers(1, 500), weights, costs)
def test_a_stranger_is_next_and_gets_no_more_for_having_been_away(before, weight, cost):
    shares, organization = Shares(), party(1, 100)
    flood, stranger = party(10, 100), party(11, weight)
    cost_of = {flood.id: 10**6, stranger.id: cost}
    run(shares, [(organization, flood)], cost_of, before)
    assert shares.is_behind(organization, stranger) is (before > 1)
    assert not shares.is_behind(organization, flood)
    order = FairOrder(shares, [(organization, flood), (organization, stranger)])
    assert order.first() == (organization, stranger)
    order.start(cost)
    # It begins at the present instant: its second call does not go before the flood's for all the time it was away.
    assert stranger.begun_ns == organization.clock_ns
    assert stranger.served_ns > flood.begun_ns


def test_who_leaves_lets_the_others_on_and_nothing_is_booked_for_what_was_undone():
    shares, organization, other = Shares(), party(1, 100), party(2, 100)
    turns = [(organization, party(10, 100)), (organization, party(11, 100)), (other, party(12, 100))]
    order = FairOrder(shares, turns)
    order.leave()
    order.start(5)
    order.start(5)
    assert {project.served_ns for _, project in turns} == {0, 5}
    shares.undo(0)
    assert {project.served_ns for _, project in turns} == {0}
    assert (organization.served_ns, other.served_ns, shares.clock_ns, shares.changed) == (0, 0, 0, {})
    for _ in range(2):
        order.leave()
    assert order.first() is None


def test_all_that_are_left_are_listed_in_the_order_of_their_turns():
    shares, organization = Shares(), party(1, 100)
    turns = [(organization, Party(UUID(int=n), 100, served_ns=100 - n)) for n in range(10, 20)]
    assert [project.id.int for project in FairOrder(shares, turns).upcoming()] == list(range(19, 9, -1))
