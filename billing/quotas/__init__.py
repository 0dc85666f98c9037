"""Quotas: made, changed and ended (`changes`), asked for (`asking`), by whom (`rights`), tried (`preview`).

The admin and the API both come through here, so that each act is checked alike, moves the budgets behind the lock of
the organization's money, and leaves its entry in the audit trail.
"""
