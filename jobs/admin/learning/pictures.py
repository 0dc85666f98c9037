"""What the templates show of distributions and of the calibration: bars as geometry, figures as texts."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from billing.admin.money import dollars
from jobs.learning.calibration import SHARES, Line
from jobs.learning.figures import ENDS, RISK, Figures

BAR_WIDTH, GAP, HEIGHT = 22, 16, 120
# A guess of money is not written further than a millionth of a dollar.
MICRO = Decimal("0.000001")
# A bar that nobody would see.
LEAST = Decimal("0.0005")
PLACE = 2 * BAR_WIDTH + GAP
ROWS = (("reasoning", "Reasoning"), ("visible", "Visible"), ("completion", "Both"))


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, in units of the SVG."""

    kind: str
    x: int
    y: str
    height: str


@dataclass(frozen=True, slots=True)
class Place:
    """Reasoning and visible tokens of one size side by side."""

    title: str
    label: str
    middle: int
    bars: list[Bar]


@dataclass(frozen=True, slots=True)
class Picture:
    width: int
    height: int
    sentence: str
    highest: str
    places: list[Place]


def card_of(figures: Figures, place: int) -> dict[str, Any]:
    """One distribution with its picture. `place`: on the page, for ids."""
    row, learnt = figures.row, figures.learnt
    cap = figures.recommended_cap()
    cost = figures.mean_cost_usd
    return {
        "id": f"kind-{place}",
        "title": f"{row.model}, {row.prompt_class or 'all prompts'}",
        "effort": row.reasoning_effort or "none asked for",
        "project": row.project.name if row.project else "All projects",
        "calls": f"{row.calls:,}",
        "cut": f"{row.cut_calls:,}",
        "empty": f"{row.empty_calls:,}",
        "learnt_at": row.learnt_at,
        "picture": picture_of(figures),
        "rows": [(label, *_quantiles(figures, name)) for name, label in ROWS],
        "cap": f"{cap:,} tokens" if cap is not None else "none",
        "cap_note": (
            f"At most {_percent(RISK)} of calls need more"
            if cap is not None
            else f"Too few calls, or too many cut off, to keep {_percent(RISK)}; the model makes "
            f"{learnt.completion.ceiling:,} at most"
        ),
        "cost": dollars(cost.quantize(MICRO)) if cost is not None else "not known",
    }


def picture_of(figures: Figures) -> Picture:
    """Shares of calls by powers of two; sizes that no call needed are left out at both ends."""
    reasoning, visible = figures.bars("reasoning"), figures.bars("visible")
    used = [place for place, pair in enumerate(zip(reasoning, visible, strict=True)) if max(pair) >= LEAST]
    first, last = (used[0], used[-1]) if used else (0, 0)
    highest = max(*reasoning, *visible, Decimal("0.000001"))
    places = [
        _place(place - first, place, {"part-reasoning": reasoning[place], "part-visible": visible[place]}, highest)
        for place in range(first, last + 1)
    ]
    spans = {name: figures.quantiles(figures.curves[name]) for name in ("reasoning", "visible")}
    told = "; ".join(f"{name}: half need up to {_tokens(span['p50'])}" for name, span in spans.items())
    return Picture(
        width=PLACE * len(places),
        height=HEIGHT,
        sentence=f"Shares of calls by tokens. {told.capitalize()}. The table below has the figures.",
        highest=_percent(highest),
        places=places,
    )


def _place(column: int, place: int, shares: dict[str, Decimal], highest: Decimal) -> Place:
    left = column * PLACE + GAP // 2
    bars = []
    for offset, (kind, share) in enumerate(shares.items()):
        height = share * HEIGHT / highest
        bars.append(Bar(kind, left + offset * BAR_WIDTH, f"{HEIGHT - height:.2f}", f"{height:.2f}"))
    told = ", ".join(f"{kind.removeprefix('part-')} {_percent(share)}" for kind, share in shares.items())
    above = f"{ENDS[place - 1] + 1:,} to " if place else "up to "
    return Place(
        title=f"{above}{ENDS[place]:,} tokens: {told}",
        label=_short(ENDS[place]),
        middle=left + BAR_WIDTH,
        bars=bars,
    )


def _quantiles(figures: Figures, name: str) -> list[str]:
    found = figures.quantiles(figures.curves[name])
    return [f"{figures.means[name]:,.0f}", *(_tokens(found[share]) for share in SHARES)]


def _tokens(tokens: int | None) -> str:
    return "not known" if tokens is None else f"{tokens:,}"


def _short(tokens: int) -> str:
    return f"{tokens // 1024}k" if tokens >= 1024 else str(tokens)


def _percent(share: Decimal) -> str:
    return f"{(share * 100).normalize():f} %" if share == RISK else f"{share * 100:.1f} %"


def calibration_row(line: Line) -> dict[str, Any]:
    """A line as texts."""
    coverage = line.coverage
    return {
        "month": f"{line.month:%Y-%m}" if line.month else "",
        "project": line.project,
        "model": line.model,
        "jobs": f"{line.jobs:,}",
        "coverage": [
            (_percent(found), f"{line.judged[place]:,}") if (found := coverage[share]) is not None else ("none", "0")
            for place, share in enumerate(SHARES)
        ],
        "expected": dollars(line.expected_usd.quantize(MICRO)),
        "actual": dollars(line.actual_usd),
        "off": f"{(line.actual_usd / line.expected_usd - 1) * 100:+.1f} %" if line.expected_usd else "",
        "expected_empty": f"{line.expected_empty:,.1f}",
        "actual_empty": f"{line.actual_empty:,}",
    }
