"""What the chaos bench can be told by the environment, as listed in docs/benchmarks.md."""

import os
import random
from dataclasses import dataclass


def _number(name: str, default: float) -> float:
    return float(os.environ.get(f"CHAOS_{name}") or default)


@dataclass(frozen=True)
class Knobs:
    """How much load, for how long, and how much goes wrong meanwhile."""

    seed: int
    minutes: float  # of load; recovery comes on top
    jobs: int
    kills: int  # of Bursar's own processes
    stops: int  # processes that stand still for some seconds
    flushes: int
    valkey_kills: int
    postgres_kills: int
    faults: float  # share of the calls in which the provider goes wrong

    @property
    def seconds(self) -> float:
        return self.minutes * 60

    def __str__(self) -> str:
        return " ".join(f"CHAOS_{name.upper()}={value}" for name, value in vars(self).items())


def from_environment() -> Knobs:
    return Knobs(
        seed=int(_number("SEED", random.randrange(1_000_000))),
        minutes=_number("MINUTES", 3),
        jobs=int(_number("JOBS", 2000)),
        kills=int(_number("KILLS", 24)),
        stops=int(_number("STOPS", 6)),
        flushes=int(_number("FLUSHES", 8)),
        valkey_kills=int(_number("VALKEY_KILLS", 3)),
        postgres_kills=int(_number("POSTGRES_KILLS", 3)),
        faults=_number("FAULTS", 0.02),
    )
