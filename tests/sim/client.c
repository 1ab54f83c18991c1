#include "sim/client.h"

#include "smtp/line.h"
#include "smtp/stuff.h"
#include "world/stream.h"

#define PATIENCE (15 * USEC_MIN) /* for any reply */
#define CONNECT_PATIENCE USEC_MIN

struct client {
	struct scene *scene;
	struct machine machine;
	struct client_plan plan;
	unsigned begun, running;
};

/* One connection, while it lasts. */
struct dialogue {
	struct client *client;
	struct stream *stream;
	struct line_reader reader;
	struct arena *arena;
	bool pipelining, chunking;
};

static usec_t soon(void)
{
	return deadline_after(now(), PATIENCE);
}

/* The code of the next reply, or -errno. */
static int reply(struct dialogue *d)
{
	struct reply r;
	int error = smtp_read_reply(&d->reader, d->arena, soon(), &r);

	return error < 0 ? error : r.code;
}

static int say(struct dialogue *d, const char *format, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, format);
	(void) vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return stream_put_str(d->stream, text, soon());
}

static int ask(struct dialogue *d, const char *command, int expected)
{
	int r = say(d, "%s\r\n", command);

	if (r >= 0)
		r = reply(d);
	return r < 0 ? r : r == expected ? 0 : -EPROTO;
}

static int greet(struct dialogue *d)
{
	int r = reply(d);

	if (r >= 0)
		r = r == 220 ? ask(d, "EHLO client.example", 250) : -EPROTO;
	return r;
}

/* --- one letter ------------------------------------------------------------------------------------------- */

static int take_rcpt(struct dialogue *d, struct addressee *t, unsigned *accepted)
{
	int r = reply(d);

	if (r < 0)
		return r;
	t->refused = r / 100 != 2;
	*accepted += !t->refused;
	return 0;
}

/* The number of recipients that are accepted, or -errno. */
static int envelope(struct dialogue *d, struct letter *l)
{
	unsigned accepted = 0;
	int r, mail;

	r = say(d, "MAIL FROM:<%s>\r\n", l->sender);
	mail = r >= 0 && !d->pipelining ? reply(d) : 250;
	for (unsigned i = 0; i < l->n_targets && r >= 0 && mail == 250; i++) {
		r = say(d, "RCPT TO:<%s>\r\n", l->targets[i].address);
		if (r >= 0 && !d->pipelining)
			r = take_rcpt(d, &l->targets[i], &accepted);
	}
	if (r < 0 || !d->pipelining)
		return r < 0 ? r : mail < 0 ? mail : (int) accepted;
	mail = reply(d);
	for (unsigned i = 0; i < l->n_targets && r >= 0 && mail >= 0; i++)
		r = take_rcpt(d, &l->targets[i], &accepted);
	return r < 0 ? r : mail < 0 ? mail : mail != 250 ? 0 : (int) accepted;
}

static int put_data(struct dialogue *d, struct letter *l, struct slice content)
{
	struct stuffer stuffer;
	int r;

	stuffer_init(&stuffer, STUFF_DATA);
	r = stuffer_put(&stuffer, d->stream, content, soon());
	if (r < 0)
		return r;
	l->state = LETTER_IN_DOUBT; /* what ends it may leave from here on */
	return stuffer_end(&stuffer, d->stream, soon());
}

/* In pieces, not all of which wait for their reply. */
static int put_chunks(struct dialogue *d, struct letter *l, struct slice content)
{
	struct scene *s = d->client->scene;
	unsigned open = 0;
	int r = 0;

	do {
		size_t n = scene_chance(s, 50) ? content.len : (size_t) scene_dice(s, content.len + 1);
		bool last = n == content.len;

		if (last)
			l->state = LETTER_IN_DOUBT;
		r = say(d, "BDAT %zu%s\r\n", n, last ? " LAST" : "");
		if (r >= 0)
			r = stream_put(d->stream, slice_head(content, n), soon());
		content = slice_skip(content, n);
		open++;
		while (r >= 0 && open > 0 && !last && (!d->pipelining || scene_chance(s, 50))) {
			int code = reply(d);

			open--;
			r = code < 0 ? code : code == 250 ? 0 : -EPROTO;
		}
		if (last)
			break;
	} while (r >= 0);
	while (r >= 0 && open > 1) { /* the reply to the last one is the caller's */
		int code = reply(d);

		open--;
		r = code < 0 ? code : 0;
	}
	return r;
}

