"""The estimate against what can be reckoned by hand, and against the truth of drawn calls."""

import json
import random
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.learning.curves import Curve
from jobs.learning.kinds import Kind, Seen
from jobs.learning.sketches import Needs, bin_of, end_of

CEILING = 100_000
D = Decimal


def curve(*calls: int, cut: tuple[int, ...] = ()) -> Curve:
    needs = Needs()
    for tokens in calls:
        needs.add(tokens, is_cut=False)
    for tokens in cut:
        needs.add(tokens, is_cut=True)
    return Curve(needs, scale=1.0, ceiling=CEILING)


def near(tokens: int):
    return pytest.approx(tokens, rel=0.011, abs=1)


@given(st.integers(0, 10_000_000))
def test_a_bin_is_a_hundredth_wide(tokens):
    key = bin_of(tokens)
    assert end_of(key - 1) < tokens + 1
    assert tokens <= end_of(key) <= tokens * 1.0101 + 1


def test_the_next_call_is_reckoned_in():
    """Of ten calls one more may be the largest: only the largest of nineteen and more says a 95th percentile."""
    ten = curve(*range(100, 1100, 100))
    assert ten.at(D("0.5")) == near(600)
    assert ten.at(D("0.9")) == near(1000)
    assert ten.at(D("0.95")) == CEILING
    assert ten.known_share == D("0.909091")


def test_nothing_is_known_of_no_calls():
    none = curve()
    assert (none.at(D("0.5")), none.cap(D("0.01")), none.known_share, none.mean()) == (CEILING, CEILING, 0, 0)
    assert none.over(10) == D("0.5")
    assert none.over(CEILING) == 0


def test_what_was_cut_off_is_not_the_need():
    """Kaplan and Meier by hand: four calls, one cut off at 200, which might have gone on to 300 or 400 as two did."""
    known = curve(100, 300, 400, cut=(200,))
    assert known.mean() == pytest.approx(D(0.25 * 100 + 0.375 * 300 + 0.375 * 400), rel=D("0.01"))
    # Taken for the need, the cap would be the median.
    assert curve(100, 300, 400, cut=(200,)).at(D("0.4")) > 250


def test_beyond_the_largest_cap_nothing_is_known():
    known = curve(*[100] * 50, cut=(200,) * 50)
    assert known.at(D("0.4")) == near(100)
    assert known.at(D("0.9")) == CEILING
    assert known.cap(D("0.01")) == CEILING
    assert known.over(5000) == pytest.approx(D("0.5"), abs=D("0.01"))
    assert known.known_share == pytest.approx(D("0.49"), abs=D("0.01"))


@pytest.mark.parametrize("seed", range(3))
def test_caps_do_not_change_what_is_learnt_of_the_need(seed):
    rng = random.Random(seed)
    needs = [round(rng.lognormvariate(7, 0.8)) for _ in range(4000)]
    free, cut = Needs(), Needs()
    for need in needs:
        cap = rng.choice((1500, 4000, 40_000))
        free.add(need, is_cut=False)
        cut.add(min(need, cap), is_cut=need > cap)
    one, other = (Curve(each, scale=1.0, ceiling=CEILING) for each in (free, cut))
    for share in ("0.5", "0.9", "0.95"):
        assert other.at(D(share)) == pytest.approx(one.at(D(share)), rel=0.08)
    assert other.over(3000) == pytest.approx(one.over(3000), abs=D("0.015"))
    assert other.mean(3000) == pytest.approx(D(sum(min(need, 3000) for need in needs)) / len(needs), rel=D("0.03"))


def test_nineteen_of_twenty_recommended_caps_keep_the_risk():
    """Each from 500 calls; the truth is known by another hundred thousand."""
    rng = random.Random(5)
    truth = sorted(round(rng.lognormvariate(7, 0.8)) for _ in range(100_000))
    kept = 0
    for _ in range(200):
        cap = curve(*rng.sample(truth, 500)).cap(D("0.01"))
        kept += sum(need > cap for need in truth[-2000:]) <= 1000
    assert kept >= 185


def test_a_cap_needs_calls_enough():
    assert curve(*range(1000, 1050)).cap(D("0.01")) == CEILING
    assert curve(*range(1000, 1150)).cap(D("0.01")) == near(1149)
    assert curve(*range(1000, 1150)).cap(D("0.2")) < 1140


SEEN = st.builds(
    Seen,
    input_tokens=st.integers(0, 5000),
    cached_tokens=st.just(0),
    bound_input_tokens=st.integers(5000, 6000),
    output_tokens=st.integers(0, 60_000),
    reasoning_tokens=st.integers(0, 0),
    is_cut=st.booleans(),
    is_empty=st.booleans(),
)


@given(st.lists(SEEN, min_size=1, max_size=60), st.data())
@settings(deadline=None)
def test_it_is_the_same_however_many_are_learnt_of_at_a_time(calls, data):
    cut = data.draw(st.integers(0, len(calls)))
    whole, parts = Kind(), Kind()
    whole.learn(calls)
    for some in (calls[:cut], calls[cut:]):
        parts = Kind.read_back(json.loads(json.dumps(parts.written())))
        parts.learn(some)
    assert parts.calls == pytest.approx(whole.calls, rel=1e-3)
    for name in ("completion", "reasoning", "visible"):
        one, other = list(getattr(whole, name).bins()), list(getattr(parts, name).bins())
        assert [bin_ for bin_, *_ in one] == [bin_ for bin_, *_ in other]
        assert [w for _, *ws in one for w in ws] == pytest.approx([w for _, *ws in other for w in ws], abs=1e-4)


def test_merging_is_as_learning_of_both():
    one, other, both = Needs(), Needs(), Needs()
    for place in range(300):
        for needs in ((one, other)[place % 2], both):
            needs.add(place * 37 % 1000, is_cut=place % 7 == 0)
    one.merge(other)
    assert list(one.bins()) == list(both.bins())


def test_old_calls_fade():
    kind = Kind()
    old = Seen(10, 0, 10, 100, 50, is_cut=False, is_empty=False)
    new = Seen(10, 0, 10, 10_000, 50, is_cut=False, is_empty=False)
    kind.learn([old] * 3000)
    assert kind.calls == pytest.approx(721, abs=2)
    kind.learn([new] * 250)
    assert kind.curves(CEILING)[0].over(5000) == pytest.approx(D("0.5"), abs=D("0.01"))


def test_an_answer_that_shows_anything_had_ended_its_reasoning():
    kind = Kind()
    kind.learn([Seen(10, 0, 10, 300, 300, is_cut=True, is_empty=True)])
    kind.learn([Seen(10, 0, 10, 300, 200, is_cut=True, is_empty=False)])
    assert [cut > 0 for _, _, cut in kind.completion.bins()] == [True]
    assert [(met > 0, cut > 0) for _, met, cut in kind.reasoning.bins()] == [(True, False), (False, True)]
    assert [(met > 0, cut > 0) for _, met, cut in kind.visible.bins()] == [(False, True)]
