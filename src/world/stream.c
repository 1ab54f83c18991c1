/* Buffered streams over transports, and the net_* and listener_* calls that make transports. */
#include "world/stream.h"

#include <stdlib.h>
#include <string.h>

#include "world/loop.h"

/* --- making transports ------------------------------------------------------------------------------- */

void transport_close(struct transport *t)
{
	if (t)
		t->ops->close(t);
}

int net_connect_start(const struct endpoint *to, const struct endpoint *from, struct transport **ret)
{
	struct world *w = world_current();

	assert(w);
	if (fiber_cancelled())
		return -ECANCELED;
	return w->ops->connect(w, to, from, ret);
}

int net_connect_wait(struct transport *t, usec_t deadline)
{
	return world_current()->ops->connect_wait(t, deadline);
}

int net_connect(const struct endpoint *to, const struct endpoint *from, usec_t deadline, struct transport **ret)
{
	_cleanup_(transport_closep) struct transport *t = NULL;
	int r;

	r = net_connect_start(to, from, &t);
	if (r > 0)
		r = net_connect_wait(t, deadline);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(t);
	return 0;
}

int listener_open(struct world *w, const struct endpoint *at, const struct listen_options *o, struct listener **ret)
{
	return w->ops->listen(w, at, o, ret);
}

int listener_from_fd(struct world *w, int fd, struct listener **ret)
{
	return w->ops->listen_fd(w, fd, ret);
}

const struct endpoint *listener_endpoint(const struct listener *l)
{
	return &l->endpoint;
}

int listener_accept(struct listener *l, usec_t deadline, struct transport **ret, struct endpoint *ret_peer)
{
	return l->world->ops->accept(l, deadline, ret, ret_peer);
}

int transport_local_endpoint(struct transport *t, struct endpoint *ret)
{
	struct world *w = world_current();

	assert(w);
	return w->ops->local_endpoint(t, ret);
}

void listener_close(struct listener *l)
{
	if (l)
		l->world->ops->listener_close(l);
}

/* --- life --------------------------------------------------------------------------------------------- */

int stream_new(struct transport *t, const struct endpoint *peer, struct stream **ret)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (!s) {
		transport_close(t);
		return -ENOMEM;
	}
	s->transport = t;
	if (peer)
		s->peer = *peer;
	*ret = s;
	return 0;
}

static void release(char **buffer)
{
	if (*buffer)
		loop_buffer_put(loop_current(), TAKE_PTR(*buffer));
}

void stream_free(struct stream *s)
{
	if (!s)
		return;
	release(&s->in);
	release(&s->out);
	transport_close(s->transport);
	free(s);
}

/* --- input ---------------------------------------------------------------------------------------------- */

/* Makes room at the end of the input buffer: fetches one, or moves what is left to its front. */
static int make_room(struct stream *s)
{
	if (!s->in) {
		s->in = loop_buffer_get(loop_current());
		if (!s->in)
			return -ENOMEM;
		s->in_start = s->in_end = 0;
		return 0;
	}
	if (s->in_start == s->in_end) {
		s->in_start = s->in_end = 0;
	} else if (s->in_end == STREAM_BUFFER && s->in_start > 0) {
		memmove(s->in, s->in + s->in_start, s->in_end - s->in_start);
		s->in_end -= s->in_start;
		s->in_start = 0;
	}
	return s->in_end == STREAM_BUFFER ? -ENOBUFS : 0;
}

/* One read without waiting: bytes, 0 at the end, -EAGAIN, -errno. */
static ssize_t read_some(struct stream *s)
{
	ssize_t n;
	int r;

	if (s->eof)
		return 0;
	r = make_room(s);
	if (r < 0)
		return r;
	n = s->transport->ops->read(s->transport, s->in + s->in_end, STREAM_BUFFER - s->in_end);
	if (n > 0) {
		s->in_end += (uint32_t) n;
		s->bytes_in += (uint64_t) n;
	} else if (n == 0) {
		s->eof = true;
	}
	return n;
}

ssize_t stream_fill(struct stream *s, usec_t deadline)
{
	int r;

	if (s->out_len > 0) {
		r = stream_flush(s, deadline);
		if (r < 0)
			return r;
	}
	for (;;) {
		ssize_t n = read_some(s);

		if (n != -EAGAIN)
			return n;
		if (s->in_start == s->in_end)
			release(&s->in); /* an idle connection holds no buffer */
		r = s->transport->ops->wait(s->transport, WAIT_READ, deadline);
		if (r < 0)
			return r;
	}
}

bool transport_closed_in_order(struct transport *t)
{
	return t->ops->closed_in_order && t->ops->closed_in_order(t);
}

void stream_consume(struct stream *s, size_t n)
{
	assert(n <= s->in_end - s->in_start);
	s->in_start += (uint32_t) n;
}

bool stream_has_input(struct stream *s)
{
	if (s->in && s->in_end > s->in_start)
		return true;
	return read_some(s) > 0;
}

void stream_discard_input(struct stream *s)
{
	s->in_start = s->in_end = 0;
	release(&s->in);
}

