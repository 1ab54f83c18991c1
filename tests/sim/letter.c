#include "sim/letter.h"

#include "world/file.h"

#define MESSAGE_MAX (4u << 20)
/* From the 250 of a server to the moment at which the record of it is durable on the other side: two ways, the lazy
 * sync, the sync itself; on a slow disk a few of them, since what is under way goes first. */
static usec_t record_time(const struct scene *s)
{
	return 2 * USEC_SEC + 12 * s->slowest_sync;
}

/* --- writing ---------------------------------------------------------------------------------------------- */

struct letter *letter_new(struct scene *s, const struct node *entry, const struct node *home, size_t size)
{
	struct letter *l = calloc(1, sizeof(*l));

	assert_non_null(l);
	s->letters = realloc(s->letters, (s->n_letters + 1) * sizeof(struct letter *));
	assert_non_null(s->letters);
	s->letters[s->n_letters] = l;
	l->number = s->n_letters++;
	l->entry = entry;
	l->home = home;
	(void) snprintf(l->sender, sizeof(l->sender), "alice@%s", home->domain);
	l->size = size;
	return l;
}

void letter_add(struct letter *l, enum target_kind kind, const struct node *node, const char *address)
{
	struct addressee *t = &l->targets[l->n_targets++];

	assert(l->n_targets <= LETTER_RECIPIENTS);
	t->kind = kind;
	t->node = node;
	(void) snprintf(t->address, sizeof(t->address), "%s", address);
}

