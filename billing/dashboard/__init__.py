"""What an organization's dashboard says of its money: plain functions over rollups, budgets and usage records.

Nothing is kept between two questions: every figure is as old as its query.
"""
