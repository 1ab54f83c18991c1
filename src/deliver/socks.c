#include "deliver/socks.h"

#include "base/buffer.h"

#define VERSION 5
#define LOGIN_VERSION 1
#define CONNECT 1
#define ADDRESS_V4 1
#define ADDRESS_NAME 3
#define ADDRESS_V6 4
#define NAME_MOST 255u

/* --- what the proxy says ------------------------------------------------------------------------------- */

static uint8_t octet(struct slice in, size_t i)
{
	return (uint8_t) in.data[i];
}

static ssize_t parse_pair(struct slice in, uint8_t version, uint8_t *ret)
{
	if (in.len > 0 && octet(in, 0) != version)
		return -EPROTO;
	if (in.len < 2)
		return 0;
	*ret = octet(in, 1);
	return 2;
}

ssize_t socks_parse_method(struct slice in, uint8_t *ret_method)
{
	return parse_pair(in, VERSION, ret_method);
}

ssize_t socks_parse_login(struct slice in, uint8_t *ret_status)
{
	return parse_pair(in, LOGIN_VERSION, ret_status);
}

ssize_t socks_parse_reply(struct slice in, uint8_t *ret_reply)
{
	uint8_t reply;
	size_t len;
	ssize_t n = parse_pair(in, VERSION, &reply);

	if (n <= 0)
		return n;
	if (reply != 0) { /* nothing follows that we need, and some proxies send no more */
		*ret_reply = reply;
		return n;
	}
	if (in.len < 5)
		return 0;
	switch (octet(in, 3)) {
	case ADDRESS_V4:
		len = 4 + 4 + 2;
		break;
	case ADDRESS_V6:
		len = 4 + 16 + 2;
		break;
	case ADDRESS_NAME:
		len = 4 + 1 + (size_t) octet(in, 4) + 2;
		break;
	default:
		return -EPROTO;
	}
	if (in.len < len)
		return 0;
	*ret_reply = 0;
	return (ssize_t) len;
}

static const struct {
	const char *text;
	int error;
} replies[] = {
	[0] = { "connected", 0 },
	[1] = { "general failure", -EIO },
	[2] = { "not allowed by its rules", -EACCES },
	[3] = { "network unreachable", -ENETUNREACH },
	[4] = { "host unreachable", -EHOSTUNREACH },
	[5] = { "connection refused", -ECONNREFUSED },
	[6] = { "the time to live expired", -EHOSTUNREACH },
	[7] = { "command not supported", -EOPNOTSUPP },
	[8] = { "kind of address not supported", -EAFNOSUPPORT },
};

const char *socks_reply_text(uint8_t reply)
{
	return reply < ARRAY_LEN(replies) ? replies[reply].text : "a failure that has no name";
}

/* --- the dialogue ----------------------------------------------------------------------------------------- */

typedef ssize_t (*parse_fn)(struct slice in, uint8_t *ret);

static int read_message(struct stream *s, parse_fn parse, usec_t deadline, uint8_t *ret)
{
	for (;;) {
		ssize_t n = parse(stream_peek(s), ret);

		if (n < 0)
			return (int) n;
		if (n > 0) {
			stream_consume(s, (size_t) n);
			return 0;
		}
		n = stream_fill(s, deadline);
		if (n <= 0)
			return n < 0 ? (int) n : -ECONNRESET;
	}
}

static int exchange(struct stream *s, struct buffer *out, parse_fn parse, usec_t deadline, uint8_t *ret)
{
	int r = buffer_error(out);

	if (r >= 0)
		r = stream_put(s, buffer_slice(out), deadline);
	buffer_clear(out);
	return r < 0 ? r : read_message(s, parse, deadline, ret);
}

static void put_text(struct buffer *out, const char *text)
{
	size_t n = MIN(strlen(text), (size_t) NAME_MOST);

	buffer_append_char(out, (char) n);
	buffer_append_slice(out, slice_new(text, n));
}