static uint64_t scramble(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Lines of many lengths, some that begin with a dot, some empty. */
static void write_body(const struct letter *l, struct buffer *out)
{
	uint64_t state = (l->number + 1) * UINT64_C(0x9e3779b97f4a7c15);
	size_t end = out->len + l->size;

	while (out->len < end) {
		uint64_t v = scramble(&state);
		size_t len = v % 4 == 0 ? v / 4 % 200 : v / 4 % 76, n = 0;
		char *line = buffer_reserve(out, len + 3);

		assert(line);
		if (v >> 60 == 0)
			line[n++] = '.';
		while (len-- > 0)
			line[n++] = (char) (' ' + scramble(&state) % 95);
		line[n++] = '\r';
		line[n++] = '\n';
		buffer_commit(out, n);
	}
}

void letter_content(const struct letter *l, struct buffer *out)
{
	buffer_printf(out, "Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nFrom: <%s>\r\nTo: undisclosed-recipients:;\r\n", l->sender);
	buffer_printf(out, "Message-ID: <%u@client.example>\r\nSubject: letter %u\r\n\r\n", l->number, l->number);
	write_body(l, out);
	assert(buffer_error(out) == 0);
}

/* --- reading what arrived ------------------------------------------------------------------------------------ */

static bool starts(struct slice s, const char *prefix)
{
	return s.len >= strlen(prefix) && memcmp(s.data, prefix, strlen(prefix)) == 0;
}

/* The text behind the first line from *rest on that begins so, up to its end; *rest goes on behind it. */
static bool find_line(struct slice *rest, const char *prefix, struct slice *ret)
{
	while (rest->len > 0) {
		struct slice line = slice_cut(*rest, '\n', rest);

		if (starts(line, prefix)) {
			*ret = slice_trim(slice_skip(line, strlen(prefix)));
			return true;
		}
	}
	return false;
}

static struct letter *find_letter(struct scene *s, struct slice text)
{
	struct slice rest = text, value;
	uint64_t number;

	if (!find_line(&rest, "Subject: letter ", &value) || slice_to_u64(value, &number) < 0 || number >= s->n_letters)
		return NULL;
	return s->letters[number];
}

struct addressee *letter_target(struct letter *l, struct slice address)
{
	for (unsigned i = 0; i < l->n_targets; i++)
		if (slice_eq_str(address, l->targets[i].address))
			return &l->targets[i];
	return NULL;
}

static struct slice header_of(struct slice text)
{
	const char *end = text.len > 1 ? memmem(text.data, text.len, "\n\n", 2) : NULL;

	return end ? slice_new(text.data, (size_t) (end + 1 - text.data)) : text;
}

/* The ids in the Received fields, the newest first. */
static void read_hops(struct slice header, struct copy *c)
{
	struct slice rest = header, line;

	while (c->n_hops < COPY_HOPS && find_line(&rest, "\tby ", &line)) {
		const char *id = memmem(line.data, line.len, " id ", 4);

		if (!id)
			continue;
		id += 4;
		slice_copy(slice_head(slice_new(id, (size_t) (line.data + line.len - id)), MSGID_TEXT - 1), c->ids[c->n_hops],
			   MSGID_TEXT);
		c->n_hops++;
	}
}

/* Each recipient that it names counts. */
static void read_notification(struct scene *s, const char *where, struct slice text, struct reading *ret)
{
	struct letter *l = find_letter(s, text);
	struct slice rest = text, final, action;

	scene_check(s, l, "%s is a notification about nothing:\n%.*s", where, SLICE_ARG(text));
	ret->letter = l;
	ret->notification = true;
	while (find_line(&rest, "Final-Recipient: rfc822;", &final)) {
		struct addressee *t = letter_target(l, final);

		scene_check(s, t, "%s, about letter %u, names %.*s", where, l->number, SLICE_ARG(final));
		scene_check(s, find_line(&rest, "Action: ", &action), "%s, about letter %u, has no action", where, l->number);
		if (slice_eq_str(action, "failed"))
			ret->failed |= 1u << (t - l->targets);
		else if (slice_eq_str(action, "delayed"))
			ret->delayed |= 1u << (t - l->targets);
	}
}

static void notification_arrived(struct scene *s, const char *address, const struct reading *n)
{
	struct letter *l = n->letter;

	scene_check(s, strcmp(l->sender, address) == 0, "a notification about letter %u came to %s", l->number, address);
	for (unsigned i = 0; i < l->n_targets; i++) {
		l->targets[i].failures += n->failed >> i & 1;
		l->targets[i].delays += n->delayed >> i & 1;
	}
}

static void note_copy(struct scene *s, struct letter *l, struct addressee *t, struct slice header, bool at_remote, usec_t at, usec_t told)
{
	struct copy *c;

	s->copies = realloc(s->copies, (s->n_copies + 1) * sizeof(*s->copies));
	assert_non_null(s->copies);
	c = &s->copies[s->n_copies++];
	*c = (struct copy) { .letter = l, .target = (unsigned) (t - l->targets), .at_remote = at_remote, .at = at, .told = told };
	read_hops(header, c);
	t->copies++;
}

static void drop_crs(struct buffer *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->len; i++)
		if (b->data[i] != '\r')
			b->data[n++] = b->data[i];
	b->len = n;
}

/* Six times a seed all disks are read, and each time each copy is compared: half of the time of a simulation went into
 * making these octets anew. */
static struct slice plain_content(struct letter *l)
{
	if (!l->plain.data) {
		letter_content(l, &l->plain);
		drop_crs(&l->plain);
	}
	return buffer_slice(&l->plain);
}

/* Servers put fields in front; from there on every octet is as it was sent. */
static void check_content(struct scene *s, struct letter *l, struct slice text)
{
	struct slice sent = plain_content(l);
	const char *begin = memmem(text.data, text.len, "Date: Thu, 1 Jan 2026 00:00:00 +0000\n", 37);
	struct slice came = begin ? slice_skip(text, (size_t) (begin - text.data)) : SLICE_NULL;
	size_t same = 0;

	if (slice_eq(came, sent))
		return;
	while (same < MIN(came.len, sent.len) && came.data[same] == sent.data[same])
		same++;
	scene_fail(s, "letter %u came altered: %zu of %zu octets, of which %zu are as they were sent\n...%.*s\nand then:\n%.*s\nnot:\n%.*s",
			   l->number, came.len, sent.len, same, SLICE_ARG(slice_skip(slice_head(came, same), same > 60 ? same - 60 : 0)),
			   SLICE_ARG(slice_head(slice_skip(came, same), 100)), SLICE_ARG(slice_head(slice_skip(sent, same), 100)));
}

