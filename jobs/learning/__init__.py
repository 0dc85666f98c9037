"""What calls of one kind came to before, and so what the next one will probably come to.

Owns: the classes of prompts, and the learnt distributions of tokens per organization, project, model, effort and class.
Does not own: bounds, which are promises and come from `jobs.estimates`; prices, which are billing's.
Invariants: what is learnt never weakens a hold; all of it can be dropped and learnt anew from the books.
"""
