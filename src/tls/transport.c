/* TLS records over any transport. */
#include "tls/transport.h"

#include <openssl/err.h>
#include <stdlib.h>

#include "tls/context.h"
#include "world/fiber.h"

#define RECORD_MAX 16384u            /* bytes of plain text in one record */
#define BUSY_PAUSE (10 * USEC_MS)
/* What one call of OpenSSL may read from below: several times the largest record. A peer can send messages of
 * the protocol itself without end (RFC 8446 section 4.6.3), which OpenSSL takes in without returning. */
#define READ_BUDGET (128u * 1024)

struct tls_transport {
	struct transport base;
	struct tls_context *context;
	struct transport *inner;
	bool owns_inner;
	bool established;      /* the handshake is done */
	bool ended;            /* close_notify was sent */
	int failed;            /* -errno once the connection is beyond use */
	int inner_error;       /* what the transport below answered last, when it was an error */
	bool inner_eof;
	unsigned read_needs;   /* what a read, and a write, must wait for: WAIT_* */
	unsigned write_needs;
	size_t budget;         /* left of READ_BUDGET in this call */
	bool over_budget;      /* the next wait is to let others run */
	unsigned waiting;      /* directions of the inner transport that some fiber waits for now */
	SSL *ssl;
};

static struct tls_transport *self_of(struct transport *t)
{
	return container_of(t, struct tls_transport, base);
}

/* --- the bridge: what OpenSSL calls ------------------------------------------------------------------- */

static int bridge_read(BIO *bio, char *data, size_t len, size_t *ret_len)
{
	struct tls_transport *t = BIO_get_data(bio);
	ssize_t n;

	BIO_clear_retry_flags(bio);
	if (t->budget == 0) {
		t->over_budget = true;
		BIO_set_retry_read(bio);
		*ret_len = 0;
		return 0;
	}
	n = t->inner->ops->read(t->inner, data, len);
	if (n > 0) {
		t->budget -= MIN(t->budget, (size_t) n);
		*ret_len = (size_t) n;
		return 1;
	}
	if (n == -EAGAIN)
		BIO_set_retry_read(bio);
	else if (n == 0)
		t->inner_eof = true;
	else
		t->inner_error = (int) n;
	*ret_len = 0;
	return 0;
}

static int bridge_write(BIO *bio, const char *data, size_t len, size_t *ret_len)
{
	struct tls_transport *t = BIO_get_data(bio);
	struct iovec iov = { .iov_base = (void *) (uintptr_t) data, .iov_len = len };
	ssize_t n;

	BIO_clear_retry_flags(bio);
	n = t->inner->ops->writev(t->inner, &iov, 1);
	if (n > 0) {
		*ret_len = (size_t) n;
		return 1;
	}
	if (n == -EAGAIN || n == 0)
		BIO_set_retry_write(bio);
	else
		t->inner_error = (int) n;
	*ret_len = 0;
	return 0;
}

static long bridge_ctrl(BIO *bio, int command, long number, void *pointer)
{
	struct tls_transport *t = BIO_get_data(bio);

	switch (command) {
	case BIO_CTRL_FLUSH: /* nothing is held back here */
		return 1;
	case BIO_CTRL_EOF:
		return t && t->inner_eof;
	}
	return 0;
}

static int bridge_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

BIO_METHOD *tls_bio_method_new(void)
{
	/* Without an index of its own: there are 127 for the life of a process, and each reload makes a context. */
	BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "yizhan transport");

	if (!m)
		return NULL;
	if (!BIO_meth_set_read_ex(m, bridge_read) || !BIO_meth_set_write_ex(m, bridge_write) ||
	    !BIO_meth_set_ctrl(m, bridge_ctrl) || !BIO_meth_set_create(m, bridge_create)) {
		BIO_meth_free(m);
		return NULL;
	}
	return m;
}

/* --- what OpenSSL answered -------------------------------------------------------------------------------- */

/* After a call that did not succeed: what must be waited for (*needs, and -EAGAIN), 0 at the end of the stream, or
 * -errno. Reads the thread's error queue, so it comes right after the call. */