/* Its lines end with LF alone. */
static void read_plain(struct scene *s, const char *where, struct slice text, struct reading *ret)
{
	struct slice header = header_of(text);

	*ret = (struct reading) { .letter = NULL };
	if (memmem(header.data, header.len, "multipart/report", strlen("multipart/report"))) {
		read_notification(s, where, text, ret);
		return;
	}
	ret->letter = find_letter(s, header);
	scene_check(s, ret->letter, "%s is something that nobody sent:\n%.*s", where, SLICE_ARG(slice_head(text, 3000)));
	check_content(s, ret->letter, text);
}

static void make_plain(struct slice text, bool lf, struct buffer *ret)
{
	buffer_append_slice(ret, text);
	assert(buffer_error(ret) == 0);
	if (!lf)
		drop_crs(ret);
}

void letter_read(struct scene *s, const char *where, struct slice text, bool lf, struct reading *ret)
{
	_cleanup_buffer_ struct buffer plain = { 0 };

	make_plain(text, lf, &plain);
	read_plain(s, where, buffer_slice(&plain), ret);
}

void letter_arrived(struct scene *s, const char *address, struct slice text, bool lf, bool at_remote, usec_t at, usec_t told)
{
	_cleanup_buffer_ struct buffer plain = { 0 };
	struct reading reading;
	struct addressee *t;
	char where[100];

	make_plain(text, lf, &plain);
	(void) snprintf(where, sizeof(where), "what came to %s", address);
	read_plain(s, where, buffer_slice(&plain), &reading);
	if (reading.notification) {
		notification_arrived(s, address, &reading);
		return;
	}
	t = letter_target(reading.letter, slice_from(address));
	scene_check(s, t, "letter %u came to %s, to whom it was not sent", reading.letter->number, address);
	note_copy(s, reading.letter, t, header_of(buffer_slice(&plain)), at_remote, at, told);
}

/* --- mailboxes ------------------------------------------------------------------------------------------------ */

struct walk {
	struct scene *scene;
	struct node *node;
	const char *local;
	const char *directory;
};

/* The name of the file begins with the time: seconds.Mmicroseconds. */
static usec_t time_of_name(const struct scene *s, const char *name)
{
	long long seconds;
	unsigned micros;

	if (sscanf(name, "%lld.M%6u", &seconds, &micros) != 2)
		return 0;
	return (usec_t) (seconds * (long long) USEC_SEC + micros - s->wall_offset);
}

static int read_file(const char *name, void *context)
{
	struct walk *w = context;
	_cleanup_(freep) char *path = NULL, *text = NULL;
	char address[96];
	size_t len;
	usec_t at;
	int r;

	assert(asprintf(&path, "%s/%s", w->directory, name) > 0);
	r = file_read_all(w->node->world, path, MESSAGE_MAX, &text, &len);
	scene_check(w->scene, r == 0, "%s can't be read: %s", path, strerrorname_np(-r));
	(void) snprintf(address, sizeof(address), "%s@%s", w->local, w->node->domain);
	at = time_of_name(w->scene, name);
	letter_arrived(w->scene, address, slice_new(text, len), true, false, at, at);
	return 0;
}

static void read_mailbox(struct scene *s, struct node *n, const char *local)
{
	_cleanup_(freep) char *directory = NULL;
	struct walk w = { .scene = s, .node = n, .local = local };

	assert(asprintf(&directory, "/var/mail/%s/%s/new", n->domain, local) > 0);
	w.directory = directory;
	(void) path_list(n->world, directory, read_file, &w); /* it is not there before the first letter */
}

