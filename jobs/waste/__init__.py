"""What a month's money bought nothing for, and what to do about it.

Owns: the categories of waste and their order, the prepared report of a project's month and its lines.
Does not own: what was spent, which is the ledger's; whether an answer was read, which whoever hands it out notes.
Invariants: a dollar is in one category at most, and what is wasted, useful and corrected sums to the project's ledger
entries of the month, to the last digit; all of it can be dropped and made anew.
"""
