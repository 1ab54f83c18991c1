/* A disk: inodes and names as running programs see them, and as a power cut would leave them.
 *
 * A file has one content, the newest, and a list of writes since the last sync, each of which remembers what
 * it replaced. A crash takes all of them back, newest first, and then does again those that had reached the
 * platter. A directory has its names twice, live and durable; changes that were not synced wait in one list
 * for the whole disk, in order, so that a rename is one change, however many directories it touches. */
#include <stdlib.h>
#include <string.h>

#include "world/sim_impl.h"

#define BLOCK 4096u
#define SECTOR 512u
#define CHANGES_MAX 4096u /* then the older half becomes durable, as a journal does by and by */

/* --- names ---------------------------------------------------------------------------------------- */

/* Where name is, or would be put. */
static size_t names_place(const struct sim_names *n, const char *name, bool *ret_found)
{
	size_t low = 0, high = n->len;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int c = strcmp(n->list[middle].name, name);

		if (c == 0) {
			*ret_found = true;
			return middle;
		}
		if (c < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_found = false;
	return low;
}

struct sim_inode *sim_names_find(const struct sim_names *n, const char *name)
{
	bool found;
	size_t i = names_place(n, name, &found);

	return found ? n->list[i].inode : NULL;
}

/* Takes a reference to inode. Returns the one it replaced, whose reference is the caller's now, or NULL. */
static struct sim_inode *names_set(struct sim_names *n, const char *name, struct sim_inode *inode)
{
	bool found;
	size_t i = names_place(n, name, &found);
	struct sim_inode *old;

	inode->refs++;
	if (found) {
		old = n->list[i].inode;
		n->list[i].inode = inode;
		return old;
	}
	if (n->len == n->capacity) {
		n->capacity = n->capacity ? 2 * n->capacity : 8;
		n->list = sim_realloc(n->list, n->capacity * sizeof(*n->list));
	}
	memmove(n->list + i + 1, n->list + i, (n->len - i) * sizeof(*n->list));
	n->list[i] = (struct sim_name) { .name = sim_strdup(name), .inode = inode };
	n->len++;
	return NULL;
}

/* Returns what it was, whose reference is the caller's now, or NULL. */
static struct sim_inode *names_remove(struct sim_names *n, const char *name)
{
	bool found;
	size_t i = names_place(n, name, &found);
	struct sim_inode *old;

	if (!found)
		return NULL;
	old = n->list[i].inode;
	free(n->list[i].name);
	n->len--;
	memmove(n->list + i, n->list + i + 1, (n->len - i) * sizeof(*n->list));
	return old;
}

static void names_clear(struct sim_disk *d, struct sim_names *n)
{
	for (size_t i = 0; i < n->len; i++) {
		free(n->list[i].name);
		sim_inode_unref(d, n->list[i].inode);
	}
	free(n->list);
	*n = (struct sim_names) { 0 };
}

/* --- inodes --------------------------------------------------------------------------------------- */

static uint64_t inode_space(const struct sim_inode *i, uint64_t size)
{
	uint64_t bytes = MAX(size, i->allocated);

	if (i->directory)
		return BLOCK;
	return (bytes + BLOCK - 1) / BLOCK * BLOCK;
}

void sim_inode_charge(struct sim_disk *d, struct sim_inode *i)
{
	uint64_t space = i->links > 0 || i->handles > 0 ? inode_space(i, i->size) : 0;

	d->used = d->used - i->charged + space;
	i->charged = space;
}

bool sim_disk_full(const struct sim_disk *d)
{
	return d->capacity > 0 && d->used + BLOCK > d->capacity;
}

/* How large it may become. */
static uint64_t largest_size(const struct sim_disk *d, const struct sim_inode *i)
{
	uint64_t left = d->capacity > d->used ? (d->capacity - d->used) / BLOCK * BLOCK : 0;

	return d->capacity > 0 ? MAX(i->charged, inode_space(i, i->size)) + left : UINT64_MAX;
}

struct sim_inode *sim_inode_new(struct sim_disk *d, bool directory, unsigned mode, wall_t when)
{
	struct sim_inode *i = sim_zalloc(sizeof(*i));

	i->refs = 1;
	i->directory = directory;
	i->mode = mode & 07777;
	i->modified = when;
	list_init(&i->writes);
	list_append(&d->inodes, &i->link);
	return i;
}

static void write_free(struct sim_write *w)
{
	link_remove(&w->link);
	free(w->bytes);
	free(w);
}

static void writes_clear(struct sim_inode *i)
{
	while (!list_empty(&i->writes))
		write_free(container_of(list_first(&i->writes), struct sim_write, link));
}

void sim_inode_unref(struct sim_disk *d, struct sim_inode *i)
{
	assert(i->refs > 0);
	if (--i->refs > 0)
		return;
	d->used -= i->charged;
	names_clear(d, &i->live);
	names_clear(d, &i->durable);
	writes_clear(i);
	link_remove(&i->link);
	free(i->data);
	free(i);
}

bool sim_inode_contains(const struct sim_inode *dir, const struct sim_inode *below)
{
	if (dir == below)
		return true;
	for (size_t i = 0; i < dir->live.len; i++)
		if (dir->live.list[i].inode->directory && sim_inode_contains(dir->live.list[i].inode, below))
			return true;
	return false;
}

/* --- the content of a file ------------------------------------------------------------------------ */

static void set_size(struct sim_inode *i, uint64_t size)
{
	if (size > i->capacity) {
		i->capacity = MAX(size, MIN(2 * i->capacity, i->capacity + (UINT64_C(16) << 20)));
		i->data = sim_realloc(i->data, i->capacity);
	}
	if (size > i->size)
		memset(i->data + i->size, 0, size - i->size);
	i->size = size;
}

static void put(struct sim_inode *i, uint64_t offset, const void *data, size_t len)
{
	if (len == 0)
		return;
	if (offset + len > i->size)
		set_size(i, offset + len);
	memcpy(i->data + offset, data, len);
}

static struct sim_write *write_note(struct sim_disk *d, struct sim_inode *i, uint64_t offset, size_t n_bytes)
{
	struct sim_write *w = sim_zalloc(sizeof(*w));

	w->number = ++d->number;
	w->offset = offset;
	w->old_size = i->size;
	w->bytes = n_bytes ? sim_zalloc(n_bytes) : NULL;
	list_append(&i->writes, &w->link);
	return w;
}

size_t sim_inode_write(struct sim_disk *d, struct sim_inode *i, uint64_t offset, const void *data, size_t len)
{
	uint64_t most = largest_size(d, i);
	struct sim_write *w;

	if (offset >= most)
		return 0;
	len = (size_t) MIN((uint64_t) len, most - offset);
	if (len == 0)
		return 0;
	w = write_note(d, i, offset, len);
	w->len = len;
	if (offset < i->size)
		memcpy(w->bytes, i->data + offset, (size_t) MIN((uint64_t) len, i->size - offset));
	put(i, offset, data, len);
	sim_inode_charge(d, i);
	return len;
}

int sim_inode_truncate(struct sim_disk *d, struct sim_inode *i, uint64_t size)
{
	size_t gone = size < i->size ? (size_t) (i->size - size) : 0;
	struct sim_write *w;

	if (size > largest_size(d, i))
		return -ENOSPC;
	if (size == i->size)
		return 0;
	w = write_note(d, i, size, gone);
	w->truncates = true;
	if (gone)
		memcpy(w->bytes, i->data + size, gone);
	set_size(i, size);
	if (gone)
		i->allocated = MIN(i->allocated, size);
	sim_inode_charge(d, i);
	return 0;
}

int sim_inode_allocate(struct sim_disk *d, struct sim_inode *i, uint64_t size)
{
	if (size > largest_size(d, i))
		return -ENOSPC;
	i->allocated = MAX(i->allocated, size);
	sim_inode_charge(d, i);
	return 0;
}

void sim_inode_synced(struct sim_inode *i, uint64_t up_to)
{
	bool first = true;

	for (LIST_EACH_SAFE(&i->writes, k)) {
		struct sim_write *w = container_of(k, struct sim_write, link);

		if (w->number > up_to)
			break;
		if (!w->lost)
			w->committed = true;
		/* One behind a lost one stays: what the lost one replaced must be put back below it. */
		first = first && w->committed;
		if (first)
			write_free(w);
	}
}

/* The kernel reports a failed write-back once and takes the pages for clean afterwards: a later sync that
 * succeeds says nothing about them. */
void sim_inode_sync_failed(struct sim_inode *i, uint64_t up_to)
{
	for (LIST_EACH(&i->writes, k)) {
		struct sim_write *w = container_of(k, struct sim_write, link);

		if (w->number <= up_to && !w->committed)
			w->lost = true;
	}
}

/* --- a crash, for one file ------------------------------------------------------------------------ */

static void swap_bytes(char *a, char *b, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = a[i];

		a[i] = b[i];
		b[i] = c;
	}
}

