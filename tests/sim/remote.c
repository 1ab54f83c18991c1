#include "sim/remote.h"

#include <limits.h>

#include "smtp/command.h"
#include "smtp/data.h"
#include "smtp/line.h"
#include "world/stream.h"

#define PATIENCE (10 * USEC_MIN)
#define RCPT_MAX 8u

/* One connection. */
struct visit {
	struct remote *remote;
	struct transport *transport;
	struct endpoint peer;
	struct stream *stream;
	struct line_reader reader;
	enum behaviour behaviour;
	unsigned shade; /* which of the forms of that behaviour */
	unsigned mails, babble_at, replies;
	unsigned n_recipients;
	char recipients[RCPT_MAX][64];
	bool over;
};

/* --- a connection that breaks at a byte ----------------------------------------------------------------- */

/* Lets so many bytes through, in both directions together; then it is closed. */
struct breaking {
	struct transport base;
	struct transport *inner;
	uint64_t left;
};

static ssize_t breaking_read(struct transport *t, void *data, size_t len)
{
	struct breaking *b = container_of(t, struct breaking, base);
	ssize_t n;

	if (b->left == 0)
		return -ECONNABORTED;
	n = b->inner->ops->read(b->inner, data, (size_t) MIN(b->left, (uint64_t) len));
	b->left -= n > 0 ? (uint64_t) n : 0;
	return n;
}

static ssize_t breaking_writev(struct transport *t, const struct iovec *iov, int n)
{
	struct breaking *b = container_of(t, struct breaking, base);
	struct iovec first = { .iov_len = 0 };
	ssize_t r;

	if (b->left == 0)
		return -ECONNABORTED;
	for (int i = 0; i < n && first.iov_len == 0; i++)
		first = iov[i];
	first.iov_len = (size_t) MIN(b->left, (uint64_t) first.iov_len);
	r = b->inner->ops->writev(b->inner, &first, 1);
	b->left -= r > 0 ? (uint64_t) r : 0;
	return r;
}

static int breaking_wait(struct transport *t, unsigned what, usec_t deadline)
{
	struct breaking *b = container_of(t, struct breaking, base);

	return b->inner->ops->wait(b->inner, what, deadline);
}

static void breaking_close(struct transport *t)
{
	struct breaking *b = container_of(t, struct breaking, base);

	transport_close(b->inner);
	free(b);
}

static const struct transport_ops breaking_ops = {
	.name = "breaking", .read = breaking_read, .writev = breaking_writev, .wait = breaking_wait, .close = breaking_close,
};

static struct transport *breaking_new(struct transport *inner, uint64_t after)
{
	struct breaking *b = calloc(1, sizeof(*b));

	assert(b);
	b->base.ops = &breaking_ops;
	b->inner = inner;
	b->left = after;
	return &b->base;
}

/* --- a dialogue ------------------------------------------------------------------------------------------- */

/* Gives a reply, as far as its behaviour lets it. */
static int answer(struct visit *v, const char *text)
{
	struct scene *s = v->remote->scene;

	if (v->behaviour == REMOTE_SLOW)
		(void) fiber_sleep_until(deadline_after(now(), scene_dice(s, USEC_MIN)));
	if (v->behaviour == REMOTE_BABBLES && v->replies++ == v->babble_at) {
		v->over = true;
		text = "this is not SMTP\r\n";
	}
	return stream_put_str(v->stream, text, deadline_after(now(), PATIENCE));
}

static bool refuses(const struct visit *v, unsigned shade)
{
	return v->behaviour == REMOTE_REFUSES && v->shade == shade;
}

static int take_mail(struct visit *v)
{
	v->n_recipients = 0;
	if (v->behaviour == REMOTE_THROTTLES && v->mails++ > 0) {
		v->over = true;
		return answer(v, "421 4.7.0 too many messages, try again later\r\n");
	}
	return answer(v, "250 2.1.0 sender ok\r\n");
}

