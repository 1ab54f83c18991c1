/* Reading the log at start: which segments are there, one walk through each, what is damaged is set aside, and the
 * living are told to the caller. Nothing on the disk is changed before all headers were found to be of our format. */
#include "spool/recovery.h"

#include <stdio.h>
#include <stdlib.h>

/* --- which files are there -------------------------------------------------------------------- */

/* PREFIX, eight hex digits, ".log". */
static bool parse_name(const char *name, const char *prefix, uint32_t *ret)
{
	size_t n = strlen(prefix);
	uint32_t number = 0;

	if (strncmp(name, prefix, n) != 0 || strlen(name) != n + 12 || strcmp(name + n + 8, ".log") != 0)
		return false;
	for (size_t i = n; i < n + 8; i++) {
		char c = name[i];

		if (!ascii_is_digit(c) && (c < 'a' || c > 'f'))
			return false;
		number = number << 4 | (uint32_t) (c <= '9' ? c - '0' : c - 'a' + 10);
	}
	*ret = number;
	return true;
}

static int found_file(const char *name, void *context)
{
	struct spool *s = context;
	struct segments *t = &s->segments;
	struct segment *g;
	uint32_t number;
	int r;

	if (parse_name(name, "", &number)) {
		r = segments_add(t, number, &g);
		if (r < 0)
			return r;
		g->state = SEGMENT_SEALED;
	} else if (parse_name(name, "free-", &number)) {
		if (t->free_count < SPOOL_SPARE_MAX)
			t->free_files[t->free_count++] = number;
	} else
		return 0;
	/* Numbers of recycled files count, too: what they hold must not become valid again. */
	if (number < UINT32_MAX)
		t->next_number = MAX(t->next_number, number + 1);
	return 0;
}

static int load_header(struct spool *s, struct segment *g, struct segment_header *ret)
{
	_cleanup_(freep) unsigned char *bytes = calloc(1, SEGMENT_START);
	struct file *f;
	ssize_t n;
	int r;

	if (!bytes)
		return -ENOMEM;
	r = segment_open(s, g, &f);
	if (r < 0)
		return r;
	n = file_pread(f, bytes, SEGMENT_START, 0);
	if (n < 0 && n != -EIO)
		return (int) n;
	r = segment_header_decode(bytes, SEGMENT_START, ret);
	return r >= 0 && ret->number != g->number ? -EBADMSG : r;
}

static void take_header(struct spool *s, struct segment *g, const struct segment_header *h)
{
	g->key = segment_key_derive(&h->secret, g->number);
	s->secret = h->secret; /* all have the same; the newest one's counts */
	for (unsigned i = 0; i < h->cut_count; i++) {
		struct segment *failed = segments_find(&s->segments, h->cuts[i].segment);

		if (!failed)
			continue;
		failed->cut = failed->failed ? MIN(failed->cut, h->cuts[i].offset) : h->cuts[i].offset;
		failed->failed = true;
	}
}

/* The headers of all segments. Those without a valid one are marked damaged and get the secret of the others. */
static int load_headers(struct spool *s, unsigned *ret_good)
{
	_cleanup_(freep) struct segment_header *h = malloc(sizeof(*h));
	unsigned good = 0;

	if (!h)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->segments.count; i++) {
		struct segment *g = s->segments.list[i];
		int r = load_header(s, g, h);

		if (r == -EPROTONOSUPPORT)
			LOG(s->log, LOG_CRITICAL, "the spool was written by a newer version of this program; nothing was touched",
			    F_STR("spool", s->path), F_UINT("segment", g->number));
		if (r < 0 && r != -EBADMSG)
			return r;
		if (r < 0) {
			g->damaged = true;
			continue;
		}
		take_header(s, g, h);
		good++;
	}
	for (uint32_t i = 0; i < s->segments.count; i++)
		if (s->segments.list[i]->damaged)
			s->segments.list[i]->key = segment_key_derive(&s->secret, s->segments.list[i]->number);
	*ret_good = good;
	return 0;
}

