"""Finance: hours of the ledger become charges, charges become statements, exports and forecasts.

Pure arithmetic (:mod:`.rating`, :mod:`.forecasting`) stands apart from what reads and writes the book.
"""
