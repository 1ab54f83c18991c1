/* How fast is the spool by itself: fibers that commit messages, against a bare loop that appends and syncs.
 *
 *	spool_bench [-d DIRECTORY] [-w WRITERS] [-m MESSAGES] [-s BYTES] [-l LOOPS] [-r] [-n]
 *
 * -r removes each message at once (segments are recycled), -n does not sync. -o opens an
 * existing spool only: the time of recovery. -b runs the bare loop alone, with as many messages to a sync as -w says. */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spool/spool.h"
#include "world/fiber.h"
#include "world/linux.h"

struct options {
	const char *directory;
	unsigned writers, loops;
	uint64_t messages;
	size_t size;
	bool remove, no_sync, open_only, bare;
};

struct bench {
	struct options o;
	struct world *world;
	struct spool *spool;
	char *body, *envelope;
	atomic_ullong next_id, done, failed;
	atomic_uint running;
};

static double cpu_seconds(double *ret_system)
{
	struct rusage u;

	(void) getrusage(RUSAGE_SELF, &u);
	*ret_system = (double) u.ru_stime.tv_sec + (double) u.ru_stime.tv_usec / 1e6;
	return (double) u.ru_utime.tv_sec + (double) u.ru_utime.tv_usec / 1e6;
}

static int commit_one(struct bench *b, msgid_t id)
{
	struct spool_writer *w;
	int r = spool_writer_new(b->spool, id, &w);

	if (r < 0)
		return r;
	r = spool_writer_append(w, slice_new(b->body, b->o.size));
	if (r < 0) {
		spool_writer_abort(w);
		return r;
	}
	r = spool_writer_commit(w, slice_new(b->envelope, 300), SLICE_NULL);
	if (r >= 0 && b->o.remove)
		r = spool_remove(b->spool, id);
	return r;
}

static void writer(void *arg)
{
	struct bench *b = arg;

	for (;;) {
		uint64_t n = atomic_fetch_add(&b->next_id, 1);
		int r;

		if (n > b->o.messages)
			break;
		r = commit_one(b, n);
		if (r < 0) {
			(void) fprintf(stderr, "commit: %s\n", strerror(-r));
			atomic_fetch_add(&b->failed, 1);
			break;
		}
		atomic_fetch_add(&b->done, 1);
	}
	atomic_fetch_sub(&b->running, 1);
}

static int found(const struct spool_found *m, void *context)
{
	struct bench *b = context;

	atomic_fetch_add(&b->done, 1);
	return 0;
}

static void show(const struct bench *b, double seconds, double user, double sys)
{
	struct spool_stats stats;
	double n = (double) atomic_load(&b->done);

	spool_stats(b->spool, &stats);
	(void) printf("spool: %u writers, %zu bytes: %.0f commits/s, %.3f syncs/commit, %.1f records/batch, "
		      "CPU %.1f us/commit (%.1f user, %.1f system), %.2f s\n",
		      b->o.writers, b->o.size, n / seconds, (double) stats.syncs / n,
		      (double) stats.records / (double) MAX(stats.batches, 1u), (user + sys) / n * 1e6, user / n * 1e6,
		      sys / n * 1e6, seconds);
}