/* No header at all is left, so nothing can be read: all files as they are go to the quarantine. */
static int set_all_aside(struct spool *s, struct spool_recovery *stats)
{
	uint32_t next = s->segments.next_number;

	for (uint32_t i = 0; i < s->segments.count; i++) {
		int r = quarantine_segment(s, s->segments.list[i]->number);

		if (r < 0)
			return r;
		stats->quarantined++;
		LOG(s->log, LOG_CRITICAL, "a segment of the spool has no valid header and was set aside as a whole",
		    F_STR("spool", s->path), F_UINT("segment", s->segments.list[i]->number));
	}
	segments_done(&s->segments);
	s->segments.next_number = next;
	return 0;
}

/* --- one segment ------------------------------------------------------------------------------ */

static ssize_t read_file(void *file, void *data, size_t len, uint64_t offset)
{
	return file_pread(file, data, len, offset);
}

static int keep_gap(struct recovery *v, const struct walk_item *item)
{
	if (v->gap_count == v->gap_capacity) {
		uint32_t capacity = v->gap_capacity ? 2 * v->gap_capacity : 16;
		struct gap *grown = reallocarray(v->gaps, capacity, sizeof(struct gap));

		if (!grown)
			return -ENOMEM;
		v->gaps = grown;
		v->gap_capacity = capacity;
	}
	v->gaps[v->gap_count++] = (struct gap) {
		.offset = item->offset,
		.length = item->length,
		.has_record = item->kind == WALK_DAMAGED,
		.record = item->record,
	};
	return 0;
}

static int set_gap_aside(struct recovery *v, struct segment *g, struct file *f, const struct gap *gap)
{
	struct spool *s = v->spool;
	int r = quarantine_bytes(s, g, f, gap->offset, gap->length);

	if (r < 0)
		return r;
	v->stats->quarantined++;
	g->damaged = true;
	LOG(s->log, LOG_CRITICAL,
	    r > 0 ? "a record of the spool is damaged and was set aside in its quarantine directory"
		  : "a record of the spool is damaged; it was set aside at an earlier start",
	    F_STR("spool", s->path), F_UINT("segment", g->number), F_UINT("offset", gap->offset),
	    F_UINT("length", gap->length), F_UINT("record_type", gap->has_record ? gap->record.type : 0),
	    F_ID("id", gap->has_record ? gap->record.id : MSGID_NONE));
	if (gap->has_record && gap->record.type == RECORD_COMMIT && !index_find(&s->index, gap->record.id))
		return replay_lost(v, g, gap->record.id, gap->offset, gap->length, true);
	return 0;
}

/* What stands behind the last record: nothing, what a recycled file had before, or a record cut off by a crash. */
static uint32_t torn_tail(struct segment *g, struct file *f, uint32_t offset, uint64_t size)
{
	unsigned char head[RECORD_HEADER] = { 0 };
	ssize_t n = size > offset ? file_pread(f, head, sizeof(head), offset) : 0;
	bool any = false;

	if (n <= 0)
		return 0;
	for (ssize_t i = 0; i < n; i++)
		any |= head[i] != 0;
	if (!any || (n >= 4 && !record_has_magic(head, g->key)))
		return 0;
	return (uint32_t) (size - offset);
}

/* Damage at or behind `durable` is what a crash leaves of writes that nobody was told of. */
static int judge_gaps(struct recovery *v, struct segment *g, struct file *f, uint32_t durable, uint64_t size)
{
	struct spool *s = v->spool;
	uint64_t torn = 0;

	for (uint32_t i = 0; i < v->gap_count; i++) {
		int r;

		if (v->gaps[i].offset >= durable) {
			torn += v->gaps[i].length;
			continue;
		}
		r = set_gap_aside(v, g, f, &v->gaps[i]);
		if (r < 0)
			return r;
		g->used = MAX(g->used, v->gaps[i].offset + v->gaps[i].length);
	}
	replay_forget_torn(v, g, durable);
	if (g->used < durable) {
		/* The end of what was synced is unreadable, and nothing valid follows it. */
		int r = set_gap_aside(v, g, f, &(struct gap) { .offset = g->used, .length = durable - g->used });

		if (r < 0)
			return r;
	} else
		torn += torn_tail(g, f, g->used, size);
	v->stats->torn_bytes += torn;
	if (torn > 0)
		LOG(s->log, LOG_NOTICE, "the end of the log was torn by a crash; writes that were not synced are ignored",
		    F_STR("spool", s->path), F_UINT("segment", g->number), F_UINT("from", durable),
		    F_UINT("bytes", torn));
	return 0;
}

