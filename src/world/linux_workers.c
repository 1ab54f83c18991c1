/* The worker pool: threads for calls that block, started when there is more work than idle threads. */
#include "world/linux_world.h"

#include <signal.h>
#include <stdlib.h>

struct job {
	struct link link;
	int (*fn)(void *arg);
	void *arg;
	struct completion done;
};

struct worker_pool {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct list jobs;
	unsigned n_jobs, idle, n_threads, max_threads;
	bool stopping;
	pthread_t *threads;
};

static void *worker(void *arg)
{
	struct worker_pool *p = arg;

	(void) pthread_mutex_lock(&p->lock);
	for (;;) {
		struct link *k = list_pop(&p->jobs);
		struct job *j;
		int r;

		if (!k) {
			if (p->stopping)
				break;
			p->idle++;
			(void) pthread_cond_wait(&p->work, &p->lock);
			p->idle--;
			continue;
		}
		p->n_jobs--;
		(void) pthread_mutex_unlock(&p->lock);
		j = container_of(k, struct job, link);
		r = j->fn(j->arg);
		completion_done(&j->done, r); /* j is gone after this */
		(void) pthread_mutex_lock(&p->lock);
	}
	(void) pthread_mutex_unlock(&p->lock);
	return NULL;
}

int workers_new(unsigned max_threads, struct worker_pool **ret)
{
	struct worker_pool *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->threads = calloc(max_threads, sizeof(*p->threads));
	if (!p->threads) {
		free(p);
		return -ENOMEM;
	}
	p->max_threads = max_threads;
	list_init(&p->jobs);
	(void) pthread_mutex_init(&p->lock, NULL);
	(void) pthread_cond_init(&p->work, NULL);
	*ret = p;
	return 0;
}

void workers_free(struct worker_pool *p)
{
	if (!p)
		return;
	(void) pthread_mutex_lock(&p->lock);
	p->stopping = true;
	(void) pthread_cond_broadcast(&p->work);
	(void) pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->n_threads; i++)
		(void) pthread_join(p->threads[i], NULL);
	(void) pthread_cond_destroy(&p->work);
	(void) pthread_mutex_destroy(&p->lock);
	free(p->threads);
	free(p);
}

/* With the lock held. Signals stay with the main thread. */
static int start_worker(struct worker_pool *p)
{
	sigset_t all, before;
	int r;

	(void) sigfillset(&all);
	(void) pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&p->threads[p->n_threads], NULL, worker, p);
	(void) pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		return -r;
	(void) pthread_setname_np(p->threads[p->n_threads], "worker");
	p->n_threads++;
	return 0;
}

int linux_offload(struct world *w, int (*fn)(void *), void *arg)
{
	struct worker_pool *p = container_of(w, struct linux_world, world)->workers;
	struct job j = { .fn = fn, .arg = arg };
	int r = 0;

	completion_init(&j.done);
	(void) pthread_mutex_lock(&p->lock);
	if (p->idle <= p->n_jobs && p->n_threads < p->max_threads)
		r = start_worker(p);
	if (r < 0 && p->n_threads == 0) {
		(void) pthread_mutex_unlock(&p->lock);
		return r;
	}
	list_append(&p->jobs, &j.link);
	p->n_jobs++;
	(void) pthread_cond_signal(&p->work);
	(void) pthread_mutex_unlock(&p->lock);
	return completion_wait(&j.done);
}
