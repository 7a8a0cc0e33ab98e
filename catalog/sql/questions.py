"""Ten questions that auditors ask, each one statement over the views. Pure: text.

They are starting points: each names its own limits, so that it can be changed where it is used. A caller's rows are
those of its machines; so are the answers. The newest event stands for now, so that a question asked as of an earlier
position has that position's answer.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """A saved question: a stable `name`, what it asks, and why somebody would."""

    name: str
    title: str
    why: str
    query: str


QUESTIONS: tuple[Question, ...] = (
    Question(
        "never-backed-up",
        "Which machines have no restore point at all?",
        "A machine that was seen and never protected is the gap that nobody notices until it is needed.",
        """SELECT m.source, m.name, m.recorded_at AS last_seen_at
FROM machines m ANTI JOIN restore_points p USING (machine_id)
ORDER BY m.source, m.name""",
    ),
    Question(
        "late-machines",
        "Which machines have no restore point of the last 24 hours?",
        "The recovery point objective is a promise; these machines break it now.",
        """SELECT m.source, m.name, max(p.recorded_at) AS last_point_at
FROM machines m LEFT JOIN restore_points p USING (machine_id)
GROUP BY ALL
HAVING coalesce(max(p.recorded_at), TIMESTAMPTZ '1970-01-01')
    < (SELECT max(recorded_at) FROM events) - INTERVAL 24 HOUR
ORDER BY last_point_at NULLS FIRST, m.source, m.name""",
    ),
    Question(
        "gaps-of-the-quarter",
        "Where were more than 24 hours without a restore point, in the last 92 days?",
        "Shows each broken promise of the quarter, those that were made good since included.",
        """SELECT source, machine, day, state, round(gap_hours, 1) AS gap_hours, last_point_at
FROM coverage
WHERE gap_hours > 24 AND day > (SELECT max(day) FROM coverage) - 92
ORDER BY gap_hours DESC, source, machine, day""",
    ),
    Question(
        "disks-left-out",
        "Which disks are not protected, and what can their owner do?",
        "A restore point without its data disk looks complete in a list of dates.",
        """SELECT m.source, m.name, d.label, d.size_bytes, d.excluded_reason, d.way_out
FROM disks d JOIN machines m USING (machine_id)
WHERE d.excluded_reason IS NOT NULL
ORDER BY m.source, m.name, d.label""",
    ),
    Question(
        "unverified-for-30-days",
        "Which machines have no restore point that was read back in the last 30 days?",
        "A backup that was never read back is a hope.",
        """SELECT m.source, m.name, max(v.recorded_at) FILTER (v.result = 'ok') AS last_verified_at,
    count(DISTINCT p.restore_point_id) AS restore_points
FROM machines m JOIN restore_points p USING (machine_id)
LEFT JOIN verifications v ON v.restore_point_id = p.restore_point_id
GROUP BY ALL
HAVING coalesce(max(v.recorded_at) FILTER (v.result = 'ok'), TIMESTAMPTZ '1970-01-01')
    < (SELECT max(recorded_at) FROM events) - INTERVAL 30 DAY
ORDER BY last_verified_at NULLS FIRST, m.source, m.name""",
    ),
    Question(
        "damaged-points",
        "Which restore points were found damaged when they were last read back?",
        "They must not be counted on; a new full may be due.",
        """SELECT p.source, p.machine, p.restore_point_id, p.recorded_at, p.verified_level, p.verified_at
FROM restore_points p
WHERE p.verified_result = 'damaged'
ORDER BY p.verified_at DESC, p.restore_point_id""",
    ),
    Question(
        "deletions",
        "Which restore points were deleted, by whom, under which rule and why?",
        "Deletions outside the retention rules are how evidence, or a ransomware victim's backups, disappear.",
        """SELECT d.recorded_at, m.source, m.name AS machine, d.restore_point_id, d.actor, d.rule, d.reason, d.kept_for
FROM deletions d LEFT JOIN machines m USING (machine_id)
ORDER BY d.position DESC""",
    ),
    Question(
        "unexpected-fulls",
        "Which disks were copied in full though they had an earlier point, and for what cause?",
        "Change tracking that was lost, reset or distrusted costs time, and hints at trouble at the source.",
        """SELECT p.recorded_at, p.source, p.machine, d.label, d.cause, d.read_bytes
FROM disk_points d JOIN restore_points p USING (restore_point_id)
WHERE d.level = 'full' AND d.seq > 1 AND p.origin = 'backup'
ORDER BY p.position DESC, d.label""",
    ),
    Question(
        "unusual-change",
        "Which restore points changed more than four times what is usual for their disk?",
        "Encryption by ransomware shows as change before anybody notices it in the files.",
        """SELECT p.recorded_at, p.source, p.machine, d.label, d.changed_bytes, round(usual) AS usual_bytes
FROM (
    SELECT *, median(changed_bytes) OVER (PARTITION BY disk_id) AS usual FROM disk_points WHERE level = 'incremental'
) d JOIN restore_points p USING (restore_point_id)
WHERE d.changed_bytes > 4 * usual
ORDER BY d.changed_bytes / greatest(usual, 1) DESC, p.position DESC""",
    ),
    Question(
        "failed-runs",
        "Which backups failed or were interrupted, and why?",
        "One failure is chance; the same one each night is a finding.",
        """SELECT e.recorded_at, m.source, m.name AS machine, split_part(e.topic, '/', 1) AS what, e.body
FROM events e LEFT JOIN machines m USING (machine_id)
WHERE split_part(e.topic, '/', 1) IN ('BackupFailed', 'BackupInterrupted')
ORDER BY e.position DESC""",
    ),
)
