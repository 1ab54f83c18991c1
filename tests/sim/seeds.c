#include "sim/seeds.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define JOBS_MAX 64u
#define SEED_LIMIT 300u   /* seconds that one seed may take */
#define SHRINK_LIMIT 60u
#define PROGRESS_EVERY 60 /* seconds */
#define FAILED_STATUS 3

/* What a worker tells its parent; in memory that both share. */
struct report {
	uint64_t seed, done;
	bool finished, failed;
	char kind[160], text[1200];
	bool happened[SEEDS_FAULTS];
};

struct board {
	bool stop; /* somebody failed */
	struct report reports[JOBS_MAX];
};

/* Of this process: its report, and whether it is to tell its story. */
static struct report *own;
static bool quiet;

/* --- what the environment asks for ------------------------------------------------------------------- */

bool seeds_asked_for(const char *name)
{
	const char *value = getenv(name);

	return value && value[0] && strcmp(value, "0") != 0;
}

static unsigned number_from(const char *name, unsigned otherwise)
{
	const char *value = getenv(name);

	return value && value[0] ? (unsigned) strtoul(value, NULL, 10) : otherwise;
}

bool seeds_want_fault(unsigned number)
{
	const char *at = getenv("ONLY");

	if (!at)
		return true;
	while (*at) {
		char *end;
		unsigned long n = strtoul(at, &end, 10);

		if (end == at)
			return false; /* "none" */
		if (n == number)
			return true;
		at = *end ? end + 1 : end;
	}
	return false;
}

const char *seeds_command(uint64_t seed, char *out, size_t size)
{
	const char *only = getenv("ONLY");

	(void) snprintf(out, size, "SEED=%llu%s%s %s", (unsigned long long) seed, only ? " ONLY=" : "", only ? only : "",
			program_invocation_name);
	return out;
}

/* --- what a seed's process says ------------------------------------------------------------------------ */

void seeds_note_fault(unsigned number)
{
	if (own && number < SEEDS_FAULTS)
		own->happened[number] = true;
}

bool seeds_note_failure(const char *kind, const char *text)
{
	if (own) {
		own->failed = true;
		(void) snprintf(own->kind, sizeof(own->kind), "%s", kind);
		(void) snprintf(own->text, sizeof(own->text), "%s", text);
	}
	return !quiet;
}

void seeds_end_failed(void)
{
	if (!own)
		return;
	fflush(NULL);
	_exit(FAILED_STATUS);
}

/* In the child: whatever goes wrong ends it, and what it says then can be read by its parent. */
static void become_worker(struct report *report, bool silent, FILE *errors)
{
	static const int signals[] = { SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS };

	own = report;
	quiet = silent;
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		(void) signal(signals[i], SIG_DFL);
	(void) setenv("CMOCKA_TEST_ABORT", "1", 1); /* instead of going on with the parent's tests */
	if (errors)
		(void) dup2(fileno(errors), STDERR_FILENO);
}

static void run_one(void (*run)(uint64_t, void *), uint64_t seed, void *totals)
{
	own->seed = seed;
	memset(own->happened, 0, sizeof(own->happened));
	(void) alarm(SEED_LIMIT);
	run(seed, totals);
	(void) alarm(0);
	own->done++;
}

/* A line in the words of a process that died without a check of ours: of an assertion, or of a sanitizer. */
static void read_last_words(FILE *errors, struct report *r, int status)
{
	static const char *const signs[] = { "Assertion", "ERROR: ", "runtime error", "simulation", "detected", "FAILED" };
	char line[600], found[600] = "";

	rewind(errors);
	while (!found[0] && fgets(line, sizeof(line), errors))
		for (size_t i = 0; i < ARRAY_LEN(signs) && !found[0]; i++)
			if (strstr(line, signs[i]))
				(void) snprintf(found, sizeof(found), "%s", line);
	found[strcspn(found, "\n")] = '\0';
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		(void) snprintf(found, sizeof(found), "it did not end within %u s", SEED_LIMIT);
	(void) snprintf(r->text, sizeof(r->text), "%s%s%s", WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "ended early",
			found[0] ? ": " : "", found);
	(void) snprintf(r->kind, sizeof(r->kind), "status %d", status);
	r->failed = true;
}

/* Waits for its end and makes its report complete. */
static void reap(pid_t pid, struct report *r, FILE *errors)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!r->failed && (!r->finished || status != 0))
		read_last_words(errors, r, status);
}

/* --- one seed in a process of its own -------------------------------------------------------------------- */

