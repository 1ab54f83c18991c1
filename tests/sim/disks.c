/* The disks, looked at beside the running servers: each is copied into a small universe of its own, where the spool
 * is opened as after a death, and everything that it and the mailboxes hold is read. */
#include "sim/letter.h"
#include "sim/watch.h"

#include "base/hash.h"
#include "queue/note.h"
#include "spool/state.h"
#include "world/file.h"

#define SPOOL "/var/spool/yizhan"
#define BODY_MAX (4u << 20)
#define LOOK_MAX USEC_HOUR /* of the copy's time */

/* A message as the recovery found it. */
struct kept {
	msgid_t id;
	struct buffer envelope, note;
};

/* One disk. */
struct look {
	struct scene *scene;
	struct node *node;
	enum watch_end end;
	uint8_t *covered; /* by letter: bit i: its target i is nowhere lost */
	struct sim_host *host;
	struct world *world;
	struct loop *loop;
	struct spool *spool;
	struct spool_recovery recovery;
	struct kept *kept;
	size_t n_kept;
	char *directory;
	const char *local;
	bool done;
};

static const char *end_name(enum watch_end end)
{
	return end == WATCH_KILL ? "if it were killed now" : "if its power went now";
}

static void cover(struct look *l, const struct letter *letter, const struct addressee *t)
{
	l->covered[letter->number] |= (uint8_t) (1u << (t - letter->targets));
}

static void cover_failures(struct look *l, const struct reading *n)
{
	l->covered[n->letter->number] |= (uint8_t) n->failed;
}

/* --- the spool ------------------------------------------------------------------------------------------ */

static int keep(const struct spool_found *m, void *context)
{
	struct look *l = context;
	struct kept *k;

	l->kept = realloc(l->kept, (l->n_kept + 1) * sizeof(*l->kept));
	assert(l->kept);
	k = &l->kept[l->n_kept++];
	*k = (struct kept) { .id = m->id };
	buffer_append_slice(&k->envelope, m->envelope);
	buffer_append_slice(&k->note, m->note);
	assert(buffer_error(&k->envelope) == 0 && buffer_error(&k->note) == 0);
	return 0;
}

static bool same_entry(const struct entry *a, const struct entry *b)
{
	if (a->size != b->size || a->extents != b->extents || a->commit_segment != b->commit_segment ||
	    a->commit_offset != b->commit_offset || a->commit_length != b->commit_length || a->note_length != b->note_length)
		return false;
	if (a->note_length > 0 && (a->note_segment != b->note_segment || a->note_offset != b->note_offset))
		return false;
	return memcmp(entry_extents(a), entry_extents(b), a->extents * sizeof(struct extent)) == 0;
}

/* The committer writes and applies in one breath, so at any moment at which no fiber is ready what is in the index is
 * on the disk, and nothing else. */
static void compare_index(struct look *l)
{
	struct node *n = l->node;
	const struct index *live = &server_spool(n->server)->index, *made = &l->spool->index;
	uint32_t cursor = 0;
	const struct entry *e;
	char id[MSGID_TEXT];

	scene_check(l->scene, live->len == made->len, "the index of %s has %llu messages, and a recovery of its disk finds %llu", n->name,
		    (unsigned long long) live->len, (unsigned long long) made->len);
	while ((e = index_each(live, &cursor))) {
		const struct entry *other = index_find(made, e->id);

		scene_check(l->scene, other && same_entry(e, other), "the index of %s has message %s %s", n->name, id_format(e->id, id),
			    other ? "at another place than a recovery of its disk" : "and a recovery of its disk has not");
	}
}

