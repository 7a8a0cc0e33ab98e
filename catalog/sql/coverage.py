"""The view `coverage`: what each machine had on each UTC day, counted by when we recorded it. Pure: SQL text.

The states mean what `catalog.domain.coverage` says; a test holds the two together.
"""

from __future__ import annotations

COVERAGE = """
WITH points AS (
    SELECT kept.machine_id, kept.recorded_at, kept.result, gone.restore_point_id IS NOT NULL AS deleted,
        coalesce(last.result, '') AS verified, CAST(kept.recorded_at AT TIME ZONE 'UTC' AS DATE) AS day,
        kept.recorded_at - lag(kept.recorded_at) OVER (PARTITION BY kept.machine_id ORDER BY kept.position) AS since
    FROM {restore_points} AS kept LEFT JOIN {deletions} AS gone USING (restore_point_id)
    LEFT JOIN (
        SELECT * FROM {verifications}
        QUALIFY row_number() OVER (PARTITION BY restore_point_id ORDER BY position DESC) = 1
    ) AS last USING (restore_point_id)
), daily AS (
    SELECT machine_id, day, count(*) AS points, count(*) FILTER (result = 'complete') AS complete_points,
        count(*) FILTER (result = 'partial') AS partial_points, count(*) FILTER (verified = 'ok') AS verified_points,
        count(*) FILTER (verified = 'damaged') AS damaged_points, count(*) FILTER (deleted) AS deleted_points,
        bool_or(NOT deleted AND verified = 'ok' AND result = 'complete') AS has_verified,
        bool_or(NOT deleted AND verified <> 'damaged' AND result = 'complete') AS has_complete,
        bool_or(NOT deleted AND verified <> 'damaged') AS has_partial,
        bool_or(NOT deleted) AS has_damaged,
        max(recorded_at) AS last_at, max(since) AS since
    FROM points GROUP BY machine_id, day
), newest AS (
    SELECT max(recorded_at) AS moment FROM {events}
), days AS (
    SELECT machine_id, CAST(unnest(generate_series(
        CAST(min(day) AS TIMESTAMP), greatest(max(day), CAST(any_value(newest.moment) AT TIME ZONE 'UTC' AS DATE)),
        INTERVAL 1 DAY)) AS DATE) AS day
    FROM points CROSS JOIN newest GROUP BY machine_id
), filled AS (
    SELECT *, max(last_at) OVER (PARTITION BY machine_id ORDER BY day ROWS UNBOUNDED PRECEDING) AS last_point_at,
        least(CAST(day + 1 AS TIMESTAMP) AT TIME ZONE 'UTC', (SELECT moment FROM newest)) AS ends_at
    FROM days LEFT JOIN daily USING (machine_id, day)
), named AS (
    SELECT machine_id, name, source FROM {machines}
    QUALIFY row_number() OVER (PARTITION BY machine_id ORDER BY position DESC) = 1
)
SELECT machine_id, named.name AS machine, named.source, day, coalesce(points, 0) AS points,
    coalesce(complete_points, 0) AS complete_points, coalesce(partial_points, 0) AS partial_points,
    coalesce(verified_points, 0) AS verified_points, coalesce(damaged_points, 0) AS damaged_points,
    coalesce(deleted_points, 0) AS deleted_points, last_point_at,
    greatest(0, epoch(since), epoch(ends_at - last_point_at)) / 3600 AS gap_hours,
    CASE WHEN points IS NULL THEN 'missing' WHEN has_verified THEN 'verified' WHEN has_complete THEN 'present'
        WHEN has_partial THEN 'partial' WHEN has_damaged THEN 'damaged' ELSE 'deleted' END AS state
FROM filled LEFT JOIN named USING (machine_id)
"""

COVERAGE_COLUMNS: dict[str, str] = {
    "machine_id": "The machine (UUID)",
    "machine": "What people call it, as it was last seen",
    "source": "The source it was last seen at",
    "day": "The UTC day, from the machine's first restore point to the day of the last event",
    "points": "Restore points recorded on the day, deleted ones included",
    "complete_points": "Those that hold all disks",
    "partial_points": "Those that a disk was left out of",
    "verified_points": "Those whose last verification found them ok",
    "damaged_points": "Those whose last verification found damage",
    "deleted_points": "Those that were deleted since",
    "last_point_at": "When the newest restore point up to the end of the day was recorded",
    "gap_hours": "The longest time without a new restore point that ended on the day or went on at its end, in hours",
    "state": "The best of the day's points: verified, present (complete), partial, damaged or deleted; missing if none",
}
