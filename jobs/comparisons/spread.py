"""How far a difference of two means may be from the truth. Pure.

Welch's interval, which expects no equal variances; over several prompts their differences are averaged, each prompt
with a variance of its own. It says something of these prompts alone, and not of others that were not compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

# Student's t, 97.5 %, by degrees of freedom from 1 on (NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2).
_T = (
    *("12.706", "4.303", "3.182", "2.776", "2.571", "2.447", "2.365", "2.306", "2.262", "2.228"),
    *("2.201", "2.179", "2.160", "2.145", "2.131", "2.120", "2.110", "2.101", "2.093", "2.086"),
    *("2.080", "2.074", "2.069", "2.064", "2.060", "2.056", "2.052", "2.048", "2.045", "2.042"),
)
# Between 30 and infinitely many it falls from 2.042 to 1.960; the larger one is never too narrow.
_T_OF_MANY = Decimal(_T[-1])


@dataclass(frozen=True, slots=True)
class Sample:
    """What some calls of one kind cost."""

    amounts: Sequence[Decimal]

    @property
    def size(self) -> int:
        return len(self.amounts)

    @property
    def mean(self) -> Decimal:
        return sum(self.amounts, Decimal(0)) / self.size

    @property
    def least(self) -> Decimal:
        return min(self.amounts)

    @property
    def most(self) -> Decimal:
        return max(self.amounts)

    @property
    def variance_of_mean(self) -> Decimal:
        """How uncertain the mean is, squared; of two amounts at least."""
        mean = self.mean
        return sum(((one - mean) ** 2 for one in self.amounts), Decimal(0)) / (self.size - 1) / self.size


def difference(one: Sample, other: Sample) -> Decimal:
    """How much less the second costs on average."""
    return one.mean - other.mean


def interval(pairs: Sequence[tuple[Sample, Sample]]) -> Decimal:
    """Half of the width of the 95 % interval around the mean difference of the pairs, each of two amounts at least."""
    parts = [(sample.variance_of_mean / len(pairs) ** 2, sample.size - 1) for pair in pairs for sample in pair]
    variance = sum((part for part, _ in parts), Decimal(0))
    if not variance:
        return Decimal(0)
    # Welch and Satterthwaite: as many degrees of freedom as one variance would have that is as uncertain.
    freedom = int(variance**2 / sum((part**2 / degrees for part, degrees in parts), Decimal(0)))
    return student_t(max(freedom, 1)) * variance.sqrt()


def student_t(freedom: int) -> Decimal:
    """The factor for 95 % between two bounds."""
    return Decimal(_T[freedom - 1]) if freedom <= len(_T) else _T_OF_MANY
