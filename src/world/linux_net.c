/* Sockets of the real world: TCP and unix, never blocking. */
#include "world/linux_world.h"

#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG_DEFAULT 4096
#define UNIX_MODE_DEFAULT 0660
#define IOV_AT_ONCE 64
#define EVENTS_OF_A_SESSION 4

struct linux_socket {
	struct transport transport;
	struct watch watch;
	int error; /* what connecting came to: the kernel tells it once only */
};

struct linux_listener {
	struct listener listener;
	struct watch watch;
	unsigned left; /* connections to be taken before the next look */
};

union address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

/* --- addresses ------------------------------------------------------------------------------------- */

static int to_sockaddr(const struct endpoint *e, union address *a, socklen_t *ret_len)
{
	memset(a, 0, sizeof(*a));
	if (e->kind == ENDPOINT_UNIX) {
		a->un.sun_family = AF_UNIX;
		if (strlen(e->path) >= sizeof(a->un.sun_path))
			return -ENAMETOOLONG;
		strcpy(a->un.sun_path, e->path);
		*ret_len = sizeof(a->un);
	} else if (e->kind == ENDPOINT_IP && e->ip.family == 4) {
		a->in.sin_family = AF_INET;
		a->in.sin_port = htons(e->port);
		memcpy(&a->in.sin_addr, e->ip.bytes, 4);
		*ret_len = sizeof(a->in);
	} else if (e->kind == ENDPOINT_IP && e->ip.family == 6) {
		a->in6.sin6_family = AF_INET6;
		a->in6.sin6_port = htons(e->port);
		memcpy(&a->in6.sin6_addr, e->ip.bytes, 16);
		*ret_len = sizeof(a->in6);
	} else {
		return -EAFNOSUPPORT;
	}
	return 0;
}

static void from_sockaddr(const union address *a, struct endpoint *ret)
{
	*ret = (struct endpoint) { .kind = ENDPOINT_NONE };
	switch (a->sa.sa_family) {
	case AF_INET:
		ret->kind = ENDPOINT_IP;
		ret->ip = ip_from_v4((const uint8_t *) &a->in.sin_addr);
		ret->port = ntohs(a->in.sin_port);
		break;
	case AF_INET6:
		ret->kind = ENDPOINT_IP;
		ret->ip = ip_from_v6((const uint8_t *) &a->in6.sin6_addr);
		ret->port = ntohs(a->in6.sin6_port);
		break;
	case AF_UNIX:
		ret->kind = ENDPOINT_UNIX;
		memcpy(ret->path, a->un.sun_path, sizeof(ret->path) - 1);
		break;
	}
}

/* --- transports --------------------------------------------------------------------------------------- */

static struct linux_socket *socket_of(struct transport *t)
{
	return container_of(t, struct linux_socket, transport);
}

static ssize_t socket_read(struct transport *t, void *data, size_t len)
{
	struct watch *w = &socket_of(t)->watch;
	ssize_t n;

	if (!w->readable)
		return -EAGAIN;
	do
		n = recv(w->fd, data, len, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		if (errno == EAGAIN)
			w->readable = false;
		return -errno;
	}
	/* A short read has emptied the socket, so the next thing to happen is an event; but not when the
	 * peer has closed, whose event has been already. */
	if ((size_t) n < len && n > 0 && w->loop && !w->hangup)
		w->readable = false;
	return n;
}

static ssize_t socket_send(struct transport *t, const struct iovec *iov, int n, int flags)
{
	struct watch *w = &socket_of(t)->watch;
	struct msghdr m = { .msg_iov = (struct iovec *) (uintptr_t) iov, .msg_iovlen = (size_t) MIN(n, IOV_AT_ONCE) };
	ssize_t sent;

	if (!w->writable)
		return -EAGAIN;
	do
		sent = sendmsg(w->fd, &m, MSG_NOSIGNAL | flags);
	while (sent < 0 && errno == EINTR);
	if (sent < 0) {
		if (errno == EAGAIN)
			w->writable = false;
		return -errno;
	}
	return sent;
}

static ssize_t socket_writev(struct transport *t, const struct iovec *iov, int n)
{
	return socket_send(t, iov, n, 0);
}

/* The kernel keeps a part of a packet back until there is more, at most for 200 ms: until close(2). */
static ssize_t socket_writev_last(struct transport *t, const struct iovec *iov, int n)
{
	return socket_send(t, iov, n, MSG_MORE);
}

