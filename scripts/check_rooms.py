#!/usr/bin/env python3
"""Compares every include with the table of rooms in docs/ARCHITECTURE.md, finds circles between files, and
prints the longest files and functions.

A room may use the rooms that the table grants it and whatever those may use. The table in the document is the
only copy: this script reads it from there."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
FILE_LIMIT = 800
FUNCTION_LIMIT = 100


def granted():
    """{room: set of rooms it may include}, closed under 'what a used room uses'."""
    rows = re.findall(r"^\| `src/(\w+)/` \|.*\| ([^|]*) \|$", (ROOT / "docs/ARCHITECTURE.md").read_text(), re.M)
    rooms = {name for name, _ in rows}
    direct = {}
    for name, uses in rows:
        words = set(re.findall(r"\w+", uses))
        direct[name] = rooms - {name, "main", "cli"} if "all" in words else words & rooms
    if "cli" in direct:
        direct["cli"].add("main")
    changed = True
    while changed:
        changed = False
        for name, uses in direct.items():
            more = set().union(*(direct[u] for u in uses)) - uses if uses else set()
            if more:
                uses |= more
                changed = True
    return direct


def includes(path):
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if m:
            yield number, m.group(1)


def check_includes(files, table):
    problems, graph = [], {}
    for path in files:
        name = str(path.relative_to(SRC))
        room = name.split("/")[0]
        graph[name] = set()
        if room not in table:
            problems.append(f"src/{name}: the room '{room}' is not in the table of docs/ARCHITECTURE.md")
            continue
        for number, target in includes(path):
            if "/" not in target:
                problems.append(f"src/{name}:{number}: include \"{target}\" does not spell its folder")
                continue
            if not (SRC / target).exists():
                if not target.startswith("generated/"):
                    problems.append(f"src/{name}:{number}: include \"{target}\" does not exist")
                continue
            graph[name].add(target)
            to = target.split("/")[0]
            if to != room and to not in table[room]:
                problems.append(f"src/{name}:{number}: {room} may not use {to} (\"{target}\")")
    return problems, graph


def circles(graph):
    """Circles between modules (x.c and x.h count as one node only through their headers)."""
    state, stack, found = {}, [], []

    def visit(node):
        state[node] = 1
        stack.append(node)
        for target in sorted(graph.get(node, ())):
            if state.get(target) == 1:
                found.append(" -> ".join(stack[stack.index(target):] + [target]))
            elif target not in state:
                visit(target)
        stack.pop()
        state[node] = 2

    for node in sorted(graph):
        if node not in state:
            visit(node)
    return found


def mutable_globals(files):
    """File-scope variables that are neither const nor thread-local: everything hangs from struct server."""
    for path in files:
        if path.suffix != ".c":
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if re.match(r"(static\s+)?(?!.*\b(const|_Thread_local|typedef|extern|return)\b)[a-z_][\w\s\*]*\s\**\w+(\[[^\]]*\])*\s*(=[^;]*)?;\s*$", line):
                yield f"{path.relative_to(ROOT)}:{number}: a mutable global: {line.strip()}"


def functions(files):
    try:
        out = subprocess.run(["ctags", "-x", "--c-kinds=f", "--_xformat=%N\t%F\t%n\t%e"] + [str(f) for f in files],
                             capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    rows = []
    for line in out.splitlines():
        name, path, start, end = line.split("\t")
        if end.isdigit():
            rows.append((int(end) - int(start) + 1, f"{Path(path).relative_to(ROOT)}:{start} {name}"))
    return sorted(rows, reverse=True)


def main():
    files = sorted(p for p in SRC.rglob("*.[ch]"))
    table = granted()
    problems, graph = check_includes(files, table)
    problems += [f"circle: {c}" for c in circles(graph)]
    problems += list(mutable_globals(files))

    sizes = sorted(((len(p.read_text(errors="replace").splitlines()), str(p.relative_to(ROOT))) for p in files), reverse=True)
    print("Longest files:")
    for lines, name in sizes[:8]:
        print(f"  {lines:5} {name}")
    problems += [f"{name}: {lines} lines, more than {FILE_LIMIT}" for lines, name in sizes if lines > FILE_LIMIT]
    rows = functions(files)
    if rows is None:
        print("Longest functions: universal-ctags is not installed, not looked at")
    else:
        print("Longest functions:")
        for lines, name in rows[:8]:
            print(f"  {lines:5} {name}")
        short = sum(1 for lines, _ in rows if lines <= 60)
        print(f"{len(files)} files, {len(rows)} functions, {100 * short // max(1, len(rows))} % of them up to 60 lines")
        problems += [f"{name}: {lines} lines, more than {FUNCTION_LIMIT}" for lines, name in rows if lines > FUNCTION_LIMIT]

    for p in problems:
        print(p)
    print(f"rooms: {'ok' if not problems else str(len(problems)) + ' problems'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
