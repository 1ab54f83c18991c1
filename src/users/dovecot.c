#include "users/dovecot.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/time.h"
#include "world/fiber.h"
#include "world/stream.h"

#define LINE_MAX_OCTETS 8192u
#define LINES_MAX 200u
#define ID 1u

/* --- what it says ----------------------------------------------------------------------------------------------- */

static bool is_id(struct slice text, unsigned id)
{
	uint64_t n;

	return slice_to_u64(text, &n) == 0 && n == id;
}

/* OK and FAIL: the fields behind the number, KEY=value or words. */
static enum dovecot_line parse_verdict(bool ok, struct slice rest, struct slice *ret_argument)
{
	enum dovecot_line verdict = ok ? DOVECOT_OK : DOVECOT_FAIL;

	while (rest.data) {
		struct slice value, field = slice_cut(rest, '\t', &rest), key = slice_cut(field, '=', &value);

		if (slice_eq_str(key, "user"))
			*ret_argument = value;
		else if (!ok && slice_eq_str(key, "temp"))
			verdict = DOVECOT_TEMPORARY;
	}
	return verdict;
}

enum dovecot_line dovecot_parse(struct slice line, unsigned id, struct slice *ret_argument)
{
	struct slice rest, word = slice_cut(line, '\t', &rest), first;
	bool ok = slice_eq_str(word, "OK");

	*ret_argument = SLICE_NULL;
	first = slice_cut(rest, '\t', &rest);
	if (slice_eq_str(word, "VERSION"))
		return slice_eq_str(first, "1") ? DOVECOT_OTHER : DOVECOT_WRONG_VERSION;
	if (slice_eq_str(word, "DONE"))
		return DOVECOT_DONE;
	if (slice_eq_str(word, "MECH")) {
		*ret_argument = first;
		return DOVECOT_MECH;
	}
	if (slice_eq_str(word, "CONT") && is_id(first, id))
		return DOVECOT_CONTINUE;
	if ((ok || slice_eq_str(word, "FAIL")) && is_id(first, id))
		return parse_verdict(ok, rest, ret_argument);
	return DOVECOT_OTHER;
}

/* --- the conversation ------------------------------------------------------------------------------------------- */

/* One line without its LF; valid until the next one. -EPROTO when there is no end to it. */
static int read_line(struct stream *s, usec_t deadline, struct slice *ret)
{
	for (;;) {
		struct slice there = stream_peek(s), rest, line = slice_cut(there, '\n', &rest);
		ssize_t n;

		if (rest.data) {
			*ret = line;
			stream_consume(s, line.len + 1);
			return 0;
		}
		if (there.len > LINE_MAX_OCTETS)
			return -EPROTO;
		n = stream_fill(s, deadline);
		if (n <= 0)
			return n < 0 ? (int) n : -ECONNRESET;
	}
}

/* Until the handshake is done. */
static int shake_hands(struct stream *s, usec_t deadline)
{
	bool plain = false;
	char hello[64];
	uint32_t number;
	int r;

	/* Dovecot wants a number that no other connection has; ours are drawn. */
	world_random(world_current(), &number, sizeof(number));
	snprintf(hello, sizeof(hello), "VERSION\t1\t1\nCPID\t%u\n", number % 2000000000u + 1);
	r = stream_put_str(s, hello, deadline);
	for (unsigned i = 0; i < LINES_MAX && r >= 0; i++) {
		struct slice line, argument;

		r = read_line(s, deadline, &line);
		if (r < 0)
			return r;
		switch (dovecot_parse(line, ID, &argument)) {
		case DOVECOT_MECH:
			plain |= slice_ieq_str(argument, "PLAIN");
			break;
		case DOVECOT_DONE:
			return plain ? 0 : -EOPNOTSUPP;
		case DOVECOT_WRONG_VERSION:
			return -EPROTONOSUPPORT;
		default:
			break;
		}
	}
	return r < 0 ? r : -EPROTO;
}

