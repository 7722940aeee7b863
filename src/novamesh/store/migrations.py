"""The database's schema, in versions. A migration is never changed once released."""

import duckdb

from novamesh.errors import StartError

# Version n is MIGRATIONS[n - 1]. Each is run in one transaction.
MIGRATIONS = (
    """
    CREATE TABLE novamesh.positions (segment VARCHAR PRIMARY KEY, "offset" BIGINT NOT NULL, sequence BIGINT NOT NULL);
    CREATE TABLE novamesh.counters (
        space VARCHAR PRIMARY KEY, stored BIGINT NOT NULL, duplicates BIGINT NOT NULL, quarantined BIGINT NOT NULL);
    CREATE TABLE novamesh.paths (space VARCHAR NOT NULL, path VARCHAR NOT NULL);
    """,
    # NULL: of paths that are older than this migration it is not known.
    "ALTER TABLE novamesh.paths ADD COLUMN types VARCHAR",
    # The ledger. What was received before is what became of it, and nobody has counted it as accepted: it is recovered.
    """
    ALTER TABLE novamesh.counters ADD COLUMN received BIGINT DEFAULT 0;
    ALTER TABLE novamesh.counters ADD COLUMN recovered BIGINT DEFAULT 0;
    ALTER TABLE novamesh.counters ADD COLUMN erased BIGINT DEFAULT 0;
    ALTER TABLE novamesh.counters ADD COLUMN expired BIGINT DEFAULT 0;
    UPDATE novamesh.counters SET received = stored + duplicates + quarantined,
        recovered = stored + duplicates + quarantined;
    ALTER TABLE novamesh.positions ADD COLUMN finished BOOLEAN DEFAULT false;
    """,
    # What is taken out of the quarantine on purpose, and for how long projects keep their events.
    """
    ALTER TABLE novamesh.counters ADD COLUMN dropped BIGINT DEFAULT 0;
    CREATE TABLE novamesh.retention (project VARCHAR PRIMARY KEY, days INTEGER NOT NULL);
    """,
    # Losses that are known. What is loaded from a lost segment after all had been written off.
    """
    ALTER TABLE novamesh.counters ADD COLUMN written_off BIGINT DEFAULT 0;
    CREATE TABLE novamesh.write_offs (record VARCHAR NOT NULL);
    CREATE TABLE novamesh.lost_segments (segment VARCHAR PRIMARY KEY);
    """,
)

# What each space (a project's live or test events) has in a schema of its own.
#
# Events whose property paths are among the project's first `max_shredded_paths` are kept as
# VARIANT, which DuckDB shreds into columns. The others are kept as JSON text: at a checkpoint
# shredding takes about 0.12 µs for each row and each distinct path of a row group, so that ids
# used as keys would stop the database for minutes (docs/decisions/0001).
SPACE = """
    CREATE SCHEMA IF NOT EXISTS "{schema}";
    CREATE TABLE IF NOT EXISTS "{schema}".events_shredded (
        id UUID, event VARCHAR, user_id VARCHAR, "timestamp" TIMESTAMP, properties VARIANT, context VARIANT,
        received_at TIMESTAMP, batch_id VARCHAR);
    CREATE TABLE IF NOT EXISTS "{schema}".events_plain (
        id UUID, event VARCHAR, user_id VARCHAR, "timestamp" TIMESTAMP, properties JSON, context JSON,
        received_at TIMESTAMP, batch_id VARCHAR);
    CREATE VIEW IF NOT EXISTS "{schema}".events AS
        FROM "{schema}".events_shredded UNION ALL BY NAME
        SELECT * REPLACE (properties::VARIANT AS properties, context::VARIANT AS context) FROM "{schema}".events_plain;
    CREATE TABLE IF NOT EXISTS "{schema}".quarantine (
        received_at TIMESTAMP, batch_id VARCHAR, event_index BIGINT, events BIGINT, reason VARCHAR, body VARCHAR,
        quarantined_at TIMESTAMP, id UUID, project VARCHAR);
    ALTER TABLE "{schema}".quarantine ADD COLUMN IF NOT EXISTS id UUID;
    ALTER TABLE "{schema}".quarantine ADD COLUMN IF NOT EXISTS project VARCHAR;
    UPDATE "{schema}".quarantine SET project = substr('{schema}', 3), id = (
        coalesce(substr(batch_id, 3), replace(uuidv7()::VARCHAR, '-', '')[:28]) || lpad(to_hex(event_index), 4, '0')
    )::UUID WHERE id IS NULL;
    CREATE TABLE IF NOT EXISTS "{schema}".batches (
        batch UUID, events BIGINT, received_at TIMESTAMP, stored BIGINT, duplicates BIGINT, quarantined BIGINT,
        dropped BIGINT);
    CREATE TABLE IF NOT EXISTS "{schema}".seen (key UUID NOT NULL, "at" TIMESTAMP NOT NULL);
"""


def migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring the database to this version's schema. Raises :class:`StartError` if it is newer."""
    connection.execute("CREATE SCHEMA IF NOT EXISTS novamesh")
    connection.execute("CREATE TABLE IF NOT EXISTS novamesh.migrations (version INTEGER, applied_at TIMESTAMP)")
    row = connection.execute("SELECT coalesce(max(version), 0) FROM novamesh.migrations").fetchone()
    version = int(row[0]) if row else 0
    if version > len(MIGRATIONS):
        raise StartError(
            f"the database has schema version {version}, this novamesh knows {len(MIGRATIONS)}: run a newer novamesh"
        )
    for number, statements in enumerate(MIGRATIONS[version:], version + 1):
        connection.begin()
        connection.execute(statements)
        connection.execute("INSERT INTO novamesh.migrations VALUES (?, now()::TIMESTAMP)", [number])
        connection.commit()
