"""What a comparison has found: tokens, latency and cost by variant and prompt, and what a variant saves. Pure.

A run is a sample. What models take for one prompt varies severalfold from call to call, so that one run of each says
what happened and not what will: savings come with the range that was seen, and with an interval from five runs on.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import median

from jobs.comparisons.spread import Sample, difference, interval

CALLS = 1000
USD_PLACES = Decimal("0.000000000001")
TOKEN_PLACES, PERCENT_PLACES = Decimal("0.1"), Decimal("0.1")
# Fewer say nothing about how far the next ones scatter.
LEAST_FOR_INTERVAL = 5
TOKENS = ("input", "cached", "reasoning", "visible", "output")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: `status` is that of its job, or `waiting` or `not_run`. `tokens` by name where the model answered.

    `usd` of the answer; `latency_ms` of the call that brought it, from its beginning to its end.
    """

    prompt: int
    variant: int
    status: str
    is_empty: bool = False
    tokens: Mapping[str, int] | None = None
    usd: Decimal | None = None
    latency_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """Of whole numbers: mean with one decimal, least and most."""

    mean: Decimal
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Cost:
    """US dollars of answers: of all together, of one on average, and of the cheapest and the dearest."""

    total: Decimal
    mean: Decimal
    least: Decimal
    most: Decimal


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds."""

    median: int
    most: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Of some runs. None: none of them was answered. `counts` by status, `empty` of those that were paid for."""

    runs: int
    counts: Mapping[str, int]
    empty: int
    tokens: Mapping[str, Range] | None
    latency: Latency | None
    cost: Cost | None


@dataclass(frozen=True, slots=True)
class Saving:
    """What a thousand calls of a variant cost less than of the baseline, in US dollars; below zero: more.

    Over the prompts that both have answers of, each counting alike. `least` and `most`: by the dearest answers of the
    variant and the cheapest of the baseline, and the other way round; None where a prompt has one run on each only.
    `low` and `high`: between them the saving of these prompts is with 95 % confidence (Welch's interval); None below
    five runs a prompt on each. `percent` of the baseline's cost; None where that is nothing.
    """

    prompts: int
    runs: int
    usd: Decimal
    percent: Decimal | None
    least: Decimal | None = None
    most: Decimal | None = None
    low: Decimal | None = None
    high: Decimal | None = None


def figures_of(outcomes: Iterable[Outcome]) -> Figures:
    """The figures of some runs together."""
    runs = list(outcomes)
    answered = [run for run in runs if run.tokens is not None]
    latencies = [run.latency_ms for run in runs if run.latency_ms is not None]
    return Figures(
        runs=len(runs),
        counts=Counter(run.status for run in runs),
        empty=sum(run.is_empty for run in runs),
        tokens={name: _range([run.tokens[name] for run in answered if run.tokens]) for name in TOKENS}
        if answered
        else None,
        latency=Latency(round(median(latencies)), max(latencies)) if latencies else None,
        cost=_cost([run.usd for run in answered if run.usd is not None]),
    )


def grouped(outcomes: Iterable[Outcome], by: Callable[[Outcome], int]) -> dict[int, list[Outcome]]:
    """Runs by the number of their prompt or variant."""
    found: dict[int, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        found[by(outcome)].append(outcome)
    return found


def saving(baseline: Iterable[Outcome], variant: Iterable[Outcome]) -> Saving | None:
    """What the variant saves against the baseline; None while no prompt was answered on both."""
    ours, theirs = _costs(baseline), _costs(variant)
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return None
    pairs = [(Sample(ours[prompt]), Sample(theirs[prompt])) for prompt in shared]
    usd = _mean([difference(one, other) for one, other in pairs])
    base = _mean([one.mean for one, _ in pairs])
    fewest = min(min(one.size, other.size) for one, other in pairs)
    least = most = low = high = None
    if fewest > 1:
        least = _thousand(_mean([one.least - other.most for one, other in pairs]))
        most = _thousand(_mean([one.most - other.least for one, other in pairs]))
    if fewest >= LEAST_FOR_INTERVAL:
        margin = interval(pairs)
        low, high = _thousand(usd - margin), _thousand(usd + margin)
    percent = (100 * usd / base).quantize(PERCENT_PLACES) if base else None
    return Saving(len(shared), fewest, _thousand(usd), percent, least, most, low, high)


def _costs(outcomes: Iterable[Outcome]) -> dict[int, list[Decimal]]:
    """What answers cost, by prompt."""
    found: dict[int, list[Decimal]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.tokens is not None and outcome.usd is not None:
            found[outcome.prompt].append(outcome.usd)
    return found


def _thousand(usd: Decimal) -> Decimal:
    return (usd * CALLS).quantize(USD_PLACES)


def _range(numbers: Collection[int]) -> Range:
    mean = (Decimal(sum(numbers)) / len(numbers)).quantize(TOKEN_PLACES)
    return Range(mean, min(numbers), max(numbers))


def _cost(amounts: Collection[Decimal]) -> Cost | None:
    if not amounts:
        return None
    total = sum(amounts, Decimal(0))
    return Cost(total, (total / len(amounts)).quantize(USD_PLACES), min(amounts), max(amounts))


def _mean(amounts: Sequence[Decimal]) -> Decimal:
    return sum(amounts, Decimal(0)) / len(amounts)
