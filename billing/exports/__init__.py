"""What was spent, as files for other programs: one row a usage record, or FOCUS; CSV or Parquet.

One statement makes the rows and writes them as CSV (COPY), so that a file is one moment of the books; they go out as
they come, and Parquet is made of them some rows at a time. A file's costs sum to the ledger, to the last digit.
"""
