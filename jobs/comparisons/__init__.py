"""One prompt, or some, on several models, efforts, caps and wordings: what each takes, costs and answers.

Owns: which runs a comparison has, in which order they become jobs, and the figures of what came of them.
Does not own: the runs themselves, which are ordinary jobs under the same limits, turns and books.
Invariants: settled and still possible never come above the ceiling; a run is one job at most.
"""
