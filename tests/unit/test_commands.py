"""The command line as a whole."""

import subprocess
import sys


def test_a_command_does_not_load_what_only_others_need() -> None:
    """The database and the HTTP server take longer to load than most commands take to run."""
    program = "import sys, novamesh.cli; print(*{'duckdb', 'granian', 'pyarrow'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
