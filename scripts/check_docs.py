#!/usr/bin/env python3
"""Whether what is generated from the code is up to date, whether the files that the documents name exist, and
whether nothing is left open in the tree."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def generated():
    for script in ("rfc_index.py", "config_doc.py"):
        done = subprocess.run([ROOT / "scripts" / script, "--check"], capture_output=True, text=True)
        if done.returncode != 0:
            yield done.stdout.strip() or done.stderr.strip()


def named_files():
    for document in [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = document.read_text()
        names = set(re.findall(r"`((?:src|tests|scripts|docs|bench|packaging)/[\w./-]+)`", text))
        names |= {n for n in re.findall(r"\]\(([^)#:]+)\)", text)}
        for name in sorted(names):
            if "*" in name or "NAME" in name:
                continue
            if not (ROOT / name).exists() and not (document.parent / name).exists():
                yield f"{document.relative_to(ROOT)} names {name}, which does not exist"


def open_marks():
    for path in sorted(p for d in ("src", "web") for p in (ROOT / d).rglob("*") if p.is_file()):
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
                yield f"{path.relative_to(ROOT)}:{number}: {line.strip()}"


def main():
    problems = [*generated(), *named_files(), *open_marks()]
    for p in problems:
        print(p)
    print(f"documents: {'ok' if not problems else str(len(problems)) + ' problems'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
