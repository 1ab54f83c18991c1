#!/usr/bin/env python3
"""Runs the test suites under Valgrind's memcheck, under ThreadSanitizer or on an emulated AArch64, and counts.

    run_under.py valgrind|tsan|aarch64 [--only unit,sim,e2e,interop] [-k WORD] [-j N]

--only   these suites, or single files of them: unit/test_spool,e2e/test_queue. So a long run can be done in parts.
-k       of the e2e and interop tests those whose name contains WORD.
A report of the tool makes the test fail during which it appeared. What tests repeat is repeated less often (SHORTER
below), unless the environment says how often. The last line is "N passed, N failed"; the exit status is 0 when none failed.
"""
import argparse
import concurrent.futures
import os
import shlex
import shutil
import subprocess
import sys
import time

import run_tests
from run_tests import ROOT

SUITES = ["unit", "sim", "e2e", "interop"]
VALGRIND = [
    "valgrind", "-q", "--error-exitcode=99", "--fair-sched=yes", "--num-callers=30", "--trace-children=yes", f"--suppressions={ROOT / 'tests/valgrind.supp'}",
]
LEAKS = ["--leak-check=full", "--errors-for-leak-kinds=definite,possible"]
# Each test runs, but not as often as it does without a tool that makes it slow.
SHORTER = {
    "SEEDS": "3", "FAULTS": "2", "ROT": "17", "YIZHAN_CRASH_ROUNDS": "4", "YIZHAN_STOP_ROUNDS": "1", "YIZHAN_FULL_ROUNDS": "1",
    "YIZHAN_FAULT_POINTS": "3", "YIZHAN_POWER_IMAGES": "30",
}


class Valgrind:
    """The binaries as they ship, under memcheck."""
    directory, options = "build", []
    slowness = 20

    def program(self, command):
        return [*VALGRIND, *LEAKS, *command]

    def environment(self, reports):
        if not reports:
            return {}
        # Not in the command, so that a test can do without: tests/e2e/power.py has servers that kill themselves.
        return {"YIZHAN_WRAPPER": shlex.join([*VALGRIND, f"--log-file={reports}/valgrind.%p"]), "VALGRIND_OPTS": " ".join(LEAKS)}


class Tsan:
    """A build of its own, in which every access to memory is watched."""
    directory, options = "build-tsan", ["-Db_sanitize=thread", "-Db_lundef=false", "-Dbench=false"]
    slowness = 8

    def program(self, command):
        return command

    def environment(self, reports):
        log = f":log_path={reports}/tsan" if reports else ""
        return {"TSAN_OPTIONS": f"suppressions={ROOT / 'tests/tsan.supp'}:second_deadlock_stack=1:history_size=4{log}"}


class Aarch64:
    """A cross build that QEMU runs, with the libraries of Debian's arm64."""
    directory = "build-aarch64"
    options = ["--cross-file", f"{ROOT / directory / 'cross.ini'}", "-Dbench=false"]
    slowness = 8

    def prepare(self):
        subprocess.run([ROOT / "scripts/aarch64_sysroot.sh", ROOT / self.directory], check=True, stdout=subprocess.DEVNULL)

    def program(self, command):
        return ["qemu-aarch64", "-L", str(ROOT / self.directory / "sysroot"), *command]

    def environment(self, reports):
        return {"YIZHAN_WRAPPER": shlex.join(self.program([]))} if reports else {}


TOOLS = {"valgrind": Valgrind, "tsan": Tsan, "aarch64": Aarch64}


def wanted(name, only):
    return any(name == o or name.startswith(o + "/") for o in only)


def run_program(tool, name, command, env, timeout):
    return run_tests.run_program(name, tool.program(command), {**env, **tool.environment(None)}, timeout * tool.slowness)