void letters_collect(struct scene *s)
{
	static const char *const locals[] = { "alice", "bob", "carol" };

	for (unsigned i = 0; i < s->n_nodes; i++)
		for (unsigned k = 0; k < ARRAY_LEN(locals) && s->nodes[i].world; k++)
			read_mailbox(s, &s->nodes[i], locals[k]);
}

/* --- judging -------------------------------------------------------------------------------------------------- */

static usec_t time_of_id(const struct scene *s, const char *text)
{
	msgid_t id;

	if (id_parse(slice_from(text), &id) < 0)
		return 0;
	return (usec_t) (id_time(id) - s->wall_offset);
}

/* Two copies under one id in the last server: it delivered twice itself, because it died, or its disk failed, between
 * the delivery and the record of it. */
static void judge_local_pair(struct scene *s, const struct copy *first, struct tally *tally)
{
	const struct node *n = first->letter->targets[first->target].node;
	usec_t from = first->at - MIN(first->at, record_time(s)), until = first->told + record_time(s);

	if (scene_was_troubled(s, TROUBLE_DEATH, n, from, until))
		tally->twice_by_death++;
	else if (scene_was_troubled(s, TROUBLE_DISK, n, 0, until))
		tally->twice_by_disk++;
	else
		scene_fail(s, "letter %u was put twice into the mailbox %s: at %.6f under id %s, and nothing had happened to the server",
			   first->letter->number, first->letter->targets[first->target].address, (double) first->at / 1e6, first->ids[0]);
}

static usec_t time_of_taking(const struct scene *s, const struct copy *c)
{
	return c->n_hops > 0 && !c->at_remote ? time_of_id(s, c->ids[0]) : c->at;
}

/* The copy that was taken first may be the second to arrive: its server died before it could say that it has it.
 *
 * Under two: the server before sent it twice, because it died, or the connection did, or the disk failed, between the
 * other's commit and the record of its reply. Or the other's disk failed at the commit, so that it said no, and for long
 * enough that it could not write down that this commit is void: its next start finds the message (spool/spool.h). */
static void judge_sent_pair(struct scene *s, const struct copy *first, const struct copy *second, struct tally *tally)
{
	const struct letter *l = first->letter;
	const struct node *to = l->targets[first->target].node;
	usec_t from = MIN(time_of_taking(s, first), time_of_taking(s, second));
	usec_t until = first->told + record_time(s);

	from -= MIN(from, record_time(s));
	if (scene_was_troubled(s, TROUBLE_NETWORK, l->entry, from, until))
		tally->twice_by_network++;
	else if (scene_was_troubled(s, TROUBLE_DEATH, l->entry, from, until) || (to && scene_was_troubled(s, TROUBLE_DEATH, to, from, until)))
		tally->twice_by_death++;
	else if (scene_was_troubled(s, TROUBLE_DISK, l->entry, 0, until) || (to && scene_was_troubled(s, TROUBLE_DISK, to, 0, until)))
		tally->twice_by_disk++;
	else if (first->at_remote && l->unsure > 0)
		tally->twice_at_remote++;
	else
		scene_fail(s, "letter %u was sent twice to %s: at %.6f under id %s, and nothing had happened on the way", l->number,
			   l->targets[first->target].address, (double) first->at / 1e6, first->ids[0]);
}

/* The copies before this one for the same recipient, and what parted it from them. */
static void judge_copy(struct scene *s, unsigned index, struct tally *tally)
{
	const struct copy *c = &s->copies[index], *before = NULL;

	for (unsigned i = index; i-- > 0;) {
		const struct copy *b = &s->copies[i];

		if (b->letter != c->letter || b->target != c->target)
			break;
		scene_check(s, b->n_hops > 0 && c->n_hops > 0 && strcmp(b->ids[b->n_hops - 1], c->ids[c->n_hops - 1]) == 0,
			    "letter %u got two ids at its first server", c->letter->number);
		if (!c->at_remote && strcmp(b->ids[0], c->ids[0]) == 0) {
			judge_local_pair(s, b, tally);
			return;
		}
		before = before ? before : b;
	}
	if (before)
		judge_sent_pair(s, before, c, tally);
}

