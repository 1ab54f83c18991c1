# The front door. Meson and Ninja do the building, in build/.
#
#	make            builds build/yizhan
#	make run        installs what is missing, builds, runs a small internet on loopback (ONCE=1: one message, then ends)
#	make test       builds, also under AddressSanitizer and UBSan, and runs all tests
#	make sim        the simulations alone (SEEDS=n: so many seeds of each; with SEEDS in the plain build only)
#	make sim-mutants  plants ten bugs, one after another, and shows which seed of the simulations finds each
#	make valgrind   all tests under Valgrind  make tsan   under ThreadSanitizer (ONLY=unit,sim,e2e,interop: parts of them)
#	make aarch64    the unit tests and simulations of a cross build for AArch64, under QEMU (Debian)
#	make crash      the long form of the kills, stops, full disks, power cuts and bit rot (docs/RELIABILITY.md)
#	make fuzz       every fuzzer for FUZZ_SECONDS (30)
#	make bench      measures beside other servers  make clean  removes the build directories

BUILD := build
STAMPS := $(BUILD)/.packages

all: $(STAMPS)/build
	@TARGETS=yizhan scripts/build.sh $(BUILD)

run: all
	@$(BUILD)/yizhan sandbox $(if $(filter-out 0,$(ONCE)),--once)

test: $(STAMPS)/build $(STAMPS)/test
	@scripts/run_tests.py $(TEST_ARGS)

sim: $(STAMPS)/build $(STAMPS)/test
	@SEEDS=$(SEEDS) scripts/run_tests.py --only sim $(if $(SEEDS),--plain --show) $(TEST_ARGS)

sim-mutants: $(STAMPS)/build $(STAMPS)/test
	@tests/sim/mutants.py $(MUTANT_ARGS)

# ONLY=unit or ONLY=e2e/test_queue,sim: parts of it. The simulations must not see it: to them ONLY names faults.
aarch64: ONLY ?= unit,sim
aarch64: $(STAMPS)/aarch64
valgrind tsan aarch64: $(STAMPS)/build $(STAMPS)/test
	@env -u ONLY scripts/run_under.py $@ $(if $(ONLY),--only $(ONLY)) $(TEST_ARGS)
# About half an hour; over 1,200 kills. Shorter: make crash YIZHAN_CRASH_ROUNDS=40 ROT=17 ...
crash: export YIZHAN_CRASH_ROUNDS = 400
crash: export YIZHAN_STOP_ROUNDS = 40
crash: export YIZHAN_FULL_ROUNDS = 80
crash: export YIZHAN_POWER_IMAGES = 6000
crash: export ROT = all
crash: $(STAMPS)/build $(STAMPS)/test
	@scripts/build.sh $(BUILD)
	@$(BUILD)/unit_test_spool_rot
	@$$(python3 -c 'import pytest' 2>/dev/null && echo python3 || echo /usr/bin/python3) -m pytest -q -s \
		-p no:cacheprovider tests/e2e/test_crash.py tests/e2e/test_disk_full.py tests/e2e/test_power_cut.py

fuzz: $(STAMPS)/build $(STAMPS)/fuzz
	@scripts/run_fuzzers.py --seconds $(or $(FUZZ_SECONDS),30) $(FUZZ_ARGS)

bench: all
	@scripts/build.sh $(BUILD)
	@bench/run $(BENCH_ARGS)
	@bench/verdicts

# One look at the packages per change of the list; delete build/.packages to look again.
$(STAMPS)/%: scripts/install_packages.sh
	@scripts/install_packages.sh $*
	@mkdir -p $(STAMPS) && touch $@

clean:
	rm -rf $(BUILD) build-asan build-tsan build-fuzz build-mutants build-aarch64

.PHONY: all run test sim sim-mutants valgrind tsan aarch64 crash fuzz bench clean
