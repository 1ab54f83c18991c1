#include "deliver/race.h"

/* The part with several fibers. */
struct contest {
	struct race *race;
	struct fiber *owner;
	struct fiber_group runners;
	unsigned running;
	bool scouting;  /* a runner still asks for its address */
	bool exhausted; /* and the last one got none */
	usec_t next_at; /* when the next one starts */
	int error;      /* -ENOMEM and the like: the end */
	const struct dial_target *winner;
	struct stream *stream;
};

struct runner {
	struct contest *field;
	const struct dial_target *target;
	struct transport *transport; /* the attempt is under way */
	usec_t deadline;
};

static usec_t attempt_deadline(const struct race *r)
{
	return MIN(deadline_after(now(), r->settings->config.connect_timeout), r->until);
}

/* --- one runner ------------------------------------------------------------------------------------------- */

/* The attempt that the calling fiber had begun goes on. */
static int finish(struct runner *a, struct stream **ret)
{
	int r = net_connect_wait(a->transport, a->deadline);

	return r < 0 ? r : stream_new(TAKE_PTR(a->transport), &a->target->to, ret);
}

static int get_target(struct runner *a)
{
	struct contest *f = a->field;
	int r = f->race->next(f->race, &a->target);

	f->scouting = false;
	f->next_at = deadline_after(now(), f->race->settings->config.connection_attempt_delay);
	a->deadline = attempt_deadline(f->race);
	fiber_wake(f->owner);
	return r;
}

static void came_in(struct contest *f, const struct runner *a, struct stream *stream)
{
	if (f->winner) {
		stream_free(stream);
		return;
	}
	f->winner = a->target;
	f->stream = stream;
}

static void run(void *arg)
{
	struct runner *a = arg;
	struct contest *f = a->field;
	struct race *race = f->race;
	struct stream *stream = NULL;
	const char *why = NULL;
	int r = 0;

	if (!a->target)
		r = get_target(a);
	if (r < 0) {
		f->exhausted = true;
		if (r != -ENOENT && r != -ECANCELED)
			f->error = r;
	} else {
		r = a->transport ? finish(a, &stream) : dial(race->deliverer, a->target, a->deadline, race->arena, &stream, &why);
		transport_close(a->transport);
		if (r >= 0) {
			came_in(f, a, stream);
		} else if (r != -ECANCELED) {
			race->failed(race, a->target, r, why);
			f->next_at = now(); /* RFC 8305 section 5: the next need not wait */
		}
	}
	f->running--;
	fiber_wake(f->owner);
}

/* transport: taken, unless it fails. */
static int start(struct contest *f, const struct dial_target *target, struct transport *transport, usec_t deadline)
{
	struct runner *a = arena_new_type(f->race->arena, struct runner);
	int r = -ENOMEM;

	if (a) {
		*a = (struct runner) { .field = f, .target = target, .transport = transport, .deadline = deadline };
		r = fiber_group_spawn(&f->runners, "connect", run, a);
	}
	if (r < 0)
		return r;
	f->running++;
	f->scouting = !target;
	return 0;
}

/* --- the race ------------------------------------------------------------------------------------------------ */

/* 0: somebody won; -EHOSTUNREACH: nobody, and there is nobody else at the moment. */
static int watch(struct contest *f)
{
	for (;;) {
		int r = 0;

		if (f->winner)
			return 0;
		if (f->error < 0)
			return f->error;
		if (f->running == 0 && f->exhausted)
			return -EHOSTUNREACH;
		if (!f->scouting && !f->exhausted && (f->running == 0 || now() >= f->next_at)) {
			r = start(f, NULL, NULL, 0);
			if (r < 0 && f->running == 0)
				return r;
			f->exhausted |= r < 0; /* those that run may do it still */
			continue;
		}
		r = fiber_wait("a connection", f->scouting || f->exhausted ? DEADLINE_NEVER : f->next_at);
		if (r < 0 && r != -ETIMEDOUT)
			return r;
	}
}

/* What try_alone has begun goes on without a fiber of its own, as long as it takes: there is none to be had. 0; -EAGAIN: it
 * failed; -ECANCELED, -ENOMEM. */
static int go_on_alone(struct race *race, const struct dial_target *t, struct transport *transport, usec_t deadline,
		       struct stream **ret_stream)
{
	struct runner a = { .target = t, .transport = transport, .deadline = deadline };
	const char *why = NULL;
	int r;

	r = transport ? finish(&a, ret_stream) : dial(race->deliverer, t, deadline, race->arena, ret_stream, &why);
	transport_close(a.transport);
	if (r == 0 || r == -ECANCELED || r == -ENOMEM)
		return r;
	race->failed(race, t, r, why);
	return -EAGAIN;
}

/* first: whose attempt is not done; transport: it is under way already (taken), or NULL. */
static int compete(struct race *race, const struct dial_target *first, struct transport *transport, usec_t deadline,
		   const struct dial_target **ret, struct stream **ret_stream)
{
	struct contest f = { .race = race, .owner = fiber_self() };
	int r;

	fiber_group_init(&f.runners);
	f.next_at = deadline_after(now(), transport ? 0 : race->settings->config.connection_attempt_delay);
	if (start(&f, first, transport, deadline) < 0) {
		*ret = first;
		return go_on_alone(race, first, transport, deadline, ret_stream);
	}
	r = watch(&f);
	fiber_group_done(&f.runners);
	if (r < 0) {
		stream_free(f.stream); /* of one who came in while we were told to stop */
		return r;
	}
	*ret = f.winner;
	*ret_stream = f.stream;
	return 0;
}

/* One attempt by the calling fiber alone. 0: connected; -EINPROGRESS: *ret_transport (NULL: not begun) goes on into a race;
 * -EAGAIN: failed, and said so; -ECANCELED, -ENOMEM. */
static int try_alone(struct race *race, const struct dial_target *t, usec_t deadline, struct stream **ret_stream,
		     struct transport **ret_transport)
{
	_cleanup_(transport_closep) struct transport *transport = NULL;
	usec_t soon = deadline_after(now(), race->settings->config.connection_attempt_delay);
	int r;

	if (t->source && t->source->proxy) {
		*ret_transport = NULL;
		return -EINPROGRESS;
	}
	r = dial_start(t, &transport);
	if (r > 0)
		r = net_connect_wait(transport, MIN(soon, deadline));
	if (r == 0)
		r = stream_new(TAKE_PTR(transport), &t->to, ret_stream);
	if (r == -ETIMEDOUT && now() < deadline) {
		*ret_transport = TAKE_PTR(transport);
		return -EINPROGRESS;
	}
	if (r == 0 || r == -ECANCELED || r == -ENOMEM)
		return r;
	race->failed(race, t, r, NULL);
	return -EAGAIN;
}

int race_run(struct race *race, const struct dial_target **ret, struct stream **ret_stream)
{
	for (;;) {
		const struct dial_target *t = NULL;
		struct transport *transport = NULL;
		usec_t deadline;
		int r;

		if (now() >= race->until)
			return -EHOSTUNREACH;
		r = race->next(race, &t);
		if (r < 0)
			return r == -ENOENT ? -EHOSTUNREACH : r;
		deadline = attempt_deadline(race);
		r = try_alone(race, t, deadline, ret_stream, &transport);
		if (r == 0)
			*ret = t;
		else if (r == -EINPROGRESS)
			r = compete(race, t, transport, deadline, ret, ret_stream);
		if (r != -EAGAIN && r != -EHOSTUNREACH)
			return r;
	}
}