def run_file(tool, name, word, python):
    """One file of e2e or interop tests in a pytest of its own; what the tool reports lies in a directory of its own."""
    place = ROOT / tool.directory / "under" / name.replace("/", "-")
    shutil.rmtree(place, ignore_errors=True)
    reports = place / "reports"
    reports.mkdir(parents=True)
    junit, log = place / "result.xml", place / "log"
    env = {**os.environ, **tool.environment(reports), "YIZHAN_REPORTS": str(reports),
           "YIZHAN_SLOWNESS": os.environ.get("YIZHAN_SLOWNESS", str(tool.slowness)), "YIZHAN_SOURCE": str(ROOT),
           "YIZHAN_BUILD": str(ROOT / tool.directory), "YIZHAN_BINARY": str(ROOT / tool.directory / "yizhan"),
           "PYTHONDONTWRITEBYTECODE": "1"}
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={junit}", f"tests/{name}.py"]
    if word:
        command += ["-k", word]
    with open(log, "w") as output:
        status = subprocess.run(command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT).returncode
    return name, junit, status, log.read_text(errors="replace"), reports


class Run:
    """One call of this script."""

    def __init__(self, tool, args):
        self.tool, self.args, self.tally = tool, args, run_tests.Tally()
        self.only = args.only.split(",")
        os.environ.pop("ONLY", None)  # of `make valgrind ONLY=sim`; the simulations would take it for numbers of faults
        for name, value in SHORTER.items():
            os.environ.setdefault(name, value)

    def say(self, name, before, started):
        t = self.tally
        print(f"{name}: {t.passed - before[0]} passed, {t.failed - before[1]} failed, {t.skipped - before[2]} skipped, "
              f"{time.time() - started:.0f} s", flush=True)

    def counts(self):
        return self.tally.passed, self.tally.failed, self.tally.skipped

    def programs(self, pool):
        for suite in ("unit", "sim"):
            for name, command, env, timeout in run_tests.programs(self.tool.directory, suite):
                name = name.split()[-1]
                if wanted(name, self.only):
                    yield pool.submit(self.one_program, name, command, env, timeout)

    def one_program(self, name, command, env, timeout):
        started = time.time()
        return started, run_program(self.tool, name, command, env, timeout)

    def files(self, pool):
        names = [f"{suite}/{path.stem}" for suite in ("e2e", "interop")
                 for path in sorted((ROOT / "tests" / suite).glob("test_*.py"))]
        names = [n for n in names if wanted(n, self.only)]
        python = run_tests.python_with_pytest() if names else None
        for name in names:
            yield pool.submit(self.one_file, name, python)

    def one_file(self, name, python):
        started = time.time()
        return started, run_file(self.tool, name, self.args.word, python)

    def finish_program(self, started, result):
        before = self.counts()
        self.tally.add(*result)
        self.say(result[0], before, started)

    def finish_file(self, started, result):
        name, junit, status, output, reports = result
        before = self.counts()
        if status != 5:  # 5: none of the file's tests was asked for
            run_tests.count_cases(self.tally, name, junit, output)
        late = "".join(p.read_text(errors="replace") for p in sorted(reports.iterdir()))
        if late and self.tally.failed == before[1]:
            self.tally.add(f"{name}: a report after the last test", 0, 1, late)
        self.say(name, before, started)

    def run(self):
        with concurrent.futures.ThreadPoolExecutor(self.args.jobs) as pool:
            kinds = {}
            for job in self.programs(pool):
                kinds[job] = self.finish_program
            for job in self.files(pool):
                kinds[job] = self.finish_file
            for job in concurrent.futures.as_completed(kinds):
                kinds[job](*job.result())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("--only", default=",".join(SUITES))
    parser.add_argument("-k", dest="word", default="")
    parser.add_argument("-j", dest="jobs", type=int, default=os.cpu_count() or 2)
    args = parser.parse_args()
    started = time.time()
    tool = TOOLS[args.tool]()
    if hasattr(tool, "prepare"):
        tool.prepare()
    run_tests.build(tool.directory, *tool.options)
    run = Run(tool, args)
    run.run()
    tally = run.tally
    for name in tally.failures:
        print(f"failed: {name}")
    skipped = f" ({tally.skipped} skipped)" if tally.skipped else ""
    print(f"under {args.tool} in {(time.time() - started) / 60:.1f} min{skipped}")
    if tally.passed + tally.failed == 0:
        print(f"nothing is called {args.only}")
    print(f"{tally.passed} passed, {tally.failed} failed")
    sys.exit(1 if tally.failed or not tally.passed else 0)


if __name__ == "__main__":
    main()