/* Which of its recipients are still to be served, or owe their sender a word. */
static void read_recipients(struct look *l, const struct kept *k, const struct envelope *e, const struct reading *r)
{
	struct recipient *recipients = calloc(e->n_recipients, sizeof(*recipients));

	assert(recipients);
	scene_check(l->scene, note_decode(buffer_slice(&k->note), 0, recipients, e->n_recipients) == 0,
		    "the note of a message about letter %u on the disk of %s can't be read", r->letter->number, l->node->name);
	for (unsigned i = 0; i < e->n_recipients; i++) {
		bool open = recipients[i].state != STATE_DONE;
		const struct addressee *t;

		last_reply_unref(recipients[i].last);
		if (r->notification && open)
			cover_failures(l, r);
		if (r->notification)
			continue;
		t = letter_target(r->letter, slice_from(e->recipients[i].address));
		scene_check(l->scene, t, "letter %u on the disk of %s goes to %s, to whom it was not sent", r->letter->number, l->node->name,
			    e->recipients[i].address);
		if (open || (recipients[i].flags & RECIPIENT_OWES_FAILURE))
			cover(l, r->letter, t);
	}
	free(recipients);
}

static int read_body(struct look *l, msgid_t id, struct buffer *ret)
{
	_cleanup_(spool_reader_closep) struct spool_reader *reader = NULL;
	int r = spool_reader_open(l->spool, id, &reader);

	while (r >= 0 && ret->len < spool_reader_size(reader)) {
		struct slice part;

		r = spool_reader_view(reader, ret->len, &part);
		if (r >= 0)
			buffer_append_slice(ret, part);
	}
	return r;
}

static void read_message(struct look *l, const struct kept *k)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	_cleanup_buffer_ struct buffer body = { 0 };
	struct reading reading;
	struct envelope e;
	char where[80], id[MSGID_TEXT];
	int r;

	(void) snprintf(where, sizeof(where), "message %s on the disk of %s", id_format(k->id, id), l->node->name);
	assert(arena_new(0, &arena) == 0);
	r = envelope_unpack(buffer_slice(&k->envelope), arena, &e);
	scene_check(l->scene, r == 0, "%s has no readable envelope: %s", where, strerrorname_np(-r));
	r = read_body(l, k->id, &body);
	scene_check(l->scene, r == 0, "%s can't be read %s: %s", where, end_name(l->end), strerrorname_np(-r));
	letter_read(l->scene, where, buffer_slice(&body), false, &reading);
	read_recipients(l, k, &e, &reading);
}

static bool was_well(const struct look *l, usec_t from)
{
	return !scene_was_troubled(l->scene, TROUBLE_DISK, l->node, from, scene_now(l->scene));
}

static void read_spool(struct look *l)
{
	struct spool_config config = l->node->spool;
	int r;

	config.path = SPOOL;
	config.reserve = 1;
	r = spool_open(l->world, NULL, &config, keep, l, &l->recovery, &l->spool);
	scene_check(l->scene, r == 0, "the spool of %s can't be opened %s: %s", l->node->name, end_name(l->end), strerrorname_np(-r));
	/* A server whose power went while another one was being stopped is seen to be dead only afterwards. */
	if (l->end == WATCH_KILL && l->node->state == NODE_UP && sim_host_is_up(l->node->host) && was_well(l, l->node->up_since))
		compare_index(l);
	scene_check(l->scene, !was_well(l, 0) || (l->recovery.quarantined == 0 && l->recovery.lost_messages == 0),
		    "a start of %s would set %llu records aside and lose %llu messages %s, though its disk keeps what was synced", l->node->name,
		    (unsigned long long) l->recovery.quarantined, (unsigned long long) l->recovery.lost_messages, end_name(l->end));
	for (size_t i = 0; i < l->n_kept; i++)
		read_message(l, &l->kept[i]);
}

/* --- mailboxes -------------------------------------------------------------------------------------------- */

