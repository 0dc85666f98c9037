"""Prometheus' text format, version 0.0.4."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

PREFIX = "bursar_"
Value = int | float | Decimal


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure of a family; `suffix` is for the parts of a histogram."""

    value: Value
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its name without the prefix, what it says, and its figures."""

    name: str
    kind: Kind
    told: str
    samples: tuple[Sample, ...]


def gauge(name: str, told: str, value: Value) -> Family:
    """A family of one figure without labels."""
    return Family(name, Kind.GAUGE, told, (Sample(value),))


def histogram(bounds: Iterable[float], counts: Iterable[int], total: float, labels: Mapping[str, str]) -> list[Sample]:
    """The samples of one histogram: `counts` for each bound and for what is above the last, and the sum of all values.

    A value that equals a bound belongs to it.
    """
    samples, so_far = [], 0
    for bound, count in zip([*bounds, None], counts, strict=True):
        so_far += count
        samples.append(Sample(so_far, {**labels, "le": "+Inf" if bound is None else f"{bound:g}"}, "_bucket"))
    return [*samples, Sample(total, labels, "_sum"), Sample(so_far, labels, "_count")]


def written(families: Iterable[Family]) -> str:
    """All families as a scraper reads them."""
    return "".join(line for family in families for line in _lines(family))


def _lines(family: Family) -> Iterable[str]:
    name = PREFIX + family.name
    yield f"# HELP {name} {_escaped(family.told)}\n# TYPE {name} {family.kind}\n"
    for sample in family.samples:
        labels = ",".join(f'{label}="{_escaped(value, quoted=True)}"' for label, value in sample.labels.items())
        yield f"{name}{sample.suffix}{f'{{{labels}}}' if labels else ''} {_number(sample.value)}\n"


def _number(value: Value) -> str:
    # Without an exponent where it is money, so that a reader sees every place.
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _escaped(text: str, *, quoted: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quoted else text
