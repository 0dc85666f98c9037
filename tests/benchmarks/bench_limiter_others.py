"""What a flood of ours comes to beside somebody else on the same account, on the real scripts and a set clock.

`used` is our share of what they left, `late` what was refused although its turn was given after the first refusal.
"""

import pytest

from tests.jobs.limiter_others import MINUTE_MS
from tests.jobs.test_limiter_others import DURATIONS, OTHERS, SETTLED, played

pytestmark = pytest.mark.benchmark
MINUTES = 10


@pytest.mark.parametrize("by_tokens", [False, True], ids=["RPM", "TPM"])
@pytest.mark.parametrize("calls", DURATIONS)
@pytest.mark.parametrize("others", OTHERS)
def test_beside_somebody_else(calls, others, by_tokens, capsys):
    world = played(calls, others, minutes=MINUTES, by_tokens=by_tokens)
    used = world.used_of_the_rest(SETTLED, MINUTES * MINUTE_MS)
    unit, late = "TPM" if by_tokens else "RPM", world.refused_after_the_first_sign()
    with capsys.disabled():
        print(f"\n{unit}, calls of {calls:10} {others:13} used {used:.3f}, refused {len(world.refused)}, late {late}")