static struct report *report_new(void)
{
	void *p = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

static void run_apart(void (*run)(uint64_t, void *), uint64_t seed, void *totals, const char *only, bool silent, struct report *r)
{
	FILE *errors = tmpfile();
	pid_t pid;

	memset(r, 0, sizeof(*r));
	assert_non_null(errors);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		become_worker(r, silent, silent ? errors : NULL);
		if (only)
			(void) setenv("ONLY", only, 1);
		run_one(run, seed, totals);
		r->finished = true;
		fflush(NULL);
		_exit(0);
	}
	assert_true(pid > 0);
	reap(pid, r, errors);
	fclose(errors);
}

bool seeds_run_apart(void (*run)(uint64_t, void *), uint64_t seed, unsigned *totals, size_t n_totals)
{
	struct report *r = report_new();
	size_t size = n_totals * sizeof(unsigned);
	unsigned *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bool ok;

	assert_true(shared != MAP_FAILED);
	run_apart(run, seed, shared, NULL, false, r);
	ok = !r->failed;
	memcpy(totals, shared, size);
	munmap(shared, size);
	munmap(r, sizeof(struct board));
	return ok;
}

/* --- making a failure small -------------------------------------------------------------------------------- */

struct shrinking {
	void (*run)(uint64_t seed, void *totals);
	uint64_t seed;
	char kind[160];
	unsigned faults[SEEDS_FAULTS], n; /* that are needed, as far as we know */
	unsigned runs;
	time_t until;
	struct report *report;
	void *totals;
};

static void write_list(const unsigned *faults, unsigned n, char *out, size_t size)
{
	size_t len = 0;

	(void) snprintf(out, size, "none");
	for (unsigned i = 0; i < n && len + 12 < size; i++)
		len += (size_t) snprintf(out + len, size - len, "%s%u", i ? "," : "", faults[i]);
}

/* Does it fail in the same way with these faults alone? */
static bool fails_with(struct shrinking *k, const unsigned *faults, unsigned n)
{
	char list[SEEDS_FAULTS * 4];

	write_list(faults, n, list, sizeof(list));
	run_apart(k->run, k->seed, k->totals, list, true, k->report);
	k->runs++;
	return k->report->failed && strcmp(k->report->kind, k->kind) == 0;
}

/* Delta debugging (Zeller and Hildebrandt, 2002), by complements only: leaves out halves, quarters... single faults. */
static bool leave_out(struct shrinking *k, unsigned from, unsigned len)
{
	unsigned rest[SEEDS_FAULTS], n = 0;

	for (unsigned i = 0; i < k->n; i++)
		if (i < from || i >= from + len)
			rest[n++] = k->faults[i];
	if (!fails_with(k, rest, n))
		return false;
	memcpy(k->faults, rest, n * sizeof(*rest));
	k->n = n;
	return true;
}

static void shrink(struct shrinking *k)
{
	if (k->n > 0 && leave_out(k, 0, k->n))
		return;
	for (unsigned len = (k->n + 1) / 2; len > 0 && k->n > 0; len = len == 1 ? 0 : (len + 1) / 2) {
		bool again;

		do {
			again = false;
			for (unsigned from = 0; from < k->n && time(NULL) < k->until;) {
				if (leave_out(k, from, len))
					again = len == 1; /* what was needed before may not be any more */
				else
					from += len;
			}
		} while (again && time(NULL) < k->until);
	}
}

/* The seed has failed, as the report says; the report is overwritten. */
static void shrink_failure(struct shrinking *k, unsigned seconds)
{
	for (unsigned i = 0; i < SEEDS_FAULTS; i++)
		if (k->report->happened[i])
			k->faults[k->n++] = i;
	memcpy(k->kind, k->report->kind, sizeof(k->kind));
	k->until = time(NULL) + (time_t) seconds;
	shrink(k);
}

static void explain(const struct seeds *s, const struct report *failed, void *totals)
{
	struct shrinking k = { .run = s->run, .seed = failed->seed, .report = report_new(), .totals = totals };
	char list[SEEDS_FAULTS * 4];
	unsigned before = 0;

	*k.report = *failed;
	for (unsigned i = 0; i < SEEDS_FAULTS; i++)
		before += failed->happened[i];
	shrink_failure(&k, number_from("SHRINK", SHRINK_LIMIT));
	write_list(k.faults, k.n, list, sizeof(list));
	fprintf(stderr, "--- seed %llu had met %u faults; after %u more runs %u are left: ONLY=%s\n", (unsigned long long) k.seed,
		before, k.runs, k.n, list);
	run_apart(s->run, k.seed, totals, list, false, k.report);
	if (!k.report->failed)
		fprintf(stderr, "--- this time it went well: the seed does not repeat itself\n");
	munmap(k.report, sizeof(struct board));
}

