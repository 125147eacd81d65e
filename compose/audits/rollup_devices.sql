-- name: roll-ups have every device
-- protects: An hour that is rolled up has the device time and energy that it was settled with, device by device and for the
-- protects: fleet. What came into the ledger since is settled again within an hour if it is of the last three days, else
-- protects: within a day, or at once by commonwatt settle --everything.
-- unit: hours

WITH done AS
(
    SELECT period_start, gpu_seconds, energy_j FROM settlements WHERE (period_start, revision) IN
    (
        SELECT period_start, max(rollups.revision) FROM rollups WHERE period_start >= {since:DateTime('UTC')}
        GROUP BY period_start
    )
)
SELECT toDateTime64(hour, 3, 'UTC') AS ts_start, sum(settled.1) AS settled_gpu_seconds,
    sum(by_device.1) AS device_gpu_seconds, sum(fleet.1) AS fleet_gpu_seconds, sum(settled.2) AS settled_energy_j,
    sum(by_device.2) AS device_energy_j, sum(fleet.2) AS fleet_energy_j,
    settled_gpu_seconds != device_gpu_seconds OR settled_gpu_seconds != fleet_gpu_seconds
        OR settled_energy_j != device_energy_j OR settled_energy_j != fleet_energy_j AS fault
FROM
(
    SELECT period_start AS hour, (gpu_seconds, energy_j) AS settled, (toDecimal128(0, 9), toDecimal128(0, 3)) AS by_device,
        (toDecimal128(0, 9), toDecimal128(0, 3)) AS fleet
    FROM done
    UNION ALL
    SELECT period_start AS hour, (toDecimal128(0, 9), toDecimal128(0, 3)) AS settled,
        (toDecimal128(gpu_seconds, 9), toDecimal128(energy_j, 3)) AS by_device, settled AS fleet
    FROM gpu_usage_hourly_store FINAL
    WHERE period_start >= {since:DateTime('UTC')}
    UNION ALL
    SELECT period_start AS hour, (toDecimal128(0, 9), toDecimal128(0, 3)) AS settled, settled AS by_device,
        (gpu_seconds, energy_j) AS fleet
    FROM fleet_hourly_store FINAL
    WHERE period_start >= {since:DateTime('UTC')}
)
WHERE hour IN (SELECT period_start FROM done)
GROUP BY hour
