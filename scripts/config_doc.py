#!/usr/bin/env python3
"""Writes docs/CONFIGURATION.md, docs/REPLIES.md and packaging/yizhan.schema.json from the table of keys in the program.

  config_doc.py [--binary build/yizhan]            writes both
  config_doc.py [--binary build/yizhan] --check    says whether they are up to date (status 1 when not)"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

HEAD = """# Every key of the configuration

The table below is made from the program by `scripts/config_doc.py`; don't edit by hand. `yizhan check --keys` prints
the same, and `packaging/yizhan.schema.json` lets editors complete and check the file.

The file is YAML. The smallest useful one is a `hostname`. Sizes are written as `64K`, `50M`, durations as `90s`, `5m`,
`4h`, `5d`. A key that isn't known is an error with its place and the nearest known key. `a.b` below is key `b` inside
of `a`; `a[].b` is a key of every element of the list `a`; `a{}.b` one of every entry of the map `a`.

| key | value | what it does |
| --- | --- | --- |
"""


REPLIES = """# Every reply of the server

Made from the program by `scripts/config_doc.py`; don't edit by hand. `replies` in the configuration puts other texts in the
place of these, by their names. `%1` and `%2` are filled in as the text shows; `{client}`, `{client_name}`, `{helo}`, `{user}`,
`{hostname}`, `{sender}` and `{recipient}` may be used in every text ([GATE.md](GATE.md)).

| name | codes | text |
| --- | --- | --- |
"""


def replies(text):
    """Lines of name, codes and text with tabs between."""
    return REPLIES + "".join("| `{}` | {} | {} |\n".format(*line.replace("<", "\\<").split("\t")) for line in text.splitlines())


def printed(binary, option):
    return subprocess.run([binary, "check", option], check=True, capture_output=True, text=True).stdout


def table(text):
    rows, lines = [], text.splitlines()
    i = 0
    while i < len(lines):
        key, details = lines[i], []
        i += 1
        while i < len(lines) and lines[i].startswith("    "):
            details.append(lines[i].strip())
            i += 1
        value = details[-1] if details else ""
        what = " ".join(details[:-1])
        rows.append(f"| `{key}` | {value} | {what} |".replace("||", "| |"))
    return HEAD + "\n".join(rows) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", default=str(ROOT / "build/yizhan"))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    wanted = {
        ROOT / "docs/CONFIGURATION.md": table(printed(options.binary, "--keys")),
        ROOT / "docs/REPLIES.md": replies(printed(options.binary, "--replies")),
        ROOT / "packaging/yizhan.schema.json": printed(options.binary, "--schema"),
    }
    stale = [p for p, text in wanted.items() if not p.exists() or p.read_text() != text]
    for p in stale:
        print(f"{p.relative_to(ROOT)} " + ("is out of date: run scripts/config_doc.py" if options.check else "written"))
        if not options.check:
            p.parent.mkdir(exist_ok=True)
            p.write_text(wanted[p])
    if options.check and not stale:
        print("docs/CONFIGURATION.md and the schema are up to date")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
