/* What the spool makes of directories as a power cut may have left them: a server for tests/e2e/test_power_cut.py.
 *
 * Reads lines "SEGMENT_SIZE DIRECTORY" from standard input, opens the spool there as the server does, and writes what
 * it found: one line for each message, then one for the whole.
 *
 *	message ID BODY_SIZE SHA256_OF_BODY SHA256_WITHOUT_RECEIVED RESULT FLAGS SENDER RCPT=STATE,RCPT=STATE... FINAL,...
 *	log LEVEL LINE                 warnings and worse, and what is said at the opening
 *	end RESULT MESSAGES QUARANTINED LOST TORN_BYTES
 *
 * RESULT is 0 or a negative errno of the reading. FINAL: the Final-Recipient fields of a bounce. Empty fields are "-". */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "mail/envelope.h"
#include "queue/note.h"
#include "spool/spool.h"
#include "world/linux.h"

#define MESSAGES_MAX 65536

struct found {
	msgid_t id;
	uint64_t size;
	char *envelope, *note;
	size_t envelope_len, note_len;
};

struct check {
	struct world *world;
	struct log log;
	struct spool *spool;
	struct found *found;
	unsigned count;
};

static wall_t no_time(void *context)
{
	return 0;
}

static void log_line(void *context, const char *line, size_t len)
{
	flockfile(stdout); /* the spool's threads write, too */
	(void) printf("log %.*s", (int) len, line);
	funlockfile(stdout);
}

static int keep(const struct spool_found *m, void *context)
{
	struct check *c = context;
	struct found *f = &c->found[c->count];

	if (c->count == MESSAGES_MAX)
		return -E2BIG;
	*f = (struct found) { .id = m->id, .size = m->body_size, .envelope_len = m->envelope.len, .note_len = m->note.len };
	f->envelope = slice_dup(m->envelope);
	f->note = slice_dup(m->note);
	c->count++;
	return f->envelope && f->note ? 0 : -ENOMEM;
}

static void print_hash(const char *data, size_t len)
{
	unsigned char hash[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	(void) EVP_Digest(data, len, hash, &n, EVP_sha256(), NULL);
	for (unsigned i = 0; i < n; i++)
		(void) printf("%02x", hash[i]);
	(void) printf(" ");
}

/* Behind the first field of the header, which the server put there. */
static struct slice without_received(struct slice body)
{
	if (body.len < 9 || memcmp(body.data, "Received:", 9) != 0)
		return body;
	for (size_t i = 0; i + 2 < body.len; i++)
		if (body.data[i] == '\r' && body.data[i + 1] == '\n' && body.data[i + 2] != ' ' && body.data[i + 2] != '\t')
			return slice_skip(body, i + 2);
	return body;
}

static int read_body(struct check *c, const struct found *f, char **ret)
{
	_cleanup_(spool_reader_closep) struct spool_reader *r = NULL;
	_cleanup_(freep) char *body = malloc(f->size + 1);
	int e = spool_reader_open(c->spool, f->id, &r);
	uint64_t at = 0;

	if (!body)
		return -ENOMEM;
	while (e >= 0 && at < f->size) {
		ssize_t n = spool_reader_read(r, at, body + at, f->size - at);

		if (n <= 0)
			e = n < 0 ? (int) n : -EPROTO;
		else
			at += (uint64_t) n;
	}
	if (e < 0)
		return e;
	*ret = TAKE_PTR(body);
	return 0;
}

static void print_recipients(const struct found *f, const struct envelope *e)
{
	static const char *const states[] = { "waiting", "posted", "held", "done" };
	_cleanup_(freep) struct recipient *r = calloc(e->n_recipients + 1, sizeof(*r));

	if (!r || note_decode(slice_new(f->note, f->note_len), 0, r, e->n_recipients) < 0) {
		(void) printf("unreadable-note ");
		return;
	}
	for (unsigned i = 0; i < e->n_recipients; i++) {
		(void) printf("%s%s=%s%s", i > 0 ? "," : "", e->recipients[i].address, states[r[i].state],
			      r[i].flags & RECIPIENT_OWES ? "+owes" : "");
		free(r[i].last);
	}
	(void) printf(" ");
}

static void print_final(struct slice body)
{
	static const char field[] = "Final-Recipient: rfc822; ";
	bool any = false;

	for (const char *at = body.data; (at = memmem(at, (size_t) (body.data + body.len - at), field, strlen(field)));) {
		at += strlen(field);
		(void) printf("%s%.*s", any ? "," : "", (int) strcspn(at, "\r\n"), at);
		any = true;
	}
	(void) printf("%s\n", any ? "" : "-");
}

static void print_message(struct check *c, const struct found *f)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	_cleanup_(freep) char *body = NULL;
	struct envelope e = { 0 };
	char id[MSGID_TEXT];
	struct slice whole;
	int r = read_body(c, f, &body);

	whole = slice_new(body ? body : "", body ? f->size : 0);
	if (body)
		body[f->size] = '\0';
	(void) printf("message %s %llu ", id_format(f->id, id), (unsigned long long) f->size);
	print_hash(whole.data, whole.len);
	print_hash(without_received(whole).data, without_received(whole).len);
	if (r >= 0)
		r = arena_new(4096, &a);
	if (r >= 0)
		r = envelope_unpack(slice_new(f->envelope, f->envelope_len), a, &e);
	(void) printf("%d %u %s ", r, e.flags, e.reverse_path && e.reverse_path[0] ? e.reverse_path : "-");
	if (e.n_recipients > 0)
		print_recipients(f, &e);
	else
		(void) printf("- ");
	print_final(e.flags & ENVELOPE_BOUNCE ? whole : slice_new("", 0));
}

static void examine(struct check *c, const char *path, uint64_t segment_size)
{
	struct spool_config config = { .path = path, .segment_size = segment_size, .reserve = 1 };
	struct spool_recovery recovery = { 0 };
	int r;

	c->count = 0;
	r = spool_open(c->world, &c->log, &config, keep, c, &recovery, &c->spool);
	for (unsigned i = 0; i < c->count; i++) {
		if (r >= 0)
			print_message(c, &c->found[i]);
		free(c->found[i].envelope);
		free(c->found[i].note);
	}
	if (r >= 0)
		spool_close(c->spool);
	(void) printf("end %d %llu %llu %llu %llu\n", r, (unsigned long long) recovery.messages,
		      (unsigned long long) recovery.quarantined, (unsigned long long) recovery.lost_messages,
		      (unsigned long long) recovery.torn_bytes);
	(void) fflush(stdout);
}

int main(void)
{
	struct check c = { .log = { .level = LOG_NOTICE, .now = no_time, .write = log_line } };
	struct linux_options options = { .workers = 2 };
	char line[2048];

	c.found = calloc(MESSAGES_MAX, sizeof(*c.found));
	if (!c.found || world_linux_new(&options, &c.world) < 0)
		return 1;
	while (fgets(line, sizeof(line), stdin)) {
		char *path;
		uint64_t size = strtoull(line, &path, 10);

		line[strcspn(line, "\n")] = '\0';
		examine(&c, path + 1, size);
	}
	world_free(c.world);
	free(c.found);
	return 0;
}
