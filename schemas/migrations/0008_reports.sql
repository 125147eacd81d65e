-- Finance for dashboards: what each agreement has spent, who computed where, and what electricity that took.

CREATE VIEW agreement_spend
(
    programme String COMMENT 'programme id',
    agreement String COMMENT 'agreement id',
    settled_until Nullable(DateTime('UTC')) COMMENT 'end of the newest hour that was settled after it had ended; null = none was',
    settled_subsidy Decimal(38, 9) COMMENT 'subsidy of settled hours, from charges',
    live_subsidy Decimal(38, 9) COMMENT 'subsidy of the minutes since, from unit_costs, before the cap',
    spent Decimal(38, 9) COMMENT 'subsidy spent: before metering, settled and live, at most the cap',
    cap Nullable(Decimal(38, 9)) COMMENT 'most that the programme pays; null = no cap',
    used_share Nullable(Float64) COMMENT 'spent / cap, 0..1; null = no cap. For display',
    currency LowCardinality(String) COMMENT 'ISO 4217'
)
AS WITH (SELECT if(count() = 0, toDateTime(0, 'UTC'), max(period_start) + INTERVAL 1 HOUR) FROM settlements
    WHERE period_start + INTERVAL 1 HOUR <= recorded_at) AS until
SELECT
    a.programme AS programme, a.id AS agreement, nullIf(until, toDateTime(0, 'UTC')) AS settled_until,
    s.subsidy AS settled_subsidy, l.subsidy AS live_subsidy,
    if(a.cap IS NULL, a.spent_before + s.subsidy + l.subsidy, least(assumeNotNull(a.cap), a.spent_before + s.subsidy + l.subsidy)) AS spent,
    a.cap AS cap, if(a.cap = 0, NULL, toFloat64(spent) / toFloat64(a.cap)) AS used_share, p.currency AS currency
FROM (SELECT * FROM agreements FINAL) AS a
LEFT JOIN (SELECT id, currency FROM programmes FINAL) AS p ON p.id = a.programme
LEFT JOIN
(
    SELECT toString(charges.agreement) AS id, sum(charges.subsidy) AS subsidy FROM charges WHERE period_start < until GROUP BY id
) AS s ON s.id = a.id
LEFT JOIN
(
    SELECT toString(unit_costs.agreement) AS id, sum(unit_costs.subsidy) AS subsidy FROM unit_costs WHERE minute >= until GROUP BY id
) AS l ON l.id = a.id
COMMENT 'What each agreement has spent of its cap by now: settled hours, and the minutes since';

CREATE VIEW pool_usage
(
    month Date COMMENT 'first day of the month of the usage',
    recipient_country LowCardinality(String) COMMENT 'country of the recipient, ISO 3166-1 alpha-2; empty = agreement not described',
    cluster_country LowCardinality(String) COMMENT 'country where the cluster stands; empty = cluster not described',
    cluster String COMMENT 'cluster id',
    gpu_hours Decimal(38, 9) COMMENT 'device time, hours of a whole device; rounded down',
    rgu_hours Decimal(38, 9) COMMENT 'device time weighted with reference GPU units, RGU h; rounded down',
    energy_kwh Decimal(38, 9) COMMENT 'GPU energy, kWh; rounded down',
    cost Decimal(38, 9) COMMENT 'cost in currency',
    currency LowCardinality(String) COMMENT 'ISO 4217: of the programme'
)
AS SELECT
    c.month AS month, a.country AS recipient_country, k.country AS cluster_country, c.cluster AS cluster,
    toDecimal128(sum(c.gpu_seconds) / 3600, 9) AS gpu_hours,
    toDecimal128(sum(c.rgu_seconds) / 3600, 9) AS rgu_hours,
    toDecimal128(toDecimal128(sum(c.energy_j), 9) / 3600000, 9) AS energy_kwh,
    sum(c.cost) AS cost, c.currency AS currency
FROM
(
    SELECT
        toStartOfMonth(period_start) AS month, toString(charges.agreement) AS agreement, toString(charges.cluster) AS cluster,
        sum(charges.gpu_seconds) AS gpu_seconds, sum(charges.rgu_seconds) AS rgu_seconds,
        sum(charges.energy_j) AS energy_j, sum(charges.cost) AS cost, charges.currency AS currency
    FROM charges WHERE category = 'charged' GROUP BY month, agreement, cluster, currency
) AS c
LEFT JOIN (SELECT id, country FROM agreements FINAL) AS a ON a.id = c.agreement
LEFT JOIN (SELECT id, country FROM clusters FINAL) AS k ON k.id = c.cluster
GROUP BY month, recipient_country, cluster_country, cluster, currency
COMMENT 'Whose recipients computed where: charged usage by country of the recipient and of the cluster, as it stands now';

ALTER TABLE clusters
    MODIFY COLUMN pue Nullable(Decimal(18, 9)) COMMENT 'power usage effectiveness: facility energy / GPU energy; null = not known';

CREATE VIEW energy_by_region
(
    month Date COMMENT 'first day of the month of the usage',
    region String COMMENT 'region or province; empty = none given',
    cluster String COMMENT 'cluster id',
    energy_kwh Decimal(38, 9) COMMENT 'GPU energy, idle and unattributed included, kWh; rounded down',
    facility_kwh Nullable(Decimal(38, 9)) COMMENT 'GPU energy x PUE of the cluster, kWh; rounded down; null = PUE not known',
    carbon_kg Nullable(Decimal(38, 9)) COMMENT 'emissions of facility_kwh, kg CO2e; rounded down; null = that or the intensity is not known',
    vintage String COMMENT 'edition of the intensity that was applied; empty = not known'
)
AS SELECT
    u.month AS month, u.region AS region, u.cluster AS cluster,
    CAST(sum(u.energy) / 3600000 AS Decimal(38, 9)) AS energy_kwh,
    CAST(sum(u.facility) / 3600000 AS Nullable(Decimal(38, 9))) AS facility_kwh,
    CAST(sum(u.facility * i.g_per_kwh) / 3600000000 AS Nullable(Decimal(38, 9))) AS carbon_kg,
    i.vintage AS vintage
FROM
(
    SELECT
        toStartOfMonth(c.day) AS month, c.day AS day, k.region AS region, c.cluster AS cluster,
        toDecimal256(c.energy_j, 9) AS energy, toDecimal256(c.energy_j, 9) * k.pue AS facility
    FROM
    (
        SELECT toDate(period_start) AS day, toString(charges.cluster) AS cluster, sum(charges.energy_j) AS energy_j
        FROM charges GROUP BY day, cluster
    ) AS c
    INNER JOIN (SELECT id, region, pue FROM clusters FINAL) AS k ON k.id = c.cluster
) AS u
ASOF LEFT JOIN
(
    SELECT region, effective_from, toNullable(g_per_kwh) AS g_per_kwh, vintage FROM carbon_intensity FINAL
) AS i ON i.region = u.region AND i.effective_from <= u.day
GROUP BY month, region, cluster, vintage
COMMENT 'Electricity and emissions of what was metered, by region, cluster and edition of the intensity. What is not known stays missing';