static ssize_t socket_sendfile(struct transport *t, int fd, uint64_t offset, size_t len)
{
	struct watch *w = &socket_of(t)->watch;
	off_t at = (off_t) offset;
	ssize_t n;

	if (!w->writable)
		return -EAGAIN;
	do
		n = sendfile(w->fd, fd, &at, len);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		w->writable = false;
	return n < 0 ? -errno : n;
}

static int socket_wait(struct transport *t, unsigned what, usec_t deadline)
{
	return watch_wait(&socket_of(t)->watch, what, deadline);
}

static void socket_shutdown(struct transport *t)
{
	(void) shutdown(socket_of(t)->watch.fd, SHUT_WR);
}

static void socket_close(struct transport *t)
{
	struct linux_socket *s = socket_of(t);

	(void) close(s->watch.fd); /* leaves the epoll set by itself */
	free(s);
}

static bool socket_closed_in_order(struct transport *t)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	/* After a reset the state would be TCP_CLOSE. */
	return getsockopt(socket_of(t)->watch.fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_state == TCP_CLOSE_WAIT &&
	       info.tcpi_unacked == 0;
}

static const struct transport_ops socket_ops = {
	.name = "socket",
	.read = socket_read,
	.writev = socket_writev,
	.wait = socket_wait,
	.shutdown = socket_shutdown,
	.close = socket_close,
	.writev_last = socket_writev_last,
	.sendfile = socket_sendfile,
	.closed_in_order = socket_closed_in_order,
};

/* Takes fd, also on failure. */
static int socket_new(int fd, struct linux_socket **ret)
{
	struct linux_socket *s = calloc(1, sizeof(*s));

	if (!s) {
		(void) close(fd);
		return -ENOMEM;
	}
	s->transport.ops = &socket_ops;
	s->watch.fd = fd;
	*ret = s;
	return 0;
}

int linux_local_endpoint(struct transport *t, struct endpoint *ret)
{
	union address a = { 0 };
	socklen_t len = sizeof(a);

	if (t->ops != &socket_ops)
		return -EOPNOTSUPP;
	if (getsockname(socket_of(t)->watch.fd, &a.sa, &len) < 0)
		return -errno;
	from_sockaddr(&a, ret);
	return 0;
}

