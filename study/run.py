"""``python study/run.py nested_alpha``: the command line from a checkout, installed or not."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # not study/ itself: its modules are no top-level modules
    from study.cli import main

    main()