static int bench_spool(struct bench *b)
{
	struct spool_config config = { .path = b->o.directory, .no_sync = b->o.no_sync };
	struct spool_recovery recovery;
	struct loop *loops[16];
	double user, sys, user0, sys0;
	usec_t start = world_now(b->world);
	int r = spool_open(b->world, NULL, &config, found, b, &recovery, &b->spool);

	if (r < 0)
		return r;
	if (b->o.open_only || recovery.messages > 0)
		(void) printf("recovery: %llu messages, %llu records in %llu segments in %.2f s\n",
			      (unsigned long long) recovery.messages, (unsigned long long) recovery.records,
			      (unsigned long long) recovery.segments, (double) (world_now(b->world) - start) / 1e6);
	if (b->o.open_only) {
		spool_close(b->spool);
		return 0;
	}
	atomic_store(&b->done, 0);
	atomic_store(&b->next_id, recovery.highest_id + 1);
	b->o.messages += recovery.highest_id;
	atomic_store(&b->running, b->o.writers);
	user0 = cpu_seconds(&sys0);
	start = world_now(b->world);
	for (unsigned i = 0; i < b->o.loops; i++) {
		r = loop_new(b->world, "bench", 0, 0, &loops[i]);
		if (r >= 0)
			r = loop_start(loops[i]);
		if (r < 0)
			return r;
	}
	for (unsigned i = 0; i < b->o.writers; i++)
		(void) loop_spawn(loops[i % b->o.loops], "writer", writer, b);
	while (atomic_load(&b->running) > 0)
		(void) usleep(1000);
	user = cpu_seconds(&sys);
	show(b, (double) (world_now(b->world) - start) / 1e6, user - user0, sys - sys0);
	for (unsigned i = 0; i < b->o.loops; i++) {
		loop_stop(loops[i]);
		loop_free(loops[i]);
	}
	spool_close(b->spool);
	return atomic_load(&b->failed) > 0 ? -EIO : 0;
}

/* The ceiling: one file that grows, `writers` messages to each write and sync. */
static int bench_bare(struct bench *b)
{
	double user, sys, user0, sys0;
	uint64_t n = 0, syncs = 0;
	usec_t start;
	char path[512];
	int fd;

	(void) snprintf(path, sizeof(path), "%s/bare", b->o.directory);
	(void) mkdir(b->o.directory, 0700);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	user0 = cpu_seconds(&sys0);
	start = world_now(b->world);
	while (n < b->o.messages) {
		for (unsigned i = 0; i < b->o.writers; i++, n++)
			if (write(fd, b->body, b->o.size) < 0)
				return -errno;
		if (!b->o.no_sync && fdatasync(fd) < 0)
			return -errno;
		syncs++;
	}
	user = cpu_seconds(&sys) - user0;
	sys -= sys0;
	(void) printf("bare:  %u to a sync, %zu bytes: %.0f commits/s, %.3f syncs/commit, CPU %.1f us/commit\n",
		      b->o.writers, b->o.size, (double) n / ((double) (world_now(b->world) - start) / 1e6),
		      (double) syncs / (double) n, (user + sys) / (double) n * 1e6);
	(void) close(fd);
	(void) unlink(path);
	return 0;
}

static int parse(int argc, char **argv, struct options *o)
{
	int c;

	while ((c = getopt(argc, argv, "d:w:m:s:l:rnob")) != -1)
		switch (c) {
		case 'd': o->directory = optarg; break;
		case 'w': o->writers = (unsigned) strtoul(optarg, NULL, 10); break;
		case 'm': o->messages = strtoull(optarg, NULL, 10); break;
		case 's': o->size = strtoul(optarg, NULL, 10); break;
		case 'l': o->loops = (unsigned) strtoul(optarg, NULL, 10); break;
		case 'r': o->remove = true; break;
		case 'n': o->no_sync = true; break;
		case 'o': o->open_only = true; break;
		case 'b': o->bare = true; break;
		default: return -EINVAL;
		}
	return o->writers == 0 || o->loops == 0 || o->loops > 16 ? -EINVAL : 0;
}

int main(int argc, char **argv)
{
	struct bench b = { .o = { .directory = "spool-bench", .writers = 100, .messages = 200000, .size = 4096, .loops = 1 } };
	int r;

	if (parse(argc, argv, &b.o) < 0) {
		(void) fprintf(stderr, "usage: %s [-d DIRECTORY] [-w WRITERS] [-m MESSAGES] [-s BYTES] [-l LOOPS] "
				       "[-r] [-n] [-o] [-b]\n", argv[0]);
		return 2;
	}
	b.body = malloc(b.o.size + 1);
	b.envelope = calloc(1, 300);
	if (!b.body || !b.envelope || world_linux_new(NULL, &b.world) < 0)
		return 1;
	memset(b.body, 'x', b.o.size);
	r = b.o.bare ? bench_bare(&b) : bench_spool(&b);
	if (r < 0)
		(void) fprintf(stderr, "%s: %s\n", b.o.directory, strerror(-r));
	world_free(b.world);
	free(b.body);
	free(b.envelope);
	return r < 0;
}