/* Makes what was found durable (it may be in the page cache only) and gives back what was reserved behind it. */
static void close_tail(struct spool *s, struct segment *g, struct file *f)
{
	int r = file_truncate(f, g->used);

	if (r >= 0)
		r = file_sync(f);
	if (r < 0) {
		LOG(s->log, LOG_ERROR, "the disk failed under a segment of the spool; its messages are moved to another",
		    F_STR("spool", s->path), F_UINT("segment", g->number), F_ERRNO("error", r));
		g->damaged = true;
	}
}

static int walk_segment(struct recovery *v, struct segment *g, struct file *f, uint64_t size)
{
	struct walk_source source = { .read = read_file, .context = f, .size = g->failed ? MIN(g->cut, size) : size };
	uint32_t durable = 0;
	struct walk_item item;
	bool sealed = false;
	struct walk walk;
	int r;

	v->gap_count = 0;
	walk_init(&walk, &source, g->key);
	while ((r = walk_next(&walk, &item)) > 0) {
		if (item.kind == WALK_TAIL)
			continue;
		if (item.kind != WALK_GAP)
			durable = MAX(durable, item.record.durable);
		r = item.kind == WALK_RECORD ? replay_record(v, g, &item) : keep_gap(v, &item);
		if (r < 0)
			break;
		if (item.kind == WALK_RECORD) {
			g->used = item.offset + item.length;
			sealed = item.record.type == RECORD_SEAL;
		}
	}
	if (r >= 0 && walk.unreadable > 0)
		LOG(v->spool->log, LOG_CRITICAL, "the disk can't read a part of the spool", F_STR("spool", v->spool->path),
		    F_UINT("segment", g->number), F_UINT("bytes", walk.unreadable));
	walk_done(&walk);
	if (r < 0)
		return r;
	if (g->failed)
		durable = g->cut;
	r = judge_gaps(v, g, f, MIN(durable, (uint32_t) MIN(size, (uint64_t) SEGMENT_MAX_SIZE)), size);
	if (r >= 0 && !sealed)
		close_tail(v->spool, g, f);
	g->durable = g->used;
	g->on_disk = MAX(size, (uint64_t) g->used);
	v->spool->segments.bytes_on_disk += g->on_disk;
	return r;
}

static int read_segment(struct recovery *v, struct segment *g)
{
	struct spool *s = v->spool;
	uint64_t size;
	struct file *f;
	int r;

	spool_lock(s);
	segment_use(s, g);
	spool_unlock(s);
	r = segment_open(s, g, &f);
	if (r >= 0)
		r = file_size(f, &size);
	if (r >= 0 && g->damaged)
		LOG(s->log, LOG_CRITICAL, "a segment of the spool has no valid header; it is read with what the others say",
		    F_STR("spool", s->path), F_UINT("segment", g->number));
	if (r >= 0)
		r = walk_segment(v, g, f, size);
	segment_unuse(s, g);
	return r;
}

/* --- what was found --------------------------------------------------------------------------- */

static int report_lost(struct recovery *v)
{
	struct spool *s = v->spool;

	for (struct hash_node *n = hash_walk(&v->lost, NULL); n; n = hash_walk(&v->lost, n)) {
		struct lost_message *l = container_of(n, struct lost_message, node);
		struct segment *g = segments_find(&s->segments, l->segment);
		int r = l->no_commit ? 0 : quarantine_message(s, g, l->offset, l->length);

		if (r == -ENOMEM)
			return r;
		v->stats->lost_messages++;
		g->damaged = true;
		LOG(s->log, LOG_CRITICAL, "a message is lost: a part of it is damaged; what is left is in the quarantine directory",
		    F_STR("spool", s->path), F_ID("id", l->id), F_UINT("segment", l->segment),
		    F_UINT("offset", l->offset), F_ERRNO("error", r));
	}
	return 0;
}