int linux_connect_wait(struct transport *t, usec_t deadline)
{
	struct linux_socket *s = socket_of(t);
	struct watch *w = &s->watch;
	int error = 0, r;
	socklen_t len = sizeof(error);

	if (s->error < 0)
		return s->error;
	r = watch_wait(w, WAIT_WRITE, deadline);
	if (r < 0)
		return r;
	if (w->hangup && getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	s->error = -error;
	w->readable = true;
	return s->error;
}

/* The port is chosen when it is known where to, so that the ports of one address don't limit us to so many connections
 * in all, but to each server. */
static int bind_source(int fd, const struct endpoint *from)
{
	union address local;
	socklen_t len;
	int r, one = 1;

	r = to_sockaddr(from, &local, &len);
	if (r < 0)
		return r;
	if (from->kind == ENDPOINT_IP && from->port == 0)
		(void) setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	return bind(fd, &local.sa, len) < 0 ? -errno : 0;
}

int linux_connect(struct world *w, const struct endpoint *to, const struct endpoint *from, struct transport **ret)
{
	_cleanup_(transport_closep) struct transport *t = NULL;
	struct linux_socket *s;
	union address remote;
	socklen_t remote_len;
	int fd, r, one = 1;

	r = to_sockaddr(to, &remote, &remote_len);
	if (r < 0)
		return r;
	fd = socket(remote.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = socket_new(fd, &s);
	if (r < 0)
		return r;
	t = &s->transport;
	if (remote.sa.sa_family != AF_UNIX)
		(void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (from && from->kind != ENDPOINT_NONE) {
		r = bind_source(fd, from);
		if (r < 0)
			return r;
	}
	r = 0;
	if (connect(fd, &remote.sa, remote_len) < 0) {
		if (errno == EADDRNOTAVAIL && from && from->kind == ENDPOINT_IP)
			return -EADDRINUSE; /* it is ours: bind took it. No port of it is left for this server */
		if (errno != EINPROGRESS && errno != EINTR)
			return -errno;
		r = 1;
	}
	s->watch.writable = s->watch.readable = r == 0;
	*ret = TAKE_PTR(t);
	return r;
}

/* --- listeners ------------------------------------------------------------------------------------------ */

/* A socket file that nobody listens on any more would keep the address taken. */
static void remove_stale_socket(const union address *a, socklen_t len)
{
	struct stat st;
	int fd;

	if (lstat(a->un.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (connect(fd, &a->sa, len) < 0 && errno == ECONNREFUSED)
		(void) unlink(a->un.sun_path);
	(void) close(fd);
}

static int prepare_listener(int fd, const union address *a, socklen_t len, const struct listen_options *o)
{
	int one = 1;

	if (a->sa.sa_family == AF_UNIX) {
		remove_stale_socket(a, len);
		if (bind(fd, &a->sa, len) < 0)
			return -errno;
		if (chmod(a->un.sun_path, o && o->unix_mode ? o->unix_mode : UNIX_MODE_DEFAULT) < 0)
			return -errno;
	} else {
		(void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		(void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* accepted sockets inherit it */
		if (o && o->reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0)
			return -errno;
		if (a->sa.sa_family == AF_INET6)
			(void) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
		if (bind(fd, &a->sa, len) < 0)
			return -errno;
	}
	if (listen(fd, o && o->backlog ? o->backlog : BACKLOG_DEFAULT) < 0)
		return -errno;
	return 0;
}

static int listener_of_fd(struct world *w, int fd, struct listener **ret)
{
	struct linux_listener *l = calloc(1, sizeof(*l));
	union address a = { 0 };
	socklen_t len = sizeof(a);

	if (!l) {
		(void) close(fd);
		return -ENOMEM;
	}
	if (getsockname(fd, &a.sa, &len) >= 0)
		from_sockaddr(&a, &l->listener.endpoint);
	l->listener.world = w;
	l->watch.fd = fd;
	l->watch.listens = true;
	*ret = &l->listener;
	return 0;
}

int linux_listen(struct world *w, const struct endpoint *at, const struct listen_options *o, struct listener **ret)
{
	union address a;
	socklen_t len;
	int fd, r;

	r = to_sockaddr(at, &a, &len);
	if (r < 0)
		return r;
	fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = prepare_listener(fd, &a, len, o);
	if (r < 0) {
		(void) close(fd);
		return r;
	}
	return listener_of_fd(w, fd, ret);
}

int linux_listen_fd(struct world *w, int fd, struct listener **ret)
{
	int type = 0;
	socklen_t len = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return -ENOTSOCK;
	return listener_of_fd(w, fd, ret);
}

/* A look tells that there is a connection, not how many: taking one for each look needs no call that is in vain. With
 * many events at once more are taken, or who connects would wait for all the others: a session of one message brings
 * a handful of events and one of them is its beginning. */
static int wait_for_connections(struct linux_listener *l, usec_t deadline)
{
	const struct linux_loop *b = loop_current()->backend;
	int r;

	l->watch.readable = false;
	r = watch_wait(&l->watch, WAIT_READ, deadline);
	if (r >= 0)
		l->left = 1 + b->came / EVENTS_OF_A_SESSION;
	return r;
}

int linux_accept(struct listener *l, usec_t deadline, struct transport **ret, struct endpoint *ret_peer)
{
	struct linux_listener *self = container_of(l, struct linux_listener, listener);
	struct watch *w = &self->watch;
	struct linux_socket *s;
	union address a;
	int fd, r;

	for (;;) {
		socklen_t len = sizeof(a);

		if (fiber_cancelled())
			return -ECANCELED;
		if (self->left > 0) {
			self->left--;
			a.sa.sa_family = AF_UNSPEC;
			fd = accept4(w->fd, &a.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
			if (fd >= 0)
				break;
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			if (errno != EAGAIN)
				return -errno;
			self->left = 0;
		}
		r = wait_for_connections(self, deadline);
		if (r < 0)
			return r;
	}
	if (a.sa.sa_family == AF_UNIX)
		a.un.sun_path[0] = '\0'; /* clients of unix sockets have no name */
	r = socket_new(fd, &s);
	if (r < 0)
		return r;
	/* The server speaks first: there is nothing to read yet, and epoll will say when there is. */
	s->watch.readable = false;
	s->watch.writable = true;
	from_sockaddr(&a, ret_peer);
	*ret = &s->transport;
	return 0;
}

void linux_listener_close(struct listener *l)
{
	struct linux_listener *ll = container_of(l, struct linux_listener, listener);

	(void) close(ll->watch.fd);
	if (l->endpoint.kind == ENDPOINT_UNIX && l->endpoint.path[0])
		(void) unlink(l->endpoint.path);
	free(ll);
}
