"""When a limit is reached if it goes on as it does, and what a window comes to: one method for every limit.

Pure but for `histories`, which reads rollups. docs/forecasts.md says how it is reckoned and how far off it is.
"""
