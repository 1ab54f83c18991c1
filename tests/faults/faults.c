#include "faults/faults.h"

#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/macro.h"
#include "faults/wrapped.h"

#define FRAMES 24
#define PLACES (1u << 20) /* for allocations that are alive */

/* What is counted and what fails. */
static struct {
	const char *name;
	uint64_t times, point, count;
	bool armed, fired, running;
	unsigned paused;
	bool (*applies)(void *context);
	void *context;
	void *frames[FRAMES];
	int n_frames;
} faults;

/* --- what is alive ------------------------------------------------------------------------------------------ */

struct place {
	void *p; /* NULL: free */
	void *by;
	uint64_t when;
};
static struct place places[PLACES];
static uint64_t clock_of_allocations = 1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* around these two, and around the counting */

static size_t home_of(const void *p)
{
	return (size_t) ((uint64_t) (uintptr_t) p * UINT64_C(0x9e3779b97f4a7c15) >> 44) % PLACES;
}

static struct place *find(const void *p)
{
	size_t i = home_of(p);

	while (places[i].p && places[i].p != p)
		i = (i + 1) % PLACES;
	return &places[i];
}

static void forget_place(struct place *hole)
{
	size_t i;

	if (!hole->p)
		return;
	hole->p = NULL;
	/* Those behind it in the same run may belong before it. */
	for (i = (size_t) (hole - places + 1) % PLACES; places[i].p; i = (i + 1) % PLACES) {
		struct place moved = places[i];

		places[i].p = NULL;
		*find(moved.p) = moved;
	}
}

static void forget(void *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&lock);
	forget_place(find(p));
	pthread_mutex_unlock(&lock);
}

static void *keep(void *p, void *by)
{
	if (!p)
		return NULL;
	pthread_mutex_lock(&lock);
	*find(p) = (struct place) { .p = p, .by = by, .when = clock_of_allocations++ };
	pthread_mutex_unlock(&lock);
	return p;
}

uint64_t faults_now(void)
{
	return clock_of_allocations;
}

size_t faults_alive(uint64_t since, bool print)
{
	size_t n = 0;

	for (size_t i = 0; i < PLACES; i++) {
		if (!places[i].p || places[i].when < since)
			continue;
		if (print && n < 10)
			backtrace_symbols_fd(&places[i].by, 1, STDERR_FILENO);
		n++;
	}
	return n;
}

/* --- whether this call fails ------------------------------------------------------------------------------------ */

static bool is_its_turn(void)
{
	bool first;

	faults.count++;
	if (faults.point == 0 || faults.count < faults.point || (faults.times > 0 && faults.count - faults.point >= faults.times))
		return false;
	first = !faults.fired;
	faults.fired = true;
	if (first)
		faults.n_frames = backtrace(faults.frames, FRAMES);
	return true;
}

static bool fails(void)
{
	bool now;

	if (!faults.armed || faults.paused > 0 || (faults.applies && !faults.applies(faults.context)))
		return false;
	pthread_mutex_lock(&lock);
	now = is_its_turn();
	pthread_mutex_unlock(&lock);
	if (now)
		errno = ENOMEM;
	return now;
}

#define CALLER __builtin_return_address(0)

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : keep(__real_malloc(size), CALLER);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : keep(__real_calloc(n, size), CALLER);
}

static void *resize(void *p, size_t size, void *by)
{
	void *q;

	if (fails())
		return NULL;
	forget(p);
	q = __real_realloc(p, size);
	return keep(q ? q : size > 0 ? p : NULL, by) ? q : NULL;
}

void *__wrap_realloc(void *p, size_t size)
{
	return resize(p, size, CALLER);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return resize(p, bytes, CALLER);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	return fails() ? NULL : keep(__real_aligned_alloc(alignment, size), CALLER);
}

int __wrap_posix_memalign(void **ret, size_t alignment, size_t size)
{
	int r = fails() ? ENOMEM : __real_posix_memalign(ret, alignment, size);

	if (r == 0)
		(void) keep(*ret, CALLER);
	return r;
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : keep(__real_strdup(s), CALLER);
}

char *__wrap_strndup(const char *s, size_t n)
{
	return fails() ? NULL : keep(__real_strndup(s, n), CALLER);
}

static int print_new(char **ret, const char *format, va_list ap, void *by)
{
	int r;

	if (fails())
		return -1; /* *ret is undefined then: leave it */
	r = __real_vasprintf(ret, format, ap);
	if (r >= 0)
		(void) keep(*ret, by);
	return r;
}

int __wrap_vasprintf(char **ret, const char *format, va_list ap)
{
	return print_new(ret, format, ap, CALLER);
}

int __wrap_asprintf(char **ret, const char *format, ...)
{
	va_list ap;
	int r;

	va_start(ap, format);
	r = print_new(ret, format, ap, CALLER);
	va_end(ap);
	return r;
}

/* As the fortified headers call them. */
int __wrap___vasprintf_chk(char **ret, int flag, const char *format, va_list ap)
{
	return print_new(ret, format, ap, CALLER);
}

int __wrap___asprintf_chk(char **ret, int flag, const char *format, ...)
{
	va_list ap;
	int r;

	va_start(ap, format);
	r = print_new(ret, format, ap, CALLER);
	va_end(ap);
	return r;
}

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	return fails() ? MAP_FAILED : __real_mmap(at, size, protection, flags, fd, offset);
}

void __wrap_free(void *p)
{
	forget(p);
	__real_free(p);
}

/* --- libraries ------------------------------------------------------------------------------------------------------ */

/* jansson 2.14 ends the process by an assertion when several allocations in a row fail while it reads a string. The
 * server reserves before it reads (src/admin/making.c), so that they fail together and before, or not at all. */
