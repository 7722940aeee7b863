"""The SQL console: ``serving`` serves what ``scripts/console`` built into ``built/``; its sources: ``console/``."""
