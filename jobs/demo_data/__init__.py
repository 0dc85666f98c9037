"""Three invented organizations with half a year behind them, so that every page can be judged full.

What is money goes through the books (`billing.history` for the past, the ledger itself for the present). Nothing here
ever touches an organization that it did not make: each is made, and given its past, in one transaction.
"""
