"""Delivery of alerts: from the topic `alerts` over a queue on disk to Alertmanagers and webhooks.

Nothing is lost and nothing is told twice on purpose: a change is queued on disk before the next one is read, and goes
out until its receiver has taken it. On the wire it can still come twice (the answer was lost, the notifier was killed
at that moment); the idempotency key of a change lets a receiver drop the repetition.
"""
