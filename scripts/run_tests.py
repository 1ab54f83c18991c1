#!/usr/bin/env python3
"""Builds the tree as it ships and under AddressSanitizer and UBSan, runs every test, and counts.

    run_tests.py [--only scripts,unit,sim,e2e,valgrind] [--plain] [--show] [-k WORD] [-j N]

--only   these suites (valgrind: a few unit programs under it);  --plain   without the sanitized build;
--show   what the programs counted;  -k   tests whose name contains WORD.
The last line is "N passed, N failed"; the exit status is 0 when none failed.
"""
import argparse
import concurrent.futures
import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as xml
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLAIN, ASAN = "build", "build-asan"
SUITES = ["scripts", "unit", "sim", "e2e", "valgrind"]
SIM_SEEDS, ASAN_SHARE = 1000, 10  # a simulation under the sanitizers runs a tenth of the seeds, or of SEEDS
SANITIZERS = {
    "ASAN_OPTIONS": "abort_on_error=0:detect_leaks=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}


class Tally:
    """What passed and what failed, with the end of the output of each failure."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []

    def add(self, name, passed, failed, output="", skipped=0):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped
        if failed:
            self.failures.append(name)
            print(f"--- FAILED: {name}")
            print("\n".join(output.splitlines()[-60:]), flush=True)


def build(directory, *options):
    started = time.time()
    done = subprocess.run([ROOT / "scripts/build.sh", directory, *options], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        print(done.stdout)
        print(f"The build in {directory}/ failed.")
        print("0 passed, 1 failed")
        sys.exit(1)
    print(f"built {directory}/ in {time.time() - started:.0f} s", flush=True)


def programs(directory, suite):
    """The test programs of a suite: (name, command, environment, timeout)."""
    known = json.loads(subprocess.run(["meson", "introspect", "--tests", directory], cwd=ROOT, check=True,
                                      text=True, stdout=subprocess.PIPE).stdout)
    for test in known:
        if any(s.split(":")[-1] == suite for s in test["suite"]):
            longer = max(1, int(os.environ.get("SEEDS") or 0) / 1000)  # the simulations repeat that often
            if suite == "sim" and directory == ASAN:
                test["env"]["SEEDS"] = str(max(1, int(os.environ.get("SEEDS") or SIM_SEEDS) // ASAN_SHARE))
            yield f"{directory} {suite}/{test['name']}", test["cmd"], test["env"], test["timeout"] * longer


def run_program(name, command, env, timeout, show=False):
    """A cmocka program writes TAP. A crash counts as one failure."""
    env = {**os.environ, **SANITIZERS, **env}
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, timeout=timeout, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        output, status = done.stdout.decode(errors="replace"), done.returncode
        if show:
            print("\n".join(line for line in output.splitlines() if line.startswith("# ")), flush=True)
    except subprocess.TimeoutExpired as e:
        output, status = (e.stdout or b"").decode(errors="replace") + f"\nno end after {timeout} s", -1
    passed = len(re.findall(r"^ok \d+", output, re.M))
    failed = len(re.findall(r"^not ok \d+(?!.*# SKIP)", output, re.M))  # cmocka calls a skipped test "not ok"
    if status != 0 and failed == 0:
        failed = 1
        output += f"\nended with status {status}"
    if status == 0 and passed == 0:
        passed = 1  # a program that is one test
    return name, passed, failed, output


def run_programs(tally, directory, suite, word, jobs, show):
    if suite == "sim":
        jobs = 1  # each runs its seeds on all cores
    wanted = [t for t in programs(directory, suite) if word in t[0]]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for result in pool.map(lambda t: run_program(*t, show), wanted):
            tally.add(*result)


def run_scripts(tally, word):
    """scripts/check_*.py hold the rules of the house: each is one test."""
    for script in sorted((ROOT / "scripts").glob("check_*.py")):
        if word in script.name:
            done = subprocess.run([sys.executable, script], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
            ok = done.returncode == 0
            tally.add(script.name, int(ok), int(not ok), done.stdout)
            if ok and done.stdout:
                print(done.stdout, end="")


# Of what `make valgrind` runs in half an hour, this is run always: memory that is ours alone to manage.
UNDER_VALGRIND = ["unit/test_fiber", "unit/test_stream", "unit/test_spool", "unit/test_receive", "unit/test_classify"]


def run_valgrind(tally):
    done = subprocess.run([ROOT / "scripts/run_under.py", "valgrind", "--only", ",".join(UNDER_VALGRIND)], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    counts = re.search(r"^(\d+) passed, (\d+) failed$", done.stdout, re.M)
    tally.add("valgrind", int(counts[1]) if counts else 0, int(counts[2]) if counts else 1, done.stdout)


def python_with_pytest():
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([python, "-c", "import pytest"], stderr=subprocess.DEVNULL).returncode == 0:
            return python
    print("pytest is missing: install python3-pytest")
    print("0 passed, 1 failed")
    sys.exit(1)


E2E_PER_CORE = 2  # files at a time: their tests wait more than they compute


def run_e2e_file(directory, path, word):
    """One file of e2e or interop tests in a pytest of its own."""
    place = ROOT / directory / "e2e"
    place.mkdir(exist_ok=True)
    report, log = place / f"{path.stem}.xml", place / f"{path.stem}.log"
    report.unlink(missing_ok=True)
    env = {**os.environ, **SANITIZERS, "YIZHAN_SOURCE": str(ROOT), "YIZHAN_BUILD": str(ROOT / directory),
           "YIZHAN_BINARY": str(ROOT / directory / "yizhan"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [python_with_pytest(), "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", str(path)]
    if word:
        command += ["-k", word]
    with open(log, "w") as output:
        status = subprocess.run(command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT).returncode
    return f"{directory} e2e", report, status, log.read_text(errors="replace")


def run_e2e(tally, directories, word, jobs):
    """Those that took longest the last time go first, so that nobody waits for one of them at the end."""
    files = [*(ROOT / "tests/e2e").glob("test_*.py"), *(ROOT / "tests/interop").glob("test_*.py")]
    wanted = [(directory, path) for directory in directories for path in sorted(files)]
    wanted.sort(key=lambda w: seconds_of(*w), reverse=True)
    with concurrent.futures.ThreadPoolExecutor(jobs * E2E_PER_CORE) as pool:
        for name, report, status, output in pool.map(lambda w: run_e2e_file(*w, word), wanted):
            if status != 5:  # 5: nothing collected
                count_cases(tally, name, report, output)


def seconds_of(directory, path):
    """What the file took the last time; without that its size says something."""
    report = ROOT / directory / "e2e" / f"{path.stem}.xml"
    try:
        return float(xml.parse(report).getroot().find("testsuite").get("time"))
    except (OSError, AttributeError, TypeError, xml.ParseError):
        return path.stat().st_size / 1000


def count_cases(tally, suite, report, output):
    """Adds what pytest wrote into its report; without one, its output tells why."""
    if not report.exists():
        tally.add(suite, 0, 1, output)
        return
    for case in xml.parse(report).getroot().iter("testcase"):
        name = f"{suite}/{case.get('classname')}.{case.get('name')}"
        bad = case.find("failure") if case.find("failure") is not None else case.find("error")
        if bad is not None:
            tally.add(name, 0, 1, (bad.text or "") + (case.findtext("system-out") or ""))
        elif case.find("skipped") is not None:
            tally.add(name, 0, 0, skipped=1)
        else:
            tally.add(name, 1, 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SUITES))
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("-k", dest="word", default="")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("-j", dest="jobs", type=int, default=os.cpu_count() or 2)
    args = parser.parse_args()
    suites = args.only.split(",")
    for suite in suites:
        if suite not in SUITES:
            parser.error(f"unknown suite '{suite}' ({', '.join(SUITES)})")

    started = time.time()
    tally = Tally()
    directories = [PLAIN] if args.plain else [PLAIN, ASAN]
    if suites != ["scripts"]:
        build(PLAIN)
        if not args.plain:
            build(ASAN, "-Db_sanitize=address,undefined", "-Db_lundef=false", "-Dbench=false")
    if "scripts" in suites:
        run_scripts(tally, args.word)
    for suite in ("unit", "sim"):
        if suite in suites:
            for directory in directories:
                run_programs(tally, directory, suite, args.word, args.jobs, args.show)
    if "valgrind" in suites and args.word in "valgrind":
        run_valgrind(tally)
    if "e2e" in suites:
        run_e2e(tally, directories, args.word, args.jobs)

    for name in tally.failures:
        print(f"failed: {name}")
    skipped = f" ({tally.skipped} skipped)" if tally.skipped else ""
    print(f"all suites in {time.time() - started:.0f} s{skipped}")
    print(f"{tally.passed} passed, {tally.failed} failed")
    sys.exit(1 if tally.failed else 0)


if __name__ == "__main__":
    main()
