#!/usr/bin/env python3
"""Ten bugs, planted one after another in a copy of the tree, and how soon the simulations find each.

    mutants.py [--only WORD,WORD] [--seeds N] [--check]

Nothing in the product knows of this: a mutant is a piece of the source, found by its exact text, and what stands
there instead. The copy lies in build-mutants/ and is built anew for each. --check only asks whether every text still
stands in the source, once (scripts/check_mutants.py does that in `make test`).
The exit status is 0 when every mutant was found within the seeds.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
WORK = ROOT / "build-mutants"
TREE, BUILD = WORK / "tree", WORK / "build"

# name, file, text, what stands there instead, the program that is to find it, what it breaks
MUTANTS = [
    ("sync skipped", "src/spool/committer.c",
     "r = s->config.no_sync ? 0 : file_sync(s->head->file);",
     "r = 0;",
     "crashes", "a message is acknowledged before it is on stable storage"),
    ("record order swapped", "src/spool/committer.c",
     "	item_list_splice(&c->queue, &taken);\n	if (commit)",
     "	item_list_splice_front(&c->queue, &taken);\n	if (commit)",
     "crashes", "what is new goes before what waits: of two notes the older one counts"),
    ("checksum ignored", "src/spool/walk.c",
     "record_payload_valid(&ret->record, data + front) ? WALK_RECORD : WALK_DAMAGED;",
     "WALK_RECORD;",
     "crashes", "recovery takes a torn record for a whole one"),
    ("wake lost", "src/spool/handover.c",
     "		if (w->fiber)\n			fiber_wake(w->fiber);",
     "		if (w->fiber && !next)\n			fiber_wake(w->fiber);",
     "crashes", "of several that wait for one batch only the last is woken"),
    ("window leak", "src/queue/site.c",
     "	s->slots--;\n	h->n_slots--;",
     "	if (!barren)\n		s->slots--;\n	h->n_slots--;",
     "crashes", "a slot that ended without work keeps its place in the window"),
    ("retry overflow", "src/queue/retry.c",
     "i < failures && delay < cap; i++)",
     "i < failures; i++)",
     "week", "the rest of a dead site doubles until it overflows, and is 0 then"),
    ("outcome lost on rotation", "src/spool/committer.c",
     "		if (r >= 0)\n			push_front(&c->queue, i);\n		else\n			no_room(s, i, r);",
     "		if (r >= 0 && !i->lazy)\n			push_front(&c->queue, i);\n		else if (r < 0)\n			no_room(s, i, r);",
     "crashes", "the note or removal for which the segment had no room any more is not written into the next one"),
    ("compaction drops a message", "src/spool/tidy.c",
     "*ret_dead = g->living == 0 && ",
     "*ret_dead = g->living * 20 < g->used && ",
     "crashes", "a segment goes although a twentieth of it lives"),
    ("slot freed twice", "src/queue/slot.c",
     "	site_slot_ended(s, slot);\n",
     "	site_slot_ended(s, slot);\n	if (slot->deliveries > 3)\n		site_slot_ended(s, slot);\n",
     "crashes", "a slot that was used a lot gives its place back twice"),
    ("lock ignored", "src/spool/spool.c",
     "return r < 0 ? r : file_lock(s->lock);",
     "if (r >= 0)\n		(void) file_lock(s->lock);\n	return r;",
     "crashes", "a second server opens the same spool"),
]


def check():
    wrong = 0
    for name, file, text, *_ in MUTANTS:
        n = (ROOT / file).read_text().count(text)
        if n != 1:
            print(f"tests/sim/mutants.py: the text of \"{name}\" stands {n} times in {file}, not once")
            wrong += 1
    return wrong


def run(*command, **more):
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace", **more)


def files_of(root):
    """What belongs to the tree: neither build directories nor results."""
    for directory, directories, files in os.walk(root):
        directories[:] = [d for d in directories if not (d.startswith("build") or d in (".git", "__pycache__", "results"))]
        for file in files:
            yield (Path(directory) / file).relative_to(root)


def copy_tree():
    """Only what differs is written, so that the build is done anew where it must be and nowhere else."""
    wanted = set(files_of(ROOT))
    for file in set(files_of(TREE)) - wanted:
        (TREE / file).unlink()
    for file in wanted:
        to = TREE / file
        if not to.exists() or to.read_bytes() != (ROOT / file).read_bytes():
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, to)
    options = [] if not (BUILD / "build.ninja").exists() else ["--reconfigure"]  # files may have come and gone
    done = run("meson", "setup", str(BUILD), str(TREE), "-Dbench=false", *options)
    if done.returncode != 0:
        sys.exit(done.stdout)


def build(program):
    done = run("ninja", "-C", str(BUILD), f"sim_test_{program}")
    if done.returncode != 0:
        sys.exit(done.stdout)


def hunt(program, seeds):
    """(seed, what was said) of the first failure, or (None, the end of the output)."""
    env = {**os.environ, "SEEDS": str(seeds), "SHRINK": "0"}
    for name in ("SEED", "ONLY", "LOG", "TRACE", "FROM"):
        env.pop(name, None)
    done = run(str(BUILD / f"sim_test_{program}"), env=env)
    m = re.search(r"^--- seed (\d+) failed: (.*)", done.stdout, re.M)
    return (int(m[1]), m[2]) if m else (None, done.stdout[-300:])


def try_mutant(mutant, seeds):
    name, file, text, instead, program, _ = mutant
    path = TREE / file
    original = path.read_text()
    path.write_text(original.replace(text, instead))
    try:
        build(program)
        started = time.time()
        seed, said = hunt(program, seeds)
        return seed, said, time.time() - started
    finally:
        path.write_text(original)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if check():
        return 1
    if args.check:
        return 0
    copy_tree()
    missed = 0
    print("| bug | what it breaks | found at seed | by | seconds |\n| --- | --- | --- | --- | --- |", flush=True)
    for mutant in MUTANTS:
        name, breaks, program = mutant[0], mutant[5], mutant[4]
        if args.only and not any(word.strip() in name for word in args.only.split(",")):
            continue
        seed, said, took = try_mutant(mutant, args.seeds)
        missed += seed is None
        found = f"{seed} of `{program}`" if seed else "not found"
        print(f"| {name} | {breaks} | {found} | {said[:160].strip()} | {took:.1f} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
