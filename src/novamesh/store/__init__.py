"""The store: one process that owns the database, loads the spool into it and answers queries."""