static int say(struct arena *a, int error, const char **ret_why, const struct proxy *proxy, const char *what)
{
	*ret_why = arena_printf(a, "the proxy %s %s", proxy->text, what);
	return error;
}

/* Without a password only "no login" is offered, so that a proxy that wants one says so. */
static int agree_on_login(struct stream *s, const struct proxy *proxy, struct buffer *out, usec_t deadline, struct arena *a,
			  const char **ret_why)
{
	uint8_t method = SOCKS_NO_METHOD, status = 1;
	bool has_login = proxy->user && proxy->password;
	int r;

	buffer_append_char(out, VERSION);
	buffer_append_char(out, has_login ? 2 : 1);
	buffer_append_char(out, (char) SOCKS_NO_LOGIN);
	if (has_login)
		buffer_append_char(out, (char) SOCKS_PASSWORD);
	r = exchange(s, out, socks_parse_method, deadline, &method);
	if (r < 0 || method == SOCKS_NO_LOGIN)
		return r;
	if (method != SOCKS_PASSWORD || !has_login)
		return say(a, -EACCES, ret_why, proxy,
			   has_login ? "takes none of the ways to log in that are known here" : "wants a login, and none is configured");
	buffer_append_char(out, LOGIN_VERSION);
	put_text(out, proxy->user);
	put_text(out, proxy->password);
	r = exchange(s, out, socks_parse_login, deadline, &status);
	if (r < 0 || status == 0)
		return r;
	return say(a, -EACCES, ret_why, proxy, "does not take our name and password");
}

static void put_request(struct buffer *out, const struct endpoint *to, const char *host)
{
	buffer_append_char(out, VERSION);
	buffer_append_char(out, CONNECT);
	buffer_append_char(out, 0);
	if (to->kind == ENDPOINT_IP) {
		bool v4 = to->ip.family == 4;

		buffer_append_char(out, v4 ? ADDRESS_V4 : ADDRESS_V6);
		buffer_append_slice(out, slice_new((const char *) to->ip.bytes, v4 ? 4 : 16));
	} else {
		buffer_append_char(out, ADDRESS_NAME);
		put_text(out, host);
	}
	buffer_append_char(out, (char) (to->port >> 8));
	buffer_append_char(out, (char) (to->port & 0xff));
}

static int talk(struct stream *s, const struct proxy *proxy, const struct endpoint *to, const char *host, struct buffer *out,
		usec_t deadline, struct arena *a, const char **ret_why)
{
	uint8_t reply = 1;
	int r;

	r = agree_on_login(s, proxy, out, deadline, a, ret_why);
	if (r < 0)
		return r;
	put_request(out, to, host);
	r = exchange(s, out, socks_parse_reply, deadline, &reply);
	if (r < 0 || reply == 0)
		return r;
	return say(a, reply < ARRAY_LEN(replies) ? replies[reply].error : -EIO, ret_why, proxy,
		   arena_printf(a, "could not connect: %s", socks_reply_text(reply)));
}

int socks_connect(struct stream *s, const struct proxy *proxy, const struct endpoint *to, const char *host, usec_t deadline,
		  struct arena *a, const char **ret_why)
{
	char room[4 * NAME_MOST];
	struct buffer out = buffer_in(room, sizeof(room));
	int r;

	*ret_why = NULL;
	if (to->kind != ENDPOINT_IP && (!host || strlen(host) > NAME_MOST))
		return -EINVAL;
	r = talk(s, proxy, to, host, &out, deadline, a, ret_why);
	buffer_done(&out);
	explicit_bzero(room, sizeof(room));
	if (r < 0 && r != -ECANCELED && r != -ENOMEM && !*ret_why)
		(void) say(a, r, ret_why, proxy,
			   r == -ETIMEDOUT ? "did not answer in time"
			   : r == -EPROTO  ? "doesn't speak SOCKS 5"
					   : "closed the connection");
	return r;
}
