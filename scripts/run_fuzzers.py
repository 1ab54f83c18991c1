#!/usr/bin/env python3
"""Builds the fuzzers of tests/fuzz with clang and runs each for some seconds.

    run_fuzzers.py [--seconds N] [NAME...]

Inputs worth keeping gather in build-fuzz/corpus/NAME/, beginning with tests/fuzz/corpus/NAME/ where that is
there. Exit status 1 when one found something; the input lies in build-fuzz/ then.
"""
import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build-fuzz"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()

    env = {**os.environ, "CC": "clang"}
    subprocess.run([ROOT / "scripts/build.sh", "build-fuzz", "-Dfuzz=true", "-Db_sanitize=address,undefined",
                    "-Db_lundef=false", "-Dbench=false", "-Dtests=disabled"], env=env, check=True)
    failed = 0
    for source in sorted((ROOT / "tests/fuzz").glob("fuzz_*.c")):
        name = source.stem
        if args.names and name not in args.names and name.removeprefix("fuzz_") not in args.names:
            continue
        corpus, seeds = BUILD / "corpus" / name, ROOT / "tests/fuzz/corpus" / name
        corpus.mkdir(parents=True, exist_ok=True)
        command = [BUILD / name, f"-max_total_time={args.seconds}", "-timeout=10", "-rss_limit_mb=2048",
                   "-print_final_stats=1", f"-artifact_prefix={BUILD}/{name}-", corpus]
        if seeds.is_dir():
            command.append(seeds)
        done = subprocess.run(command, cwd=BUILD, text=True, errors="replace", stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        runs = [line.split()[-1] for line in done.stdout.splitlines() if "number_of_executed_units" in line]
        print(f"{name}: {'ok' if done.returncode == 0 else 'FAILED'}, {runs[0] if runs else '?'} inputs", flush=True)
        if done.returncode != 0:
            print("\n".join(done.stdout.splitlines()[-40:]))
            failed += 1
    print(f"{failed} of the fuzzers found something" if failed else "no fuzzer found anything")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
