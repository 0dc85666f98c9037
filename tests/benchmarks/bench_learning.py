"""How well what is learnt says what comes next, by traffic of known distributions; and what it costs.

Coverage and caps are reckoned without a database, by the same code: five hundred calls to learn of, then twenty times a
hundred to judge by, learnt of in turn. Times are of this machine.
"""

import random
from decimal import Decimal
from statistics import mean, pstdev
from time import perf_counter
from typing import Any

import pytest

from accounts import remembered
from jobs.learning.classes import class_of
from jobs.learning.curves import Curve
from jobs.learning.folding import learn_some
from jobs.learning.kinds import Kind, Seen
from jobs.learning.levels import P50, P90, P99
from jobs.learning.predictions import likeness_of, predict
from jobs.models import Unlearnt
from jobs.validation import PromptRequest
from tests.learning.traffic import CODE, MODEL, Draw, Need, Traffic, bimodal, drifting, lognormal

pytestmark = pytest.mark.benchmark

SEEDS, LEARNT_OF, ROUNDS, AT_ONCE = 20, 500, 20, 100
CEILING = 65_536
BOUND = 25_000  # the cap that the provider advises to begin with
RISK = Decimal("0.01")
KNOWN: dict[str, tuple[Draw, tuple[int | None, ...]]] = {
    "lognormal": (lognormal, (None,)),
    "bimodal": (bimodal, (None,)),
    "drifting (twice in 5,000)": (drifting, (None,)),
    "lognormal, a third cut off at 2,500 and at 1,600": (lognormal, (None, 2500, 1600)),
}


def seen(need: Need, cap: int | None) -> Seen:
    output = need.whole if cap is None else min(cap, need.whole)
    is_cut = output < need.whole
    reasoning = min(need.reasoning, output)
    return Seen(43, 0, 60, output, reasoning, is_cut=is_cut, is_empty=is_cut and reasoning == output)


def one_run(draw: Draw, caps: tuple[int | None, ...], seed: int) -> list[float]:
    """Coverage of p50, p90, p99; cut off and empty under the cap recommended after 500; that cap."""
    rng, kind, number = random.Random(seed), Kind(), 0

    def drawn(count: int) -> list[Need]:
        nonlocal number
        number += count
        return [draw(rng, number - count + place) for place in range(count)]

    kind.learn([seen(need, rng.choice(caps)) for need in drawn(LEARNT_OF)])
    cap = curve_of(kind).cap(RISK)
    met, cut, empty = [0, 0, 0], 0, 0
    for _ in range(ROUNDS):
        curve, needs = curve_of(kind), drawn(AT_ONCE)
        for place, share in enumerate((P50, P90, P99)):
            most = curve.at(share)
            met[place] += sum(need.whole <= most for need in needs)
        cut += sum(need.whole > cap for need in needs)
        empty += sum(need.reasoning >= cap for need in needs)
        kind.learn([seen(need, rng.choice(caps)) for need in needs])
    judged = ROUNDS * AT_ONCE
    return [*(count / judged for count in met), cut / judged, empty / judged, cap]


def curve_of(kind: Kind) -> Curve:
    return kind.curves(CEILING)[0]


def test_coverage_and_empties(capsys):
    with capsys.disabled():
        print("\n| | within p50 | p90 | p99 | worst p90 | cut off at the cap | empty | worst empty | cap |")
        print("|---|---|---|---|---|---|---|---|---|")
        for name, (draw, caps) in KNOWN.items():
            runs = list(zip(*(one_run(draw, caps, seed) for seed in range(SEEDS)), strict=True))
            shares = [f"{mean(run):.1%} ± {pstdev(run):.1%}" for run in runs[:3]]
            worst = max(runs[1], key=lambda share: abs(share - 0.9))
            print(
                f"| {name} | {' | '.join(shares)} | {worst:.1%} | {mean(runs[3]):.2%} | {mean(runs[4]):.2%} "
                f"| {max(runs[4]):.2%} | {mean(runs[5]):,.0f} |"
            )


def with_a_reserve(draw: Draw, caps: tuple[int | None, ...], seed: int, risk: Decimal) -> tuple[float, float, float]:
    """The share of calls beyond what was likely; what quotas held of a bound; what the reserve paid, of all bounds."""
    rng, kind, number = random.Random(seed), Kind(), 0
    held, paid, beyond = 0, 0, 0
    for turn in range(-LEARNT_OF // AT_ONCE, ROUNDS):
        likely = min(curve_of(kind).cap(risk), BOUND)
        needs = [draw(rng, number + place) for place in range(AT_ONCE)]
        number += AT_ONCE
        if turn >= 0:
            held += likely * AT_ONCE
            over = [min(need.whole, BOUND) - likely for need in needs if need.whole > likely]
            beyond, paid = beyond + len(over), paid + sum(over)
        kind.learn([seen(need, rng.choice(caps)) for need in needs])
    judged = ROUNDS * AT_ONCE
    return beyond / judged, held / judged / BOUND, paid / judged / BOUND


@pytest.mark.parametrize("risk", [Decimal("0.01"), Decimal("0.05"), Decimal("0.10")])
def test_what_a_reserve_takes(risk, capsys):
    with capsys.disabled():
        print(f"\nrisk {risk}: beyond, worst of {SEEDS}; held of a bound of {BOUND:,}; paid by the reserve of it")
        for name, (draw, caps) in KNOWN.items():
            runs = list(zip(*(with_a_reserve(draw, caps, seed, risk) for seed in range(SEEDS)), strict=True))
            figures = f"{mean(runs[0]):.2%} | {max(runs[0]):.2%} | {mean(runs[1]):.0%} | {mean(runs[2]):.2%}"
            print(f"| {name} | {figures} |")


def microseconds(act: Any, times: int) -> float:
    begun = perf_counter()
    for _ in range(times):
        act()
    return (perf_counter() - begun) / times * 1e6


@pytest.mark.django_db
def test_what_it_costs(alice, capsys, monkeypatch):
    traffic = Traffic(alice, lognormal, CODE, seed=1)
    traffic.run(600)
    monkeypatch.setattr(remembered, "is_on", True)
    (bound,) = traffic._bounds.values()
    short = PromptRequest(MODEL, [{"role": "user", "content": CODE}], {})
    long = PromptRequest(MODEL, [{"role": "user", "content": CODE + " lorem ipsum dolor" * 5000}], {})

    def predicted(prompt: PromptRequest) -> None:
        predict(likeness_of(alice.project, prompt, bound), bound, lambda: traffic.terms)

    times = {
        "class of a short prompt": microseconds(lambda: class_of(short.messages, 60), 5000),
        "class of 90,000 characters": microseconds(lambda: class_of(long.messages, 60), 5000),
        "all of a prediction, short": microseconds(lambda: predicted(short), 5000),
        "all of a prediction, long": microseconds(lambda: predicted(long), 5000),
    }
    some = traffic.submit(2000)
    traffic.finish(some)
    begun = perf_counter()
    while Unlearnt.objects.exists():
        learn_some()
    times["learning, a job"] = (perf_counter() - begun) / len(some) * 1e6
    with capsys.disabled():
        print()
        for name, value in times.items():
            print(f"| {name} | {value:.1f} µs |")
