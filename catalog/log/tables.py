"""The tables of the log and the statements over them; see FORMAT.md. Imports nothing."""

from __future__ import annotations

EVENTS_TABLE = """
CREATE TABLE stored_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    originator_id TEXT NOT NULL,
    originator_version INTEGER NOT NULL,
    topic TEXT NOT NULL,
    state BLOB NOT NULL,
    UNIQUE (originator_id, originator_version)
)"""
CHAIN_TABLE = """
CREATE TABLE chain (
    notification_id INTEGER PRIMARY KEY,
    leaf BLOB NOT NULL,
    head BLOB NOT NULL
)"""
STREAMS_TABLE = """
CREATE TABLE streams (
    originator_id TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) WITHOUT ROWID"""
CREATE = (EVENTS_TABLE, CHAIN_TABLE, STREAMS_TABLE)

INSERT_EVENT = "INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?)"
INSERT_LINK = "INSERT INTO chain (notification_id, leaf, head) VALUES (?, ?, ?)"
SELECT_ROWS = """
SELECT e.id, e.originator_id, e.originator_version, e.topic, e.state, c.leaf, c.head
FROM stored_events e LEFT JOIN chain c ON c.notification_id = e.id
"""
SELECT_LOG_ROWS = SELECT_ROWS + "WHERE e.id > ? AND e.id <= ? ORDER BY e.id"
SELECT_LOG_ROWS_OF = SELECT_ROWS + "WHERE e.id > ? AND instr(?, '|' || rtrim(e.topic, '0123456789')) ORDER BY e.id"
"""The names stand as "|Name/|Name/"; a topic is a name, a slash and a number."""
SELECT_STREAM_ROWS = (
    SELECT_ROWS + "WHERE e.originator_id = ? AND e.originator_version > ? ORDER BY e.originator_version"
)
LAST_LINK = """
SELECT c.notification_id, c.head, e.id
FROM chain c LEFT JOIN stored_events e ON e.id = c.notification_id
ORDER BY c.notification_id DESC LIMIT 1
"""
LAST_VERSION = """
SELECT COALESCE((SELECT version FROM streams WHERE originator_id = :id), 0),
    COALESCE((SELECT MAX(originator_version) FROM stored_events WHERE originator_id = :id), 0)
"""
SELECT_STREAM = "SELECT version FROM streams WHERE originator_id = ?"
SELECT_STREAMS = "SELECT originator_id FROM streams WHERE originator_id IN (SELECT value FROM json_each(?))"
SET_STREAM = """
INSERT INTO streams (originator_id, version) VALUES (?, ?)
ON CONFLICT (originator_id) DO UPDATE SET version = excluded.version
"""
LEAVES = "SELECT notification_id, leaf FROM chain WHERE notification_id > ? AND notification_id <= ? ORDER BY 1"
HEAD_AT = "SELECT MAX(head) FROM chain WHERE notification_id = ?"
ENDS = """
SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'stored_events'), 0),
    COALESCE((SELECT MAX(id) FROM stored_events), 0),
    COALESCE((SELECT MAX(notification_id) FROM chain), 0)
"""
MISMATCHED_STREAM = """
SELECT (SELECT originator_id
FROM (SELECT originator_id, COUNT(*) AS events, MAX(originator_version) AS last FROM stored_events GROUP BY 1)
LEFT JOIN streams USING (originator_id)
WHERE events <> last OR version IS NOT last
UNION ALL
SELECT originator_id FROM streams
WHERE NOT EXISTS (SELECT 1 FROM stored_events AS e WHERE e.originator_id = streams.originator_id)
LIMIT 1)
"""