json_t *__wrap_json_loadb(const char *text, size_t len, size_t flags, json_error_t *error)
{
	json_t *o;

	if (faults.times == 1)
		return __real_json_loadb(text, len, flags, error);
	if (fails())
		return NULL;
	faults.paused++;
	o = __real_json_loadb(text, len, flags, error);
	faults.paused--;
	return o;
}

/* --- the simulator's own memory ------------------------------------------------------------------------------------- */

void *__wrap_sim_zalloc(size_t size)
{
	void *p;

	faults.paused++;
	p = __real_sim_zalloc(size);
	faults.paused--;
	return p;
}

void *__wrap_sim_realloc(void *p, size_t size)
{
	faults.paused++;
	p = __real_sim_realloc(p, size);
	faults.paused--;
	return p;
}

char *__wrap_sim_strdup(const char *s)
{
	char *copy;

	faults.paused++;
	copy = __real_sim_strdup(s);
	faults.paused--;
	return copy;
}

void __wrap_sim_event_arm(struct sim *s, struct sim_event *e, uint64_t at)
{
	faults.paused++;
	__real_sim_event_arm(s, e, at);
	faults.paused--;
}

int __wrap_sim_loop_init(struct loop *l)
{
	int r;

	faults.paused++;
	r = __real_sim_loop_init(l);
	faults.paused--;
	return r;
}

/* --- scenarios ---------------------------------------------------------------------------------------------------------- */

void faults_begin(bool (*applies)(void *context), void *context)
{
	faults.applies = applies;
	faults.context = context;
	faults.armed = true;
}

void faults_end(void)
{
	faults.armed = false;
}

void faults_pause(void)
{
	faults.paused++;
}

void faults_resume(void)
{
	faults.paused--;
}

bool faults_fired(void)
{
	return faults.fired;
}

uint64_t faults_point(void)
{
	return faults.point;
}

void faults_print(void)
{
	char text[200];
	int n;

	faults.armed = false;
	n = snprintf(text, sizeof(text), "--- %s: allocation %llu%s%s; to repeat it: FAULT=%llu %s\n", faults.name ? faults.name : "?",
		     (unsigned long long) faults.point, faults.times == 1 ? "" : " and some that followed",
		     faults.fired ? " failed here" : " did not fail", (unsigned long long) faults.point, program_invocation_name);
	(void) !write(STDERR_FILENO, text, (size_t) n);
	backtrace_symbols_fd(faults.frames, faults.n_frames, STDERR_FILENO);
}

/* A crash names its point. */
static void crashed(int sig)
{
	static const char text[] = "--- a crash\n";
	void *frames[FRAMES];

	(void) !write(STDERR_FILENO, text, sizeof(text) - 1);
	faults_print();
	(void) !write(STDERR_FILENO, text, sizeof(text) - 1);
	backtrace_symbols_fd(frames, backtrace(frames, FRAMES), STDERR_FILENO);
	signal(sig, SIG_DFL);
	raise(sig);
}

/* AddressSanitizer calls this before it reports. */
void __asan_on_error(void);
void __asan_on_error(void)
{
	faults_print();
}

static void watch(void)
{
	void *frames[4];

	(void) backtrace(frames, 4); /* it loads a library at first, and allocates for that */
	json_set_alloc_funcs(__wrap_malloc, __wrap_free);
	signal(SIGABRT, crashed);
#ifndef __SANITIZE_ADDRESS__
	signal(SIGSEGV, crashed);
#endif
}

static void run(const struct faults_walk *w, uint64_t point)
{
	uint64_t since = faults_now();

	faults.name = w->name;
	faults.times = w->times;
	faults.point = point;
	faults.count = 0;
	faults.fired = false;
	faults.n_frames = 0;
	faults.running = true;
	w->scenario(w->context);
	faults_end();
	faults.running = false;
	if (faults_alive(since, false) > 0) {
		faults_print();
		(void) fprintf(stderr, "--- left alive, from:\n");
		(void) faults_alive(since, true);
		fail_msg("%s: %zu allocations are left alive", w->name, faults_alive(since, false));
	}
	assert_int_equal(faults.paused, 0);
}

int faults_teardown(void **state)
{
	if (faults.running)
		faults_print();
	faults.running = false;
	return 0;
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value ? strtoull(value, NULL, 10) : otherwise;
}

uint64_t faults_points(uint64_t total, uint64_t most)
{
	most = number_of("FAULTS", most);
	return most > 0 ? MIN(most, total) : total;
}

uint64_t faults_walk(const struct faults_walk *w)
{
	uint64_t one = number_of("FAULT", 0), total, points, done = 0;

	watch();
	if (one > 0) {
		run(w, one);
		return 1;
	}
	run(w, 0);
	total = faults.count;
	points = faults_points(total, w->most);
	for (uint64_t i = 0; i < points; i++) {
		run(w, 1 + i * total / points);
		done += faults.fired;
	}
	print_message("# %s: %llu of %llu allocations failed", w->name, (unsigned long long) done, (unsigned long long) total);
	if (w->times > 1)
		print_message(", each with the %llu that followed\n", (unsigned long long) w->times - 1);
	else
		print_message("%s\n", w->times == 1 ? " once" : ", each with all that followed");
	return done;
}

uint64_t faults_walk_both(const char *name, void (*scenario)(void *context), void *context, uint64_t most)
{
	struct faults_walk w = { .name = name, .scenario = scenario, .context = context, .most = most, .times = 1 };
	uint64_t n = faults_walk(&w);

	w.times = 0;
	return n + faults_walk(&w);
}

bool faults_enough(uint64_t failed, uint64_t least)
{
	bool fewer = number_of("FAULT", 0) > 0 || number_of("FAULTS", 0) > 0;

	return failed >= (fewer ? 1 : least);
}