static int judge(struct tls_transport *t, int result, unsigned *needs)
{
	switch (SSL_get_error(t->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		*needs = WAIT_READ;
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		*needs = WAIT_WRITE;
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		if (t->inner_error < 0)
			return t->failed = t->inner_error;
		return t->failed = -ECONNRESET;
	}
	return t->failed = t->inner_error < 0 ? t->inner_error : -EPROTO;
}

/* --- the transport's operations ----------------------------------------------------------------------------- */

static ssize_t tls_read(struct transport *base, void *data, size_t len)
{
	struct tls_transport *t = self_of(base);
	size_t n;
	int r;

	if (t->failed < 0)
		return t->failed == -EPIPE ? 0 : t->failed;
	if (len == 0)
		return 0;
	ERR_clear_error();
	t->budget = READ_BUDGET;
	r = SSL_read_ex(t->ssl, data, len, &n);
	if (r > 0)
		return (ssize_t) n;
	return judge(t, r, &t->read_needs);
}

/* At most one record per call; after -EAGAIN OpenSSL holds that record, and takes the same bytes offered again
 * for it. */
static ssize_t write_record(struct tls_transport *t, const void *data, size_t len)
{
	size_t n;
	int r;

	ERR_clear_error();
	t->budget = READ_BUDGET;
	r = SSL_write_ex(t->ssl, data, MIN(len, (size_t) RECORD_MAX), &n);
	if (r > 0)
		return (ssize_t) n;
	r = judge(t, r, &t->write_needs);
	return r == 0 ? -EPIPE : r;
}

static ssize_t tls_writev(struct transport *base, const struct iovec *iov, int n)
{
	struct tls_transport *t = self_of(base);
	size_t len = 0;
	ssize_t sent;
	char *joined;

	if (t->failed < 0)
		return t->failed;
	while (n > 0 && iov->iov_len == 0) {
		iov++;
		n--;
	}
	if (n == 0)
		return 0;
	if (n == 1 || iov->iov_len >= RECORD_MAX)
		return write_record(t, iov->iov_base, iov->iov_len);

	/* Several small pieces go out as one record: a record costs 22 bytes and a round of the cipher. */
	joined = malloc(RECORD_MAX);
	if (!joined)
		return -ENOMEM;
	for (; n > 0 && len < RECORD_MAX; iov++, n--) {
		size_t piece = MIN(iov->iov_len, RECORD_MAX - len);

		if (piece > 0)
			memcpy(joined + len, iov->iov_base, piece);
		len += piece;
	}
	sent = write_record(t, joined, len);
	free(joined);
	return sent;
}

static int wait_inner(struct tls_transport *t, unsigned needs, usec_t deadline)
{
	int r;

	if (t->over_budget) {
		t->over_budget = false;
		return now() >= deadline ? -ETIMEDOUT : fiber_yield();
	}
	/* A read that must write first (or the other way round) may meet a fiber that waits for that already: that
	 * one will get it done, so look again a little later. */
	if (t->waiting & needs) {
		usec_t soon = deadline_after(now(), BUSY_PAUSE);

		r = fiber_sleep_until(MIN(soon, deadline));
		return r < 0 ? r : soon > deadline ? -ETIMEDOUT : 0;
	}
	t->waiting |= needs;
	r = t->inner->ops->wait(t->inner, needs, deadline);
	t->waiting &= ~needs;
	return r;
}

static int tls_wait(struct transport *base, unsigned what, usec_t deadline)
{
	struct tls_transport *t = self_of(base);

	if (t->failed < 0)
		return 0; /* the next read or write says so */
	return wait_inner(t, what & WAIT_READ ? t->read_needs : t->write_needs, deadline);
}

/* RFC 8446 section 6.1: say that nothing follows, so that the peer can tell the end from an attack. */
static void say_goodbye(struct tls_transport *t)
{
	if (!t->established || t->ended || t->failed < 0)
		return;
	t->ended = true;
	ERR_clear_error();
	(void) SSL_shutdown(t->ssl);
	ERR_clear_error();
}

static void tls_shutdown(struct transport *base)
{
	struct tls_transport *t = self_of(base);

	say_goodbye(t);
	if (t->inner->ops->shutdown)
		t->inner->ops->shutdown(t->inner);
}

static void tls_close(struct transport *base)
{
	struct tls_transport *t = self_of(base);

	say_goodbye(t);
	SSL_free(t->ssl);
	if (t->owns_inner)
		transport_close(t->inner);
	tls_context_unref(t->context);
	free(t);
}

static bool tls_closed_in_order(struct transport *base)
{
	return transport_closed_in_order(self_of(base)->inner);
}

static const struct transport_ops tls_ops = {
	.name = "tls",
	.read = tls_read,
	.writev = tls_writev,
	.wait = tls_wait,
	.shutdown = tls_shutdown,
	.close = tls_close,
	.closed_in_order = tls_closed_in_order,
};

/* --- life ------------------------------------------------------------------------------------------------------ */

int tls_transport_new(struct tls_context *c, struct transport *inner, struct tls_transport **ret)
{
	struct tls_transport *t = calloc(1, sizeof(*t));
	BIO *bio;

	CHECK_MAGIC(c, TLS_CONTEXT_MAGIC);
	if (!t)
		return -ENOMEM;
	t->base.ops = &tls_ops;
	t->context = tls_context_ref(c);
	t->inner = inner;
	ERR_clear_error();
	t->ssl = SSL_new(c->ssl_ctx);
	bio = BIO_new(c->bio_method);
	if (!t->ssl || !bio) {
		BIO_free(bio);
		tls_close(&t->base);
		return -ENOMEM;
	}
	BIO_set_data(bio, t);
	SSL_set_bio(t->ssl, bio, bio);
	*ret = t;
	return 0;
}

SSL *tls_transport_ssl(struct tls_transport *t)
{
	return t->ssl;
}

struct transport *tls_transport_base(struct tls_transport *t)
{
	return &t->base;
}

struct tls_transport *tls_transport_of(struct transport *t)
{
	return t && t->ops == &tls_ops ? self_of(t) : NULL;
}

int tls_transport_handshake(struct tls_transport *t, usec_t deadline, bool *ret_eof)
{
	unsigned needs = WAIT_READ;
	int r;

	*ret_eof = false;
	for (;;) {
		ERR_clear_error();
		t->budget = READ_BUDGET;
		r = SSL_do_handshake(t->ssl);
		if (r == 1)
			break;
		r = judge(t, r, &needs);
		if (r != -EAGAIN) {
			*ret_eof = t->inner_eof;
			return r < 0 ? r : -EPROTO;
		}
		r = wait_inner(t, needs, deadline);
		if (r < 0)
			return r;
	}
	t->established = true;
	/* The end without a close_notify is an end. A mail dialogue says by itself where each thing ends (the final dot, the
	 * size of a BDAT chunk), so that nothing cut short is taken for whole, and many peers just close after QUIT. OpenSSL
	 * would answer with an alert, too, which the peer, gone as it is, could only reset: then nobody could tell any more
	 * that it had gone in order. */
	SSL_set_options(t->ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
	t->read_needs = WAIT_READ;
	t->write_needs = WAIT_WRITE;
	return 0;
}

void tls_transport_adopt(struct tls_transport *t)
{
	t->owns_inner = true;
}