/* Field values may not hold TAB, LF or NUL; client addresses and base64 don't. */
static int send_question(struct stream *s, struct slice name, const char *password, const struct login_context *context, usec_t deadline)
{
	_cleanup_buffer_ struct buffer plain = { 0 }, line = { 0 };
	size_t octets = name.len + strlen(password) + 3;
	int r;

	/* Room for all of it, so that no copy stays behind when they grow. RFC 4616 section 2: authorization identity (none),
	 * user, password. */
	(void) buffer_reserve(&plain, octets);
	(void) buffer_reserve(&line, BASE64_LEN(octets) + 256);
	buffer_append_char(&plain, '\0');
	buffer_append_slice(&plain, name);
	buffer_append_char(&plain, '\0');
	buffer_append_str(&plain, password);
	buffer_printf(&line, "AUTH\t%u\tPLAIN\tservice=smtp\t%srip=%s\tresp=", ID, context->encrypted ? "secured\t" : "", context->client);
	base64_encode(buffer_slice(&plain), &line);
	buffer_append_char(&line, '\n');
	r = buffer_error(&plain) < 0 || buffer_error(&line) < 0 ? -ENOMEM : stream_put(s, buffer_slice(&line), deadline);
	if (r >= 0)
		r = stream_flush(s, deadline);
	if (plain.data)
		explicit_bzero(plain.data, plain.capacity);
	if (line.data)
		explicit_bzero(line.data, line.capacity);
	return r;
}

static int take_user(struct slice name, struct user *ret)
{
	char *copy;

	if (!user_name_is_valid(name))
		return -EPROTO;
	copy = slice_dup(name);
	if (!copy)
		return -ENOMEM;
	*ret = (struct user) { .name = copy };
	return 0;
}

static int read_verdict(struct stream *s, struct slice name, usec_t deadline, struct user *ret)
{
	for (unsigned i = 0; i < LINES_MAX; i++) {
		struct slice line, argument;
		int r = read_line(s, deadline, &line);

		if (r < 0)
			return r;
		switch (dovecot_parse(line, ID, &argument)) {
		case DOVECOT_OK:
			return take_user(argument.len > 0 ? argument : name, ret);
		case DOVECOT_FAIL:
			return -EACCES;
		case DOVECOT_TEMPORARY:
			return -EAGAIN;
		case DOVECOT_CONTINUE:
			return -EPROTO;
		default:
			break;
		}
	}
	return -EPROTO;
}

static int converse(struct stream *s, struct slice name, const char *password, const struct login_context *context, usec_t deadline,
		    struct user *ret)
{
	int r = shake_hands(s, deadline);

	if (r >= 0)
		r = send_question(s, name, password, context, deadline);
	return r < 0 ? r : read_verdict(s, name, deadline, ret);
}

int dovecot_check(const struct log *log, const struct users_backend_config *config, struct slice name, const char *password,
		  const struct login_context *context, struct user *ret)
{
	usec_t deadline = MIN(context->deadline, deadline_after(now(), config->timeout));
	_cleanup_(stream_freep) struct stream *stream = NULL;
	struct transport *transport;
	struct endpoint at;
	_cleanup_(freep) char *text = NULL;
	int r;

	if (asprintf(&text, "unix:%s", config->place) < 0) {
		text = NULL;
		return -ENOMEM;
	}
	r = endpoint_parse(slice_from(text), &at);
	if (r >= 0)
		r = net_connect(&at, NULL, deadline, &transport);
	if (r >= 0)
		r = stream_new(transport, &at, &stream);
	if (r >= 0)
		r = converse(stream, name, password, context, deadline, ret);
	if (r >= 0 || r == -EACCES || r == -ENOMEM || r == -ECANCELED)
		return r;
	LOG(log, LOG_ERROR, "Dovecot can't be asked about a password", F_STR("socket", config->place),
	    F_STR("reason", r == -EAGAIN         ? "it says that it can't tell at the moment; its own log knows more"
			    : r == -EOPNOTSUPP   ? "it doesn't offer PLAIN"
			    : r == -EPROTO       ? "it doesn't speak the protocol of its auth socket as we know it"
						 : strerrordesc_np(-r)));
	return -EAGAIN;
}
