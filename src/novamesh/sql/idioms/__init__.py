"""What people write out of habit from ClickHouse and PostgreSQL, and what runs here instead."""