static int take_rcpt(struct visit *v, struct slice args)
{
	struct path_args path;

	if (rcpt_args_parse(args, false, &path) < 0 || v->n_recipients == RCPT_MAX)
		return answer(v, "501 5.5.4 what is that\r\n");
	if (refuses(v, 1))
		return answer(v, "550 5.7.1 not for you\r\n");
	if (v->behaviour == REMOTE_DEFERS && scene_chance(v->remote->scene, 50))
		return answer(v, "450 4.2.1 not now\r\n");
	(void) snprintf(v->recipients[v->n_recipients++], sizeof(v->recipients[0]), "%.*s@%.*s", SLICE_ARG(path.path.local),
			SLICE_ARG(path.path.domain));
	return answer(v, "250 2.1.5 recipient ok\r\n");
}

static int gather(void *context, struct slice data)
{
	buffer_append_slice(context, data);
	return buffer_error(context);
}

/* at: when the last octet was there. */
static void keep(struct visit *v, struct slice content, usec_t at)
{
	for (unsigned i = 0; i < v->n_recipients; i++)
		letter_arrived(v->remote->scene, v->recipients[i], content, false, true, at, now());
	v->remote->taken++;
}

/* It was taken, and whoever sent it may not hear of that. */
static void note_unsure(struct visit *v, struct slice content)
{
	const char *subject = memmem(content.data, content.len, "\nSubject: letter ", 17);
	unsigned long number = subject ? strtoul(subject + 17, NULL, 10) : ULONG_MAX;

	if (number < v->remote->scene->n_letters)
		v->remote->scene->letters[number]->unsure++;
}

/* Whoever closes behind the dot may have taken the letter. */
static int close_silently(struct visit *v, struct slice content)
{
	if (scene_chance(v->remote->scene, 50)) {
		keep(v, content, now());
		note_unsure(v, content);
	}
	return -ECONNABORTED;
}

static int take_content(struct visit *v)
{
	_cleanup_buffer_ struct buffer content = { 0 };
	struct content_sink sink = { .write = gather, .context = &content };
	struct content_limits limits = { .idle_timeout = PATIENCE };
	struct content_result result;
	usec_t at;
	int r;

	if (v->n_recipients == 0)
		return answer(v, "554 5.5.1 no valid recipients\r\n");
	r = answer(v, "354 go ahead\r\n");
	if (r >= 0)
		r = smtp_copy_data(v->stream, &sink, &limits, &result);
	if (r < 0)
		return r;
	if (v->behaviour == REMOTE_SILENT_AT_DOT)
		return close_silently(v, buffer_slice(&content));
	if (v->behaviour == REMOTE_DEFERS_CONTENT)
		return answer(v, "451 4.3.0 trouble here\r\n");
	if (v->behaviour == REMOTE_LIES && v->shade == 0 && content.len > 2000)
		return answer(v, "552 5.3.4 too large for me after all\r\n");
	if (refuses(v, 2))
		return answer(v, "554 5.6.0 I don't like it\r\n");
	at = now();
	r = answer(v, "250 2.0.0 taken\r\n");
	if (r >= 0)
		r = stream_flush(v->stream, deadline_after(now(), PATIENCE));
	keep(v, buffer_slice(&content), at);
	if (r < 0 || v->over || v->behaviour == REMOTE_DROPS)
		note_unsure(v, buffer_slice(&content));
	return r;
}

static int greet(struct visit *v)
{
	static const char *const sizes[] = { "250 SIZE 1000000\r\n", "250 SIZE 900\r\n", "250 SIZE 0\r\n" };
	char text[100];

	(void) snprintf(text, sizeof(text), "250-remote.example\r\n250-PIPELINING\r\n%s",
			v->behaviour == REMOTE_LIES ? sizes[v->shade] : "250 8BITMIME\r\n");
	return answer(v, text);
}

static int obey(struct visit *v, const struct command *c)
{
	switch (c->verb) {
	case VERB_EHLO:
		return greet(v);
	case VERB_HELO:
		return answer(v, "250 remote.example\r\n");
	case VERB_MAIL:
		return take_mail(v);
	case VERB_RCPT:
		return take_rcpt(v, c->args);
	case VERB_DATA:
		return take_content(v);
	case VERB_RSET:
	case VERB_NOOP:
		return answer(v, "250 2.0.0 ok\r\n");
	case VERB_QUIT:
		v->over = true;
		return answer(v, "221 2.0.0 bye\r\n");
	default:
		return answer(v, "502 5.5.1 no such command\r\n");
	}
}

