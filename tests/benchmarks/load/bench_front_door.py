"""Many official clients at once at `/v1/chat/completions`, for minutes, while the provider goes wrong now and then.

None of them sees an exception, and what their answers say they cost is what bill and ledger say.
"""

import threading
import time
from collections import Counter
from decimal import Decimal

import openai
import pytest

from tests.benchmarks.load import books, knobs
from tests.benchmarks.load.fleet import Fleet, Setup, fleet

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(7200)]

CLIENTS = 64
# What Bursar mends by itself: refusals that cost nothing are tried again, and a lost answer is looked up.
FAULTS = ("429", "500", "cut_after_billing")
FAULTY = 0.02


class Caller(threading.Thread):
    """One program: asks, reads the answer, asks again."""

    def __init__(self, ours: Fleet, number: int, until: float) -> None:
        super().__init__(name=f"caller {number}")
        self._client = openai.OpenAI(api_key=ours.keys["load-0"], base_url=f"{ours.address}/v1")
        self._number, self._until = number, until
        self.seconds: list[float] = []
        self.cost = Decimal(0)
        self.exceptions: Counter[str] = Counter()

    def run(self) -> None:
        while time.monotonic() < self._until:
            began = time.monotonic()
            try:
                answer = self._client.chat.completions.create(
                    model="o1-mini",
                    messages=[{"role": "user", "content": f"Question {len(self.seconds)} of {self._number}"}],
                    max_completion_tokens=4000,
                )
            except Exception as error:
                self.exceptions[f"{type(error).__name__}: {error}"[:200]] += 1
                continue
            self.seconds.append(time.monotonic() - began)
            assert answer.choices[0].message.content
            self.cost += Decimal(answer.usage.cost["total_usd"])


def test_many_official_clients(durable_servers, tell):
    with fleet(durable_servers, Setup(slots=400)) as ours:
        ours.simulator.set_latency(0.5, 3.0)
        for kind in FAULTS:
            ours.simulator.fault(kind, count=None, probability=FAULTY / len(FAULTS))
        until = time.monotonic() + knobs.MINUTES * 60
        callers = [Caller(ours, number, until) for number in range(CLIENTS)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        ours.simulator.clear_faults()
        seconds = sorted(second for caller in callers for second in caller.seconds)
        exceptions = sum((caller.exceptions for caller in callers), Counter())
        cost = sum((caller.cost for caller in callers), Decimal(0))
        mended = ours.sql("SELECT status, error_code, count(*) FROM jobs_attempt WHERE error_code <> '' GROUP BY 1, 2")
        proof = books.prove(ours, submitted=len(seconds))
        ledger = ours.sql("SELECT sum(spent_change_usd) FROM billing_ledgerentry")[0][0]
    median, p99 = seconds[len(seconds) // 2], seconds[int(len(seconds) * 0.99)]
    tell(f"{CLIENTS} official clients for {knobs.MINUTES:g} minutes: {len(seconds)} answers, median {median:.2f} s,")
    tell(f"  p99 {p99:.2f} s; exceptions {dict(exceptions)}; mended {mended}")
    tell(f"  the answers say {cost} USD; {proof}")
    assert not exceptions
    assert cost == ledger
