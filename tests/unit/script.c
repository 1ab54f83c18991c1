#include "unit/script.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "world/fiber.h"
#include "world/sim.h"

static ssize_t script_read(struct transport *t, void *data, size_t len)
{
	struct script *s = container_of(t, struct script, transport);
	const struct script_step *step = &s->steps[s->at];
	size_t n;

	if (s->at == s->n_steps)
		return s->silent ? -EAGAIN : 0;
	if (step->pause && !s->paused)
		return -EAGAIN;
	n = MIN(len, step->data.len - s->offset);
	memcpy(data, step->data.data + s->offset, n);
	s->offset += n;
	if (s->offset == step->data.len) {
		s->at++;
		s->offset = 0;
		s->paused = false;
	}
	return (ssize_t) n;
}

static ssize_t script_writev(struct transport *t, const struct iovec *iov, int n)
{
	struct script *s = container_of(t, struct script, transport);
	size_t all = 0;

	for (int i = 0; i < n; i++) {
		buffer_append(&s->written, iov[i].iov_base, iov[i].iov_len);
		all += iov[i].iov_len;
	}
	return (ssize_t) all;
}

static int script_wait(struct transport *t, unsigned what, usec_t deadline)
{
	struct script *s = container_of(t, struct script, transport);
	usec_t until;
	int r;

	if (s->at == s->n_steps) {
		r = fiber_sleep_until(deadline);
		return r < 0 ? r : -ETIMEDOUT;
	}
	until = deadline_after(now(), s->steps[s->at].pause);
	r = fiber_sleep_until(MIN(until, deadline));
	if (r < 0)
		return r;
	if (deadline < until)
		return -ETIMEDOUT;
	s->paused = true;
	return 0;
}

static void script_close(struct transport *t)
{
}

static const struct transport_ops script_ops = {
	.name = "script",
	.read = script_read,
	.writev = script_writev,
	.wait = script_wait,
	.close = script_close,
};

struct run {
	struct script *script;
	void (*fn)(struct stream *stream, void *arg);
	void *arg;
	bool done;
};

static void run_main(void *arg)
{
	struct run *run = arg;
	struct stream *stream;

	assert_int_equal(stream_new(&run->script->transport, NULL, &stream), 0);
	run->fn(stream, run->arg);
	stream_free(stream);
	run->done = true;
}

void script_run(struct script *s, void (*fn)(struct stream *stream, void *arg), void *arg)
{
	struct run run = { .script = s, .fn = fn, .arg = arg };
	struct sim_host *host;
	struct world *world;
	struct loop *loop;
	struct sim *sim;

	s->transport.ops = &script_ops;
	s->at = s->offset = 0;
	s->paused = false;
	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &sim), 0);
	assert_int_equal(sim_host_new(sim, "host", "192.0.2.1", &host, &world), 0);
	assert_int_equal(loop_new(world, "main", 0, 0, &loop), 0);
	assert_int_equal(loop_start(loop), 0);
	assert_int_equal(loop_spawn(loop, "script", run_main, &run), 0);
	sim_run(sim, USEC_HOUR);
	assert_true(run.done);
	loop_stop(loop);
	loop_free(loop);
	world_free(world);
	sim_free(sim);
}