/* The state is the one just after w. What lies beyond the size is not cleared, so that it can be swapped. */
static void take_back(struct sim_inode *i, struct sim_write *w)
{
	if (!w->truncates)
		swap_bytes(i->data + w->offset, w->bytes, w->len);
	else if (w->old_size > w->offset)
		memcpy(i->data + w->offset, w->bytes, (size_t) (w->old_size - w->offset));
	i->size = w->old_size;
}

static void redo(struct sim_inode *i, const struct sim_write *w)
{
	if (w->truncates)
		set_size(i, w->offset);
	else
		put(i, w->offset, w->bytes, w->len);
}

static void redo_front(struct sim *s, struct sim_inode *i, const struct sim_write *w)
{
	if (!w->truncates)
		put(i, w->offset, w->bytes, (size_t) sim_below(s, w->len));
}

static void redo_sectors(struct sim *s, struct sim_inode *i, const struct sim_write *w)
{
	uint64_t at = w->offset, end = w->offset + w->len;

	while (!w->truncates && at < end) {
		uint64_t next = MIN((at / SECTOR + 1) * SECTOR, end);

		if (sim_below(s, 2))
			put(i, at, w->bytes + (at - w->offset), (size_t) (next - at));
		at = next;
	}
}

static void redo_perhaps(struct sim *s, struct sim_inode *i, const struct sim_write *w)
{
	switch (sim_below(s, 4)) {
	case 0:
		break;
	case 1:
		redo_front(s, i, w);
		break;
	case 2:
		redo_sectors(s, i, w);
		break;
	default:
		redo(i, w);
	}
}

