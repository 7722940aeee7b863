"""``python -m novamesh.cli``."""

from novamesh.cli import main

if __name__ == "__main__":
    main()
