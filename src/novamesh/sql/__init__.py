"""SQL in, safe SQL out."""

from novamesh.sql.guard import Checked, check, warm

__all__ = ["Checked", "check", "warm"]