enum survival { NOTHING, EVERYTHING, A_FRONT, ANY_PART };

static enum survival draw_survival(struct sim *s, bool ordered)
{
	uint64_t n = sim_below(s, 8);

	if (n < 2)
		return NOTHING;
	if (n < 4)
		return EVERYTHING;
	return ordered || n < 6 ? A_FRONT : ANY_PART;
}

static void file_crash(struct sim *s, struct sim_inode *i, bool ordered)
{
	enum survival survival = draw_survival(s, ordered);
	uint64_t n = 0, kept;

	for (struct link *k = list_last(&i->writes); k && k != &i->writes.head; k = k->prev, n++)
		take_back(i, container_of(k, struct sim_write, link));
	kept = sim_below(s, n + 1);
	for (LIST_EACH(&i->writes, k)) {
		struct sim_write *w = container_of(k, struct sim_write, link);

		if (w->committed || survival == EVERYTHING)
			redo(i, w);
		else if (survival == ANY_PART)
			redo_perhaps(s, i, w);
		else if (survival == A_FRONT && kept > 0)
			redo(i, w);
		else if (survival == A_FRONT && kept == 0)
			redo_front(s, i, w);
		if (survival == A_FRONT && !w->committed && kept-- == 0)
			survival = NOTHING;
	}
	writes_clear(i);
}

/* --- changes of names ----------------------------------------------------------------------------- */

static void change_free(struct sim_disk *d, struct sim_change *c)
{
	link_remove(&c->link);
	d->n_changes--;
	if (c->from)
		sim_inode_unref(d, c->from);
	if (c->to)
		sim_inode_unref(d, c->to);
	if (c->inode)
		sim_inode_unref(d, c->inode);
	free(c->from_name);
	free(c->to_name);
	free(c);
}

static void commit(struct sim_disk *d, struct sim_change *c)
{
	struct sim_inode *gone[2] = { NULL, NULL };

	if (c->from)
		gone[0] = names_remove(&c->from->durable, c->from_name);
	if (c->to)
		gone[1] = names_set(&c->to->durable, c->to_name, c->inode);
	for (size_t i = 0; i < ARRAY_LEN(gone); i++)
		if (gone[i])
			sim_inode_unref(d, gone[i]);
	change_free(d, c);
}

