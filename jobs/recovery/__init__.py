"""What becomes of an attempt whose worker, message, connection or answer was lost. Never sent again unasked.

`stranded` finds those that nobody has any more: not yet calling, back to the queue; calling, in doubt (`doubts`). These
are looked up at the provider (`looks`, `lookup`, `schedule`) and settled to the truth; what is not found is decided by
the project's policy or by a person (`decisions`), and what is learnt later still corrects the books (`late_truth`).
"""

from jobs.recovery.doubts import give_back, put_in_doubt
from jobs.recovery.stranded import rescue

__all__ = ["give_back", "put_in_doubt", "rescue"]
