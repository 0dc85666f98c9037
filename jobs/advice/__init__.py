"""What would make a prompt cheaper or its answer better, before it is sent: each piece with its passage and its source.

Owns: the rules, what each needs to know of a call, and which of them a project lets refuse a job.
Does not own: what calls came to before (`jobs.learning`), prices, the codes of the rules, which are a setting of
projects and so stand with them (`accounts.models.AdviceRule`).
Invariants: rules are pure and read each character a bounded number of times; advice changes no prompt, no bound and
no hold; it leaves with the answer to the submission and is kept nowhere.
"""