static int by_commit(const void *a, const void *b)
{
	const struct entry *x = *(struct entry *const *) a, *y = *(struct entry *const *) b;

	if (x->commit_segment != y->commit_segment)
		return x->commit_segment < y->commit_segment ? -1 : 1;
	return x->commit_offset < y->commit_offset ? -1 : x->commit_offset > y->commit_offset;
}

static int tell(struct spool *s, const struct entry *e, int (*found)(const struct spool_found *m, void *context),
		void *context, struct spool_recovery *stats)
{
	_cleanup_(freep) unsigned char *commit = NULL, *note = NULL;
	struct spool_found m = { .id = e->id, .body_size = e->size };
	struct record record, note_record;
	struct slice payload;
	int r;

	r = read_record(s, segments_find(&s->segments, e->commit_segment), e->commit_offset, e->commit_length, &record,
			&commit);
	if (r >= 0 && e->note_length > 0)
		r = read_record(s, segments_find(&s->segments, e->note_segment), e->note_offset, e->note_length,
				&note_record, &note);
	/* That we lack something at the moment says nothing about the message: there is no start without it. */
	if (r < 0 && r != -EBADMSG && r != -EIO)
		return r;
	if (r < 0) {
		LOG(s->log, LOG_CRITICAL, "a message in the spool cannot be read any more", F_ID("id", e->id),
		    F_UINT("segment", e->commit_segment), F_UINT("offset", e->commit_offset), F_ERRNO("error", r));
		stats->lost_messages++;
		return 0;
	}
	payload = slice_new((const char *) commit + RECORD_HEADER + record.extents * RECORD_EXTENT, record.length);
	m.envelope = slice_skip(payload, record.note_length);
	m.note = note ? slice_new((const char *) note + RECORD_HEADER, note_record.length)
		      : slice_head(payload, record.note_length);
	return found(&m, context);
}

static int tell_all(struct spool *s, int (*found)(const struct spool_found *m, void *context), void *context,
		    struct spool_recovery *stats)
{
	_cleanup_(freep) struct entry **list = NULL;
	uint32_t cursor = 0;
	size_t n = 0;

	stats->messages = s->index.len;
	if (s->index.len == 0)
		return 0;
	list = reallocarray(NULL, s->index.len, sizeof(struct entry *));
	if (!list)
		return -ENOMEM;
	for (struct entry *e; (e = index_each(&s->index, &cursor));) {
		list[n++] = e;
		stats->bytes += e->size;
	}
	qsort(list, n, sizeof(struct entry *), by_commit);
	for (size_t i = 0; found && i < n; i++) {
		int r = tell(s, list[i], found, context, stats);

		if (r < 0)
			return r;
	}
	return 0;
}

static int read_all(struct recovery *v)
{
	struct spool *s = v->spool;

	for (uint32_t i = 0; i < s->segments.count; i++) {
		int r = read_segment(v, s->segments.list[i]);

		if (r < 0)
			return r;
	}
	return report_lost(v);
}

int recover(struct spool *s, int (*found)(const struct spool_found *m, void *context), void *context,
	    struct spool_recovery *stats)
{
	struct recovery v = { .spool = s, .stats = stats };
	unsigned good = 0;
	int r;

	s->segments.next_number = 1;
	r = path_list(s->world, s->path, found_file, s);
	if (r >= 0)
		r = load_headers(s, &good);
	if (r < 0)
		return r;
	s->segments.bytes_on_disk = s->segments.free_count * s->config.segment_size;
	if (good == 0) {
		world_random(s->world, &s->secret, sizeof(s->secret));
		r = s->segments.count > 0 ? set_all_aside(s, stats) : 0;
	}
	stats->segments = s->segments.count;
	if (r >= 0)
		r = read_all(&v);
	replay_done(&v);
	return r < 0 ? r : tell_all(s, found, context, stats);
}
