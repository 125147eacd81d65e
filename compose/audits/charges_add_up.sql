-- name: charged and subsidised make the cost of charges
-- protects: Of every priced line, recipient and programme together pay exactly the cost; what is idle or belongs to
-- protects: nobody who has an agreement is paid by neither. So charged + subsidised + idle + unattributed = cost.
-- unit: entries

SELECT toDateTime64(period_start, 3, 'UTC') AS ts_start, cluster, agreement, category, sku, rule, cost, subsidy, charge,
    currency, recorded_at,
    if(category = 'charged', charge + subsidy != cost OR agreement = '',
        subsidy != 0 OR charge != 0 OR agreement != '' OR category NOT IN ('idle', 'unattributed')) AS fault
FROM charges
WHERE period_start >= {since:DateTime('UTC')}
