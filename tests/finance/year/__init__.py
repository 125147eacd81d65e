"""A worked year: twelve agreements under all rules, their ledger, and what they must pay by a second calculation.

`economy` says what is agreed, `ledger` what was used, `oracle` what that comes to, with fractions and nothing of the
product's arithmetic.
"""