static bool same_name(const struct sim_inode *dir, const char *name, const struct sim_change *c)
{
	return dir && ((c->from == dir && strcmp(c->from_name, name) == 0) ||
		       (c->to == dir && strcmp(c->to_name, name) == 0));
}

/* A change that is kept brings along all earlier ones of the same names. */
static void keep_what_it_needs(struct sim_disk *d)
{
	for (struct link *k = list_last(&d->changes); k && k != &d->changes.head; k = k->prev) {
		struct sim_change *c = container_of(k, struct sim_change, link);

		for (struct link *e = k->prev; c->keep && e != &d->changes.head; e = e->prev) {
			struct sim_change *earlier = container_of(e, struct sim_change, link);

			if (!earlier->keep)
				earlier->keep = same_name(c->from, c->from_name, earlier) ||
						same_name(c->to, c->to_name, earlier);
		}
	}
}

static void commit_kept(struct sim_disk *d)
{
	keep_what_it_needs(d);
	for (LIST_EACH_SAFE(&d->changes, k)) {
		struct sim_change *c = container_of(k, struct sim_change, link);

		if (c->keep)
			commit(d, c);
	}
}

void sim_disk_sync_directory(struct sim_disk *d, struct sim_inode *dir, uint64_t up_to)
{
	for (LIST_EACH(&d->changes, k)) {
		struct sim_change *c = container_of(k, struct sim_change, link);

		c->keep = c->number <= up_to && (c->from == dir || c->to == dir);
	}
	commit_kept(d);
}

static void drop_link(struct sim_disk *d, struct sim_inode *i)
{
	i->links--;
	sim_inode_charge(d, i);
	sim_inode_unref(d, i);
}

void sim_disk_change(struct sim_disk *d, struct sim_inode *from, const char *from_name, struct sim_inode *to,
		     const char *to_name, struct sim_inode *inode)
{
	struct sim_change *c = sim_zalloc(sizeof(*c));
	struct sim_inode *gone;

	c->number = ++d->number;
	c->from = from;
	c->to = to;
	c->inode = to ? inode : NULL;
	if (from) {
		from->refs++;
		c->from_name = sim_strdup(from_name);
	}
	if (to) {
		to->refs++;
		inode->refs++;
		c->to_name = sim_strdup(to_name);
	}
	list_append(&d->changes, &c->link);
	d->n_changes++;

	if (to) {
		inode->links++;
		gone = names_set(&to->live, to_name, inode);
		if (gone)
			drop_link(d, gone);
		sim_inode_charge(d, inode);
	}
	if (from && (gone = names_remove(&from->live, from_name)))
		drop_link(d, gone);
	while (d->n_changes > CHANGES_MAX)
		for (size_t n = 0; n < CHANGES_MAX / 2; n++)
			commit(d, container_of(list_first(&d->changes), struct sim_change, link));
}

/* --- the whole disk ------------------------------------------------------------------------------- */

struct sim_disk *sim_disk_new(struct sim *s)
{
	struct sim_disk *d = sim_zalloc(sizeof(*d));

	d->sim = s;
	list_init(&d->inodes);
	list_init(&d->changes);
	d->root = sim_inode_new(d, true, 0755, s->start + (wall_t) s->now);
	d->root->links = 1;
	return d;
}

void sim_disk_free(struct sim_disk *d)
{
	while (!list_empty(&d->changes))
		change_free(d, container_of(list_first(&d->changes), struct sim_change, link));
	sim_inode_unref(d, d->root);
	assert(list_empty(&d->inodes)); /* a file is still open */
	free(d);
}

static void draw_kept_changes(struct sim_disk *d, bool ordered)
{
	enum survival survival = draw_survival(d->sim, ordered);
	uint64_t front = sim_below(d->sim, d->n_changes + 1);

	for (LIST_EACH(&d->changes, k)) {
		struct sim_change *c = container_of(k, struct sim_change, link);

		c->keep = survival == EVERYTHING || (survival == A_FRONT && front > 0) ||
			  (survival == ANY_PART && sim_below(d->sim, 2));
		front -= front > 0;
	}
}

