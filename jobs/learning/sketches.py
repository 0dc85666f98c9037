"""How many tokens calls needed, in bins: small, mergeable, and able to forget. Touches no clock and no database.

Bins are those of DDSketch (Masson, Rim and Lee, VLDB 2019): each is a hundredth wide, so a quantile that is read from
them is off by half a hundredth of its own value at most, however many calls went in and in whatever order.

A call that was cut off at its cap needed more than it got, and nobody knows how much more: it is kept apart.
"""

from collections.abc import Iterator
from typing import Any

from ddsketch.mapping import LogarithmicMapping
from ddsketch.store import DenseStore

ACCURACY = 0.005
_MAPPING = LogarithmicMapping(ACCURACY)
# From the value that stands for a bin to its upper end.
_TO_END = (1 + _MAPPING.gamma) / 2
# What rounding may have taken off the end of a bin that is a whole number.
_ROUNDING = 1e-9
# Weights fade to less than this and are dropped: a millionth of a call.
_LEAST = 1e-6


def bin_of(tokens: int) -> int:
    """The bin of a number of tokens. Zero is a number too, so all are counted one higher."""
    return int(_MAPPING.key(tokens + 1))


def end_of(bin_: int) -> int:
    """The most tokens that a bin holds."""
    return int(_MAPPING.value(bin_) * _TO_END + _ROUNDING) - 1


def middle_of(bin_: int) -> float:
    """The tokens that stand for a bin."""
    return max(0.0, float(_MAPPING.value(bin_)) - 1)


class Needs:
    """Tokens that calls needed, and those that calls had got when they were cut off; both with weights."""

    __slots__ = ("cut", "met")

    def __init__(self) -> None:
        self.met, self.cut = DenseStore(), DenseStore()

    def add(self, tokens: int, *, is_cut: bool, weight: float = 1.0) -> None:
        """One call. `is_cut`: it would have gone on."""
        (self.cut if is_cut else self.met).add(bin_of(tokens), weight)

    def merge(self, other: "Needs") -> None:
        self.met.merge(other.met)
        self.cut.merge(other.cut)

    def fade(self, factor: float) -> None:
        """Every call so far counts that much of what it did."""
        for store in (self.met, self.cut):
            store.bins = [weight * factor for weight in store.bins]
            store.count *= factor

    def bins(self) -> Iterator[tuple[int, float, float]]:
        """Bin, weight of the calls that needed so much, weight of those cut off there; ascending, none empty."""
        met, cut = dict(_filled(self.met)), dict(_filled(self.cut))
        for key in sorted(met.keys() | cut.keys()):
            yield key, met.get(key, 0.0), cut.get(key, 0.0)

    @property
    def weight(self) -> float:
        return float(self.met.count + self.cut.count)

    def written(self) -> dict[str, Any]:
        """As JSON keeps it: of each store the first bin, and the weights from there on."""
        return {"met": _written(self.met), "cut": _written(self.cut)}

    @classmethod
    def read(cls, written: dict[str, Any]) -> "Needs":
        needs = cls()
        for name, store in (("met", needs.met), ("cut", needs.cut)):
            first, weights = written.get(name) or (0, ())
            for place, weight in enumerate(weights):
                if weight:
                    store.add(first + place, weight)
        return needs


def _filled(store: DenseStore) -> Iterator[tuple[int, float]]:
    for place, weight in enumerate(store.bins):
        if weight > _LEAST:
            yield place + store.offset, weight


def _written(store: DenseStore) -> list[Any]:
    filled = list(_filled(store))
    if not filled:
        return [0, []]
    first, last = filled[0][0], filled[-1][0]
    weights = [0.0] * (last - first + 1)
    for key, weight in filled:
        weights[key - first] = round(weight, 6)
    return [first, [int(weight) if weight == int(weight) else weight for weight in weights]]