static int read_file(const char *name, void *context)
{
	struct look *l = context;
	_cleanup_(freep) char *path = NULL, *text = NULL;
	struct reading reading;
	struct addressee *t;
	char address[96];
	size_t len;
	int r;

	assert(asprintf(&path, "%s/%s", l->directory, name) > 0);
	r = file_read_all(l->world, path, BODY_MAX, &text, &len);
	scene_check(l->scene, r == 0, "%s can't be read: %s", path, strerrorname_np(-r));
	(void) snprintf(address, sizeof(address), "%s@%s", l->local, l->node->domain);
	letter_read(l->scene, path, slice_new(text, len), true, &reading);
	t = reading.notification ? NULL : letter_target(reading.letter, slice_from(address));
	if (reading.notification)
		cover_failures(l, &reading);
	else if (t)
		cover(l, reading.letter, t);
	return 0;
}

static void read_mailboxes(struct look *l)
{
	static const char *const locals[] = { "alice", "bob", "carol" };

	for (unsigned i = 0; i < ARRAY_LEN(locals); i++) {
		l->local = locals[i];
		assert(asprintf(&l->directory, "/var/mail/%s/%s/new", l->node->domain, l->local) > 0);
		(void) path_list(l->world, l->directory, read_file, l); /* it is not there before the first letter */
		free(TAKE_PTR(l->directory));
	}
}

/* --- all of them --------------------------------------------------------------------------------------------- */

static void look_fiber(void *arg)
{
	struct look *l = arg;

	read_spool(l);
	read_mailboxes(l);
	l->done = true;
}

static void look_begin(struct look *l, struct sim *copy)
{
	sim_host_clone(l->node->host, copy, l->end == WATCH_POWER, &l->host, &l->world);
	sim_host_set_disk_speed(l->host, 1, 1);
	assert(loop_new(l->world, "look", 0, 0, &l->loop) == 0);
	assert(loop_start(l->loop) == 0);
	assert(loop_spawn(l->loop, "look", look_fiber, l) == 0);
}

static void look_end(struct look *l)
{
	spool_close(l->spool);
	loop_stop(l->loop);
	loop_free(l->loop);
	world_free(l->world);
	for (size_t i = 0; i < l->n_kept; i++) {
		buffer_done(&l->kept[i].envelope);
		buffer_done(&l->kept[i].note);
	}
	free(l->kept);
}

static bool all_done(void *context)
{
	const struct look *looks = context;

	for (unsigned i = 0; i < looks[0].scene->n_nodes; i++)
		if (!looks[i].done)
			return false;
	return true;
}

static void judge(struct scene *s, const uint8_t *covered, enum watch_end end)
{
	for (unsigned i = 0; i < s->n_letters; i++) {
		const struct letter *l = s->letters[i];

		for (unsigned k = 0; k < l->n_targets && l->state == LETTER_ACCEPTED; k++) {
			const struct addressee *t = &l->targets[k];

			scene_check(s, t->refused || t->copies > 0 || t->failures > 0 || (covered[i] >> k & 1),
				    "a letter would be lost: %u to %s, accepted at %.6f, is neither delivered nor bounced nor in a queue %s", l->number,
				    t->address, (double) l->accepted_at / 1e6, end == WATCH_KILL ? "as things are" : "if all power went now");
		}
	}
}

void watch_disks(struct scene *s, enum watch_end end)
{
	/* Another universe with its own dice, so that looking changes nothing. */
	struct sim_options options = { .seed = hash_u64(s->seed + scene_now(s)) };
	struct look looks[SCENE_SERVERS];
	uint8_t *covered = calloc(s->n_letters + 1, 1);
	struct sim *copy;

	assert(covered);
	assert(sim_new(&options, &copy) == 0);
	for (unsigned i = 0; i < s->n_nodes; i++) {
		looks[i] = (struct look) { .scene = s, .node = &s->nodes[i], .end = end, .covered = covered };
		look_begin(&looks[i], copy);
	}
	scene_check(s, sim_run_until(copy, all_done, looks, sim_now(copy) + LOOK_MAX), "a recovery of the disks does not come to its end");
	for (unsigned i = 0; i < s->n_nodes; i++)
		look_end(&looks[i]);
	sim_free(copy);
	judge(s, covered, end);
	free(covered);
}