/* The names that are live become those that are durable. */
static void revert_names(struct sim_disk *d, struct sim_inode *dir)
{
	for (size_t i = 0; i < dir->live.len; i++)
		dir->live.list[i].inode->links--;
	names_clear(d, &dir->live);
	for (size_t i = 0; i < dir->durable.len; i++) {
		(void) names_set(&dir->live, dir->durable.list[i].name, dir->durable.list[i].inode);
		dir->durable.list[i].inode->links++;
	}
}

void sim_disk_crash(struct sim_disk *d, bool ordered)
{
	draw_kept_changes(d, ordered);
	commit_kept(d);
	while (!list_empty(&d->changes))
		change_free(d, container_of(list_first(&d->changes), struct sim_change, link));

	/* Held meanwhile, so that nothing goes from under the walk. */
	for (LIST_EACH(&d->inodes, k))
		container_of(k, struct sim_inode, link)->refs++;
	for (LIST_EACH(&d->inodes, k)) {
		struct sim_inode *i = container_of(k, struct sim_inode, link);

		if (i->directory)
			revert_names(d, i);
		else
			file_crash(d->sim, i, ordered);
	}
	for (LIST_EACH(&d->inodes, k))
		sim_inode_charge(d, container_of(k, struct sim_inode, link));
	for (LIST_EACH(&d->inodes, k)) {
		struct sim_inode *i = container_of(k, struct sim_inode, link);

		sim_trace(d->sim, NULL, "survives", i->links, i->size ? sim_digest(i->data, i->size) : 0);
	}
	for (struct link *k = d->inodes.head.next, *next; k != &d->inodes.head; k = next) {
		struct sim_inode *i = container_of(k, struct sim_inode, link);

		/* Freeing a directory may free what is in it; but those behind it are still held. */
		next = k->next;
		sim_inode_unref(d, i);
	}
}

void sim_disk_sync(struct sim_disk *d)
{
	while (!list_empty(&d->changes))
		commit(d, container_of(list_first(&d->changes), struct sim_change, link));
	for (LIST_EACH(&d->inodes, k))
		sim_inode_synced(container_of(k, struct sim_inode, link), d->number);
}

/* --- paths ---------------------------------------------------------------------------------------- */

#define PATH_DEPTH 64u

struct path {
	struct slice parts[PATH_DEPTH];
	size_t len;
};

/* There are no symbolic links, so ".." just takes the last part away. The working directory is the root. */
static int path_split(const char *text, struct path *ret)
{
	struct slice rest = slice_from(text);

	ret->len = 0;
	if (rest.len == 0)
		return -ENOENT;
	while (rest.len > 0) {
		struct slice part = slice_cut(rest, '/', &rest);

		if (part.len == 0 || slice_eq_str(part, "."))
			continue;
		if (part.len >= SIM_NAME_MAX)
			return -ENAMETOOLONG;
		if (slice_eq_str(part, "..")) {
			ret->len -= ret->len > 0;
			continue;
		}
		if (ret->len == PATH_DEPTH)
			return -ENAMETOOLONG;
		ret->parts[ret->len++] = part;
	}
	return 0;
}

static int walk(struct sim_disk *d, const struct path *p, size_t depth, struct sim_inode **ret)
{
	struct sim_inode *i = d->root;
	char name[SIM_NAME_MAX];

	for (size_t n = 0; n < depth; n++) {
		if (!i->directory)
			return -ENOTDIR;
		slice_copy(p->parts[n], name, sizeof(name));
		i = sim_names_find(&i->live, name);
		if (!i)
			return -ENOENT;
	}
	*ret = i;
	return 0;
}

int sim_disk_find(struct sim_disk *d, const char *path, struct sim_inode **ret)
{
	struct path p;
	int r = path_split(path, &p);

	return r < 0 ? r : walk(d, &p, p.len, ret);
}

int sim_disk_find_parent(struct sim_disk *d, const char *path, struct sim_inode **ret,
			 char name[static SIM_NAME_MAX])
{
	struct sim_inode *i;
	struct path p;
	int r = path_split(path, &p);

	if (r >= 0 && p.len == 0)
		r = -EINVAL;
	if (r >= 0)
		r = walk(d, &p, p.len - 1, &i);
	if (r < 0)
		return r;
	if (!i->directory)
		return -ENOTDIR;
	slice_copy(p.parts[p.len - 1], name, SIM_NAME_MAX);
	*ret = i;
	return 0;
}