unsigned seeds_shrink(void (*run)(uint64_t, void *), uint64_t seed, unsigned seconds, unsigned ret[static SEEDS_FAULTS])
{
	struct shrinking k = { .run = run, .seed = seed, .report = report_new() };

	run_apart(run, seed, NULL, NULL, true, k.report);
	assert_true(k.report->failed);
	shrink_failure(&k, seconds);
	munmap(k.report, sizeof(struct board));
	memcpy(ret, k.faults, k.n * sizeof(*ret));
	return k.n;
}

/* --- many seeds ------------------------------------------------------------------------------------------------ */

struct team {
	const struct seeds *seeds;
	struct board *board;
	unsigned *totals; /* shared: those of each worker, one after the other */
	unsigned jobs, from, n;
	pid_t pids[JOBS_MAX];
	FILE *errors[JOBS_MAX];
};

static void work(struct team *t, unsigned job)
{
	struct report *r = &t->board->reports[job];

	become_worker(r, true, t->errors[job]);
	for (unsigned i = job; i < t->n && !__atomic_load_n(&t->board->stop, __ATOMIC_RELAXED); i += t->jobs) {
		if (ftruncate(STDERR_FILENO, 0) == 0) /* what the last seed said is of no interest any more */
			(void) lseek(STDERR_FILENO, 0, SEEK_SET);
		run_one(t->seeds->run, t->from + i, t->totals + job * t->seeds->n_totals);
	}
	r->finished = true;
	fflush(NULL);
	exit(0); /* a leak checker has its word here */
}

static void start_team(struct team *t)
{
	for (unsigned job = 0; job < t->jobs; job++) {
		t->errors[job] = tmpfile();
		assert_non_null(t->errors[job]);
		fflush(NULL);
		t->pids[job] = fork();
		assert_true(t->pids[job] >= 0);
		if (t->pids[job] == 0)
			work(t, job);
	}
}

static void tell_progress(const struct team *t, time_t *next)
{
	uint64_t done = 0;

	if (time(NULL) < *next)
		return;
	*next = time(NULL) + PROGRESS_EVERY;
	for (unsigned job = 0; job < t->jobs; job++)
		done += t->board->reports[job].done;
	fprintf(stderr, "# %llu of %u seeds\n", (unsigned long long) done, t->n);
}

/* The report of the smallest seed that failed, or NULL. */
static const struct report *wait_for_team(struct team *t)
{
	const struct report *failed = NULL;
	time_t progress = time(NULL) + PROGRESS_EVERY;

	for (unsigned left = t->jobs; left > 0;) {
		for (unsigned job = 0; job < t->jobs; job++) {
			siginfo_t info = { .si_pid = 0 };

			if (t->pids[job] == 0 || waitid(P_PID, (id_t) t->pids[job], &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
				continue;
			reap(t->pids[job], &t->board->reports[job], t->errors[job]);
			t->pids[job] = 0;
			left--;
			if (t->board->reports[job].failed)
				__atomic_store_n(&t->board->stop, true, __ATOMIC_RELAXED);
		}
		if (left > 0)
			(void) usleep(20000);
		tell_progress(t, &progress);
	}
	for (unsigned job = 0; job < t->jobs; job++) {
		const struct report *r = &t->board->reports[job];

		fclose(t->errors[job]);
		if (r->failed && (!failed || r->seed < failed->seed))
			failed = r;
	}
	return failed;
}

static unsigned run_team(const struct seeds *s, unsigned n)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	struct team t = { .seeds = s, .board = (struct board *) report_new(), .from = number_from("FROM", 1), .n = n };
	size_t size = JOBS_MAX * (s->n_totals + 1) * sizeof(unsigned);
	const struct report *failed;
	char text[200];

	t.jobs = MIN(MIN(number_from("JOBS", cores > 0 ? (unsigned) cores : 1), JOBS_MAX), MAX(n, 1u));
	t.totals = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(t.totals != MAP_FAILED);
	start_team(&t);
	failed = wait_for_team(&t);
	if (failed) {
		/* The line that tests/sim/mutants.py reads. */
		fprintf(stderr, "--- seed %llu failed: %s\n", (unsigned long long) failed->seed, failed->text);
		if (number_from("SHRINK", SHRINK_LIMIT) > 0)
			explain(s, failed, t.totals);
		else
			fprintf(stderr, "--- to repeat it: %s\n", seeds_command(failed->seed, text, sizeof(text)));
		fail();
	}
	for (unsigned job = 0; job < t.jobs; job++)
		for (size_t i = 0; i < s->n_totals; i++)
			s->totals[i] += t.totals[job * s->n_totals + i];
	munmap(t.totals, size);
	munmap(t.board, sizeof(struct board));
	return n;
}

unsigned seeds_run(const struct seeds *s)
{
	const char *one = getenv("SEED");

	if (one && one[0]) {
		s->run(strtoull(one, NULL, 10), s->totals);
		return 1;
	}
	return run_team(s, number_from("SEEDS", s->n));
}
