#include "main/log_writer.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define RING_SIZE (1u << 20)
#define WRITE_SIZE (64u << 10)

struct log_writer {
	int fd;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	char *ring;
	size_t start, len; /* bytes that wait begin at ring[start] */
	uint64_t dropped, dropped_told;
	bool stopping, started;
};

static void ring_put(struct log_writer *w, const char *data, size_t len)
{
	size_t at = (w->start + w->len) % RING_SIZE, first = MIN(len, RING_SIZE - at);

	memcpy(w->ring + at, data, first);
	memcpy(w->ring, data + first, len - first);
	w->len += len;
}

void log_writer_put(void *context, const char *line, size_t len)
{
	struct log_writer *w = context;

	pthread_mutex_lock(&w->lock);
	if (len > RING_SIZE - w->len) {
		w->dropped++;
	} else {
		if (!w->len)
			pthread_cond_signal(&w->changed);
		ring_put(w, line, len);
	}
	pthread_mutex_unlock(&w->lock);
}

/* All of it, unless it can't be written at all. When the server stops, nobody waits long for a reader. */
static void write_out(struct log_writer *w, const char *data, size_t len)
{
	while (len) {
		struct pollfd p = { .fd = w->fd, .events = POLLOUT };
		ssize_t n;

		if (poll(&p, 1, 1000) == 0) {
			bool stopping;

			pthread_mutex_lock(&w->lock);
			stopping = w->stopping;
			pthread_mutex_unlock(&w->lock);
			if (stopping)
				return;
			continue;
		}
		n = write(w->fd, data, len);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return;
		if (n > 0) {
			data += n;
			len -= (size_t) n;
		}
	}
}

static void tell_dropped(struct log_writer *w, uint64_t dropped)
{
	char line[96];
	int n = snprintf(line, sizeof(line), "%llu log lines were lost: standard error is too slow\n",
			 (unsigned long long) (dropped - w->dropped_told));

	w->dropped_told = dropped;
	write_out(w, line, (size_t) n);
}

static void *write_lines(void *arg)
{
	struct log_writer *w = arg;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		size_t len;
		const char *data;
		uint64_t dropped;

		while (!w->len && !w->stopping)
			pthread_cond_wait(&w->changed, &w->lock);
		if (!w->len)
			break;
		data = w->ring + w->start;
		len = MIN(MIN(w->len, RING_SIZE - w->start), (size_t) WRITE_SIZE);
		dropped = w->dropped;
		pthread_mutex_unlock(&w->lock);
		write_out(w, data, len);
		if (dropped != w->dropped_told)
			tell_dropped(w, dropped);
		pthread_mutex_lock(&w->lock);
		w->start = (w->start + len) % RING_SIZE;
		w->len -= len;
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

int log_writer_new(int fd, struct log_writer **ret)
{
	_cleanup_(log_writer_freep) struct log_writer *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->fd = fd;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	w->ring = malloc(RING_SIZE);
	if (!w->ring)
		return -ENOMEM;
	r = pthread_create(&w->thread, NULL, write_lines, w);
	if (r != 0)
		return -r;
	w->started = true;
	*ret = TAKE_PTR(w);
	return 0;
}

uint64_t log_writer_dropped(struct log_writer *w)
{
	uint64_t n;

	pthread_mutex_lock(&w->lock);
	n = w->dropped;
	pthread_mutex_unlock(&w->lock);
	return n;
}

void log_writer_free(struct log_writer *w)
{
	if (!w)
		return;
	if (w->started) {
		pthread_mutex_lock(&w->lock);
		w->stopping = true;
		pthread_cond_signal(&w->changed);
		pthread_mutex_unlock(&w->lock);
		pthread_join(w->thread, NULL);
	}
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
	free(w->ring);
	free(w);
}
