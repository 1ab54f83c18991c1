#!/usr/bin/env python3
"""The bugs that `make sim-mutants` plants are found in the source by their exact text. This asks whether each still
stands there, once, so that a change of the source that makes one of them impossible is noticed at once."""
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.exit(subprocess.run([sys.executable, ROOT / "tests/sim/mutants.py", "--check"]).returncode)
