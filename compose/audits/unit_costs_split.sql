-- name: charge and subsidy make the cost
-- protects: What an agreement costs is paid in full: recipient and programme together pay exactly the cost; and the part
-- protects: of the cost that was used is not more than the cost.
-- unit: lines

SELECT toDateTime64(minute, 3, 'UTC') AS ts_start, cluster, model, agreement, cost, usage_cost, charge, subsidy, currency,
    charge + subsidy != if(agreement = '', toDecimal128(0, 9), cost) OR usage_cost > cost AS fault
FROM unit_costs
WHERE minute >= {since:DateTime('UTC')}
