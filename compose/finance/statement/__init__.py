"""Statements: what an agreement used, cost and was paid for in a month, proven from the book.

`model` says what a statement is, `reading` reads it from the book, `cents` rounds it; `document` puts it into words,
in `blocks` that `markdown` and `pdf` (with `printed`) set; `csv_` and `json_` are for machines.
"""