static int talk(struct visit *v)
{
	struct command command;
	struct slice line;
	int r;

	if (v->behaviour == REMOTE_BUSY) {
		v->over = true;
		r = answer(v, "421 4.3.2 too busy\r\n");
	} else if (refuses(v, 0)) {
		v->over = true;
		r = answer(v, "554 5.3.2 no mail here\r\n");
	} else {
		r = answer(v, "220 remote.example ready\r\n");
	}
	while (r >= 0 && !v->over) {
		r = smtp_read_line(&v->reader, COMMAND_LINE_MAX, deadline_after(now(), PATIENCE), &line);
		if (r < 0)
			break;
		r = command_parse(line, &command) < 0 ? answer(v, "500 5.5.2 what\r\n") : obey(v, &command);
	}
	return r < 0 ? r : stream_flush(v->stream, deadline_after(now(), PATIENCE));
}

static void visit_fiber(void *arg)
{
	struct visit *v = arg;

	if (stream_new(v->transport, &v->peer, &v->stream) >= 0) {
		line_reader_init(&v->reader, v->stream);
		(void) talk(v);
		stream_free(v->stream);
	}
	free(v);
}

/* One of the bits of the set, each as likely as the others and as being well. */
static enum behaviour draw(struct remote *r)
{
	unsigned n = (unsigned) __builtin_popcount(r->behaviours), index, set = r->behaviours;

	if (n == 0 || now() >= r->good_from)
		return REMOTE_WELL;
	index = (unsigned) scene_dice(r->scene, r->always ? n : n + 1);
	if (index == n)
		return REMOTE_WELL;
	while (index-- > 0)
		set &= set - 1;
	return (enum behaviour) (set & -set);
}

static void accept_fiber(void *arg)
{
	struct remote *r = arg;
	struct transport *t;
	struct endpoint peer;

	while (listener_accept(r->listener, DEADLINE_NEVER, &t, &peer) == 0) {
		struct visit *v = calloc(1, sizeof(*v));

		assert(v);
		r->connections++;
		v->remote = r;
		v->peer = peer;
		v->behaviour = draw(r);
		v->shade = (unsigned) scene_dice(r->scene, 3);
		v->transport = t;
		if (v->behaviour == REMOTE_DROPS)
			v->transport = breaking_new(t, scene_dice(r->scene, scene_chance(r->scene, 50) ? 1000 : 20000));
		v->babble_at = (unsigned) scene_dice(r->scene, 6);
		assert(fiber_spawn("remote", visit_fiber, v, NULL) == 0);
	}
}

const char *behaviour_name(enum behaviour b)
{
	static const char *const names[] = { "slow", "busy", "throttles", "defers", "defers the content", "drops", "is silent at the dot",
					     "lies about SIZE", "babbles", "refuses" };

	return b == REMOTE_WELL ? "well" : names[__builtin_ctz(b)];
}

struct remote *remote_new(struct scene *s, const char *name, const char *ip, unsigned behaviours, usec_t good_from)
{
	struct remote *r = calloc(1, sizeof(*r));
	struct endpoint at = { .kind = ENDPOINT_IP, .port = 25 };

	assert_non_null(r);
	assert_true(s->n_remotes < ARRAY_LEN(s->remotes));
	r->scene = s;
	r->behaviours = behaviours;
	r->good_from = good_from;
	(void) snprintf(r->name, sizeof(r->name), "%s", name);
	scene_machine_new(s, name, ip, &r->machine);
	assert_int_equal(ip_parse(slice_from(ip), &at.ip), 0);
	assert_int_equal(listener_open(r->machine.world, &at, NULL, &r->listener), 0);
	assert_int_equal(loop_spawn(r->machine.loop, "accept", accept_fiber, r), 0);
	s->remotes[s->n_remotes++] = r;
	return r;
}

void remote_free(struct remote *r)
{
	loop_stop(r->machine.loop);
	listener_close(r->listener);
	loop_free(r->machine.loop);
	world_free(r->machine.world);
	free(r);
}