static int put_half(struct dialogue *d, struct slice content)
{
	size_t n = (size_t) scene_dice(d->client->scene, content.len);
	struct stuffer stuffer;
	int r;

	stuffer_init(&stuffer, STUFF_DATA);
	r = stuffer_put(&stuffer, d->stream, slice_head(content, n), soon());
	if (r >= 0)
		(void) stream_flush(d->stream, soon());
	return -ECONNABORTED;
}

static int submit(struct dialogue *d, struct letter *l)
{
	_cleanup_buffer_ struct buffer content = { 0 };
	struct scene *s = d->client->scene;
	int r = envelope(d, l);

	if (r < 0)
		return r;
	if (r == 0) /* nobody accepted; the letter ends here */
		return ask(d, "RSET", 250);
	letter_content(l, &content);
	if (!d->chunking) {
		r = ask(d, "DATA", 354);
		if (r < 0)
			return r;
	}
	if (scene_chance(s, d->client->plan.hang_up_per_cent))
		return d->chunking ? -ECONNABORTED : put_half(d, buffer_slice(&content));
	r = d->chunking ? put_chunks(d, l, buffer_slice(&content)) : put_data(d, l, buffer_slice(&content));
	if (r >= 0)
		r = reply(d);
	if (r < 0)
		return r;
	l->state = r == 250 ? LETTER_ACCEPTED : LETTER_REFUSED;
	l->accepted_at = now();
	return r == 421 ? -ECONNRESET : 0;
}

/* --- sessions ---------------------------------------------------------------------------------------------- */

static bool wants_more(const struct client *c)
{
	return c->begun < c->plan.letters && now() < c->plan.until && !fiber_cancelled();
}

static void pause_a_while(struct client *c, usec_t most)
{
	if (most > 0)
		(void) fiber_sleep_until(deadline_after(now(), scene_dice(c->scene, most)));
}

static int connect_to(struct client *c, struct stream **ret)
{
	struct endpoint at = { .kind = ENDPOINT_IP, .port = 25 };
	struct transport *t;
	int r;

	assert(ip_parse(slice_from(c->plan.server->ip), &at.ip) == 0);
	r = net_connect(&at, NULL, deadline_after(now(), CONNECT_PATIENCE), &t);
	return r < 0 ? r : stream_new(t, &at, ret);
}

static int one_connection(struct client *c)
{
	_cleanup_(stream_freep) struct stream *stream = NULL;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	struct dialogue d = { .client = c };
	unsigned left = 1 + (unsigned) scene_dice(c->scene, 8);
	int r;

	assert(arena_new(0, &arena) == 0);
	r = connect_to(c, &stream);
	if (r < 0)
		return r;
	d.stream = stream;
	d.arena = arena;
	d.pipelining = scene_chance(c->scene, 50);
	d.chunking = scene_chance(c->scene, 50);
	line_reader_init(&d.reader, stream);
	r = greet(&d);
	while (r >= 0 && left-- > 0 && wants_more(c)) {
		c->begun++;
		r = submit(&d, c->plan.write(c->scene, c->plan.context));
		if (r >= 0)
			pause_a_while(c, c->plan.pause);
		arena_reset(arena);
	}
	if (r >= 0 && scene_chance(c->scene, 80))
		(void) ask(&d, "QUIT", 221);
	return r;
}

static void session(void *arg)
{
	struct client *c = arg;

	pause_a_while(c, c->plan.pause);
	while (wants_more(c))
		if (one_connection(c) < 0)
			(void) fiber_sleep_until(deadline_after(now(), USEC_SEC + scene_dice(c->scene, 20 * USEC_SEC)));
	c->running--;
}

void client_new(struct scene *s, const char *name, const char *ip, const struct client_plan *plan, struct client **ret)
{
	struct client *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	c->scene = s;
	c->plan = *plan;
	scene_machine_new(s, name, ip, &c->machine);
	for (unsigned i = 0; i < plan->sessions; i++) {
		c->running++;
		assert_int_equal(loop_spawn(c->machine.loop, "client", session, c), 0);
	}
	*ret = c;
}

bool client_is_done(const struct client *c)
{
	return c->running == 0;
}

struct sim_host *client_host(const struct client *c)
{
	return c->machine.host;
}

void client_free(struct client *c)
{
	scene_machine_free(&c->machine);
	free(c);
}
