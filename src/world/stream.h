/* A stream is a connection as a session sees it: buffered bytes in, buffered bytes out, a deadline on
 * every wait. Under it lies a transport (a TCP or unix socket, a simulated one, or TLS over either),
 * which STARTTLS replaces in the middle of the session.
 *
 * Input: stream_fill reads what is there into the buffer, stream_peek shows it, stream_consume takes
 * it off the front. Output: stream_put gathers, stream_flush sends; stream_fill flushes first, so
 * replies to pipelined commands leave in one packet.
 *
 * The buffers come from the loop's pool and go back to it whenever they are empty and the stream
 * waits, so an idle connection holds none. */
#pragma once

#include <sys/uio.h>

#include "base/net.h"
#include "world/world.h"

/* --- transports ------------------------------------------------------------------------------- */

#define WAIT_READ 1u
#define WAIT_WRITE 2u

struct transport;
struct transport_ops {
	const char *name;
	/* Without waiting: bytes read, 0 at the end of the stream, -EAGAIN, or another -errno. */
	ssize_t (*read)(struct transport *t, void *data, size_t len);
	/* Without waiting: bytes taken (may be fewer than given), -EAGAIN, or another -errno. After
	 * -EAGAIN the same bytes must be offered again (TLS needs that). */
	ssize_t (*writev)(struct transport *t, const struct iovec *iov, int n);
	/* Waits until read (WAIT_READ) or writev may get further. Call it after -EAGAIN only.
	 * At most one fiber may wait for each direction. */
	int (*wait)(struct transport *t, unsigned what, usec_t deadline);
	/* Says that nothing more will be written (close_notify, FIN). May be NULL. Does not wait. */
	void (*shutdown)(struct transport *t);
	void (*close)(struct transport *t); /* closes and frees */
	/* As writev, and close follows at once: the bytes may wait for it and leave with the FIN. NULL: writev will do. */
	ssize_t (*writev_last)(struct transport *t, const struct iovec *iov, int n);
	/* Sends up to len bytes of fd from offset without copying: bytes sent, -EAGAIN, -errno;
	 * NULL where it can't be done (TLS, simulation). */
	ssize_t (*sendfile)(struct transport *t, int fd, uint64_t offset, size_t len);
	/* Has the other side closed in order, after all that was written here had arrived there? Whoever closes with
	 * unread data breaks the connection, so then its program has read it. NULL: that can't be told. */
	bool (*closed_in_order)(struct transport *t);
};
struct transport {
	const struct transport_ops *ops;
};
void transport_close(struct transport *t); /* NULL is fine */
DEFINE_FREEP(struct transport, transport_close)
bool transport_closed_in_order(struct transport *t); /* false when it can't be told */

/* Connects from the current fiber. from may be NULL (any address). -ECONNREFUSED, -ETIMEDOUT,
 * -ENETUNREACH... as connect(2); -EADDRNOTAVAIL when `from` isn't ours, -EADDRINUSE when all its
 * ports are in use. Unix sockets too. TCP_NODELAY is set. */
int net_connect(const struct endpoint *to, const struct endpoint *from, usec_t deadline, struct transport **ret);
/* The same in two steps. 0: it is there already; 1: it is under way, and nothing but net_connect_wait and transport_close may
 * be done with *ret. */
int net_connect_start(const struct endpoint *to, const struct endpoint *from, struct transport **ret);
/* What comes of it, by one fiber at a time, and not always the same: 0: it is there. -ETIMEDOUT: nothing yet, and one may wait on
 * (when the system gave it up by itself, every further wait says so at once). -ECANCELED. Other errors are final. */
int net_connect_wait(struct transport *t, usec_t deadline);

/* --- listeners --------------------------------------------------------------------------------- */

struct listener;
struct listen_options {
	bool reuse_port;    /* several loops listen on the same address */
	int backlog;        /* 0: 4096 */
	unsigned unix_mode; /* permissions of a unix socket; 0: 0660. A stale socket file is replaced */
};
/* Binds and listens; from any thread, before the loops run or later. Port 0 takes a free port. */
int listener_open(struct world *w, const struct endpoint *at, const struct listen_options *o, struct listener **ret);
/* Makes one from a socket that somebody else has bound and listens on (socket activation). Takes fd. */
int listener_from_fd(struct world *w, int fd, struct listener **ret);
const struct endpoint *listener_endpoint(const struct listener *l);
/* From a fiber of the loop that is to own the connection: the next connection. A listener belongs to the
 * loop that accepts first. -EMFILE and -ENFILE are returned (wait a little, then go on). */
int listener_accept(struct listener *l, usec_t deadline, struct transport **ret, struct endpoint *ret_peer);
/* The address at which an accepted or connected transport of ours ends; not for TLS transports. */
int transport_local_endpoint(struct transport *t, struct endpoint *ret);
void listener_close(struct listener *l);
DEFINE_FREEP(struct listener, listener_close)

/* --- streams ----------------------------------------------------------------------------------- */

#define STREAM_BUFFER 32768u /* bytes of each direction's buffer */

struct stream {
	struct transport *transport; /* owned */
	struct endpoint peer;
	char *in, *out; /* from the loop's pool; NULL while empty */
	uint32_t in_start, in_end, out_len;
	bool eof;
	uint64_t bytes_in, bytes_out; /* of the plain text */
};

/* Takes the transport over, also when it fails. */
int stream_new(struct transport *t, const struct endpoint *peer, struct stream **ret);
void stream_free(struct stream *s); /* closes; what was not flushed is lost; NULL is fine */
DEFINE_FREEP(struct stream, stream_free)

/* Flushes, then waits until more bytes have come: their number, 0 at the end of the stream, -ENOBUFS
 * when the buffer is full (consume first), -EPIPE, -ECONNRESET, -ETIMEDOUT, -ECANCELED... */
ssize_t stream_fill(struct stream *s, usec_t deadline);
static inline struct slice stream_peek(const struct stream *s)
{
	return slice_new(s->in ? s->in + s->in_start : NULL, s->in_end - s->in_start);
}
void stream_consume(struct stream *s, size_t n);
/* Is there input that nobody has looked at, in the buffer or (without waiting) in the socket? Reads what
 * is there. This is how a server sees that a client talks out of turn. */
bool stream_has_input(struct stream *s);
/* Forgets buffered input (at STARTTLS: RFC 3207 section 4.2). */
void stream_discard_input(struct stream *s);

/* Appends to the output; waits only when the buffer is full. */
int stream_put(struct stream *s, struct slice data, usec_t deadline);
int stream_put_str(struct stream *s, const char *text, usec_t deadline);
int stream_flush(struct stream *s, usec_t deadline);
/* The same when stream_free follows at once: the last bytes and the end of the stream go out in one packet. */
int stream_flush_last(struct stream *s, usec_t deadline);
/* Sends what is buffered without waiting, for the last words of a cancelled session. */
void stream_flush_now(struct stream *s);
/* Replaces the transport (TLS on top of the old one): both buffers must be empty. The new one owns the
 * old one. */
void stream_set_transport(struct stream *s, struct transport *t);
/* Sends a part of a file after what is buffered: by sendfile where the transport can, else by reading.
 * file: see world/file.h. */
struct file;
int stream_send_file(struct stream *s, struct file *f, uint64_t offset, size_t len, usec_t deadline);