/* --- output ----------------------------------------------------------------------------------------------- */

typedef ssize_t (*send_fn)(struct transport *t, const struct iovec *iov, int n);

/* Sends all of iov, waiting as long as the deadline allows; iov is used up. */
static int send_all_by(send_fn send, struct stream *s, struct iovec *iov, int n, usec_t deadline)
{
	while (n > 0) {
		ssize_t sent;

		if (iov->iov_len == 0) {
			iov++;
			n--;
			continue;
		}
		sent = send(s->transport, iov, n);
		if (sent == -EAGAIN) {
			int r = s->transport->ops->wait(s->transport, WAIT_WRITE, deadline);

			if (r < 0)
				return r;
			continue;
		}
		if (sent < 0)
			return (int) sent;
		s->bytes_out += (uint64_t) sent;
		while (n > 0 && (size_t) sent >= iov->iov_len) {
			sent -= (ssize_t) iov->iov_len;
			iov++;
			n--;
		}
		if (n > 0) {
			iov->iov_base = (char *) iov->iov_base + sent;
			iov->iov_len -= (size_t) sent;
		}
	}
	return 0;
}

static int send_all(struct stream *s, struct iovec *iov, int n, usec_t deadline)
{
	return send_all_by(s->transport->ops->writev, s, iov, n, deadline);
}

static int flush_by(send_fn send, struct stream *s, usec_t deadline)
{
	struct iovec iov = { .iov_base = s->out, .iov_len = s->out_len };
	int r = 0;

	if (s->out_len > 0) {
		s->out_len = 0; /* after a failure nothing of it is sent again */
		r = send_all_by(send, s, &iov, 1, deadline);
	}
	release(&s->out);
	return r;
}

int stream_flush(struct stream *s, usec_t deadline)
{
	return flush_by(s->transport->ops->writev, s, deadline);
}

int stream_flush_last(struct stream *s, usec_t deadline)
{
	const struct transport_ops *ops = s->transport->ops;

	return flush_by(ops->writev_last ? ops->writev_last : ops->writev, s, deadline);
}

int stream_put(struct stream *s, struct slice data, usec_t deadline)
{
	if (!s->out)
		s->out = loop_buffer_get(loop_current());
	if (s->out && data.len <= STREAM_BUFFER - s->out_len) {
		if (data.len > 0)
			memcpy(s->out + s->out_len, data.data, data.len);
		s->out_len += (uint32_t) data.len;
		return 0;
	}
	/* It doesn't fit, or memory is short: what is gathered and the new bytes go out together, without a copy. */
	struct iovec iov[2] = {
		{ .iov_base = s->out, .iov_len = s->out_len },
		{ .iov_base = (void *) (uintptr_t) data.data, .iov_len = data.len },
	};
	s->out_len = 0;
	return send_all(s, iov, 2, deadline);
}

int stream_put_str(struct stream *s, const char *text, usec_t deadline)
{
	return stream_put(s, slice_from(text), deadline);
}

void stream_flush_now(struct stream *s)
{
	struct iovec iov = { .iov_base = s->out, .iov_len = s->out_len };

	if (s->out_len > 0)
		(void) s->transport->ops->writev(s->transport, &iov, 1);
	s->out_len = 0;
	release(&s->out);
}

void stream_set_transport(struct stream *s, struct transport *t)
{
	assert(s->in_start == s->in_end && s->out_len == 0);
	s->transport = t;
	s->eof = false;
}

static int send_file_by_sendfile(struct stream *s, int fd, uint64_t offset, size_t len, usec_t deadline)
{
	int r = stream_flush(s, deadline);

	while (r >= 0 && len > 0) {
		ssize_t n = s->transport->ops->sendfile(s->transport, fd, offset, len);

		if (n == -EAGAIN) {
			r = s->transport->ops->wait(s->transport, WAIT_WRITE, deadline);
			continue;
		}
		if (n < 0)
			return (int) n;
		if (n == 0)
			return -ENODATA; /* the file is shorter than it was said to be */
		offset += (uint64_t) n;
		len -= (size_t) n;
		s->bytes_out += (uint64_t) n;
	}
	return r;
}

int stream_send_file(struct stream *s, struct file *f, uint64_t offset, size_t len, usec_t deadline)
{
	int fd = file_fd(f);
	int r;

	if (s->transport->ops->sendfile && fd >= 0)
		return send_file_by_sendfile(s, fd, offset, len, deadline);
	while (len > 0) {
		ssize_t n;

		if (s->out_len == STREAM_BUFFER) {
			r = stream_flush(s, deadline);
			if (r < 0)
				return r;
		}
		if (!s->out) {
			s->out = loop_buffer_get(loop_current());
			if (!s->out)
				return -ENOMEM;
		}
		n = file_pread(f, s->out + s->out_len, MIN(len, (size_t) (STREAM_BUFFER - s->out_len)), offset);
		if (n < 0)
			return (int) n;
		if (n == 0)
			return -ENODATA;
		s->out_len += (uint32_t) n;
		offset += (uint64_t) n;
		len -= (size_t) n;
	}
	return 0;
}
