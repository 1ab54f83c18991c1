#!/usr/bin/env python3
"""Is packaging/yizhan.schema.json what `yizhan check --schema` prints? With --write it becomes so."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "packaging/yizhan.schema.json"
BINARY = ROOT / "build/yizhan"


def main():
    if not BINARY.exists():
        sys.exit("build/yizhan is missing: run make first")
    text = subprocess.run([BINARY, "check", "--schema"], check=True, text=True, stdout=subprocess.PIPE).stdout
    if "--write" in sys.argv[1:]:
        FILE.write_text(text)
    elif not FILE.exists() or FILE.read_text() != text:
        sys.exit("packaging/yizhan.schema.json is not up to date: run scripts/check_schema.py --write")


if __name__ == "__main__":
    main()