static int compare_copies(const void *a, const void *b)
{
	const struct copy *x = a, *y = b;

	if (x->letter != y->letter)
		return x->letter->number < y->letter->number ? -1 : 1;
	if (x->target != y->target)
		return x->target < y->target ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

static void judge_duplicates(struct scene *s, struct tally *tally)
{
	if (s->n_copies > 0)
		qsort(s->copies, s->n_copies, sizeof(*s->copies), compare_copies);
	for (unsigned i = 1; i < s->n_copies; i++)
		judge_copy(s, i, tally);
}

static void judge_target(struct scene *s, const struct letter *l, const struct addressee *t, struct tally *tally)
{
	bool arrived = t->copies > 0;

	tally->copies += t->copies;
	tally->failures += t->failures;
	if (t->kind == TARGET_NOBODY)
		scene_check(s, !arrived, "letter %u was put into the mailbox of %s, who does not exist", l->number, t->address);
	if (l->state == LETTER_IN_DOUBT && arrived)
		tally->doubtful_arrived++;
	if (l->state == LETTER_NEW || t->refused) {
		scene_check(s, !arrived && t->failures == 0, "letter %u was not handed over, and it came to %s", l->number, t->address);
	} else if (l->state == LETTER_REFUSED) {
		/* After a failed sync it is refused, and a crash may bring it back all the same. */
		scene_check(s, (!arrived && t->failures == 0) || scene_was_troubled(s, TROUBLE_DISK, l->entry, 0, DEADLINE_NEVER),
			    "letter %u was refused, and it came to %s", l->number, t->address);
	} else if (l->state == LETTER_ACCEPTED) {
		scene_check(s, arrived || t->failures > 0, "letter %u to %s, accepted at %.6f, is lost", l->number, t->address,
			    (double) l->accepted_at / 1e6);
	}
	if (t->kind == TARGET_MAILBOX)
		scene_check(s, t->failures == 0, "the sender of letter %u was told that %s can't be reached", l->number, t->address);
}

void letters_judge(struct scene *s, struct tally *tally)
{
	for (unsigned i = 0; i < s->n_letters; i++) {
		const struct letter *l = s->letters[i];

		switch (l->state) {
		case LETTER_NEW:
			tally->not_sent++;
			break;
		case LETTER_IN_DOUBT:
			tally->in_doubt++;
			break;
		case LETTER_REFUSED:
			tally->refused++;
			break;
		case LETTER_ACCEPTED:
			tally->accepted++;
			break;
		}
		for (unsigned k = 0; k < l->n_targets; k++)
			judge_target(s, l, &l->targets[k], tally);
	}
	judge_duplicates(s, tally);
}

void letters_free(struct scene *s)
{
	for (unsigned i = 0; i < s->n_letters; i++) {
		buffer_done(&s->letters[i]->plain);
		free(s->letters[i]);
	}
	free(s->letters);
	free(s->copies);
}

void tally_print(const struct tally *t, const char *what, unsigned seeds)
{
	printf("# %s: %u seeds; letters: %u accepted, %u refused, %u in doubt (%u of their copies arrived), %u not sent\n", what, seeds,
	       t->accepted, t->refused, t->in_doubt, t->doubtful_arrived, t->not_sent);
	printf("# %u copies and %u bounces arrived; twice: %u by the network, %u by a death, %u by a disk, %u by a remote\n", t->copies,
	       t->failures, t->twice_by_network, t->twice_by_death, t->twice_by_disk, t->twice_at_remote);
}
