-- name: no agreement is paid more than its cap
-- protects: What an agreement was paid before it was metered and by all of its charges is at most its cap.
-- unit: agreements
-- period: whole

SELECT toDateTime64(paid.last, 3, 'UTC') AS ts_start, '' AS cluster, known.id AS agreement, known.spent_before AS before,
    paid.subsidy AS charged, known.cap AS cap, before + charged > ifNull(cap, before + charged) AS fault
FROM (SELECT agreement, sum(subsidy) AS subsidy, max(period_start) AS last FROM charges GROUP BY agreement) AS paid
INNER JOIN (SELECT id, spent_before, cap FROM agreements FINAL) AS known ON known.id = paid.agreement
