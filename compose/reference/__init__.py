"""Reference data in the book: what holds now, what was believed when, and corrections to it."""
