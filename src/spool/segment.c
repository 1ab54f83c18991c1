#include "spool/segment.h"

#include <stdio.h>
#include <stdlib.h>

#include "spool/state.h"

#define OPEN_FILES_MAX 256

const char *segment_path(const struct spool *s, uint32_t number, char *out)
{
	(void) snprintf(out, SPOOL_PATH_MAX, "%s/%08x.log", s->path, number);
	return out;
}

const char *segment_free_path(const struct spool *s, uint32_t number, char *out)
{
	(void) snprintf(out, SPOOL_PATH_MAX, "%s/free-%08x.log", s->path, number);
	return out;
}

/* --- the table -------------------------------------------------------------------------------- */

/* The first place whose number is not below `number`. */
static uint32_t place_of(const struct segments *t, uint32_t number)
{
	uint32_t low = 0, high = t->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (t->list[middle]->number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct segment *segments_find(const struct segments *t, uint32_t number)
{
	uint32_t i;

	/* Most of what is asked for is young. */
	if (t->count > 0 && t->list[t->count - 1]->number == number)
		return t->list[t->count - 1];
	i = place_of(t, number);
	return i < t->count && t->list[i]->number == number ? t->list[i] : NULL;
}

int segments_add(struct segments *t, uint32_t number, struct segment **ret)
{
	uint32_t i = place_of(t, number);
	struct segment *g;

	assert(i == t->count || t->list[i]->number != number);
	if (t->count == t->capacity) {
		uint32_t capacity = t->capacity ? 2 * t->capacity : 64;
		struct segment **grown = reallocarray(t->list, capacity, sizeof(struct segment *));

		if (!grown)
			return -ENOMEM;
		t->list = grown;
		t->capacity = capacity;
	}
	g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->number = number;
	g->used = g->durable = SEGMENT_START;
	memmove(t->list + i + 1, t->list + i, (t->count - i) * sizeof(struct segment *));
	t->list[i] = g;
	t->count++;
	*ret = g;
	return 0;
}

static void segment_free(struct segment *g)
{
	file_close(g->file);
	free(g->targets);
	free(g);
}

static void segments_take_off(struct segments *t, struct segment *g)
{
	uint32_t i = place_of(t, g->number);

	assert(i < t->count && t->list[i] == g);
	t->count--;
	memmove(t->list + i, t->list + i + 1, (t->count - i) * sizeof(struct segment *));
	t->bytes_on_disk -= g->on_disk;
	if (g->emptied)
		t->emptied--;
	g->gone = true;
}

void segments_done(struct segments *t)
{
	for (uint32_t i = 0; i < t->count; i++)
		segment_free(t->list[i]);
	free(t->list);
	*t = (struct segments) { 0 };
}

bool segment_release(struct segment *g, uint32_t n, unsigned compact_percent)
{
	assert(g->living >= n);
	g->living -= n;
	if (g->state != SEGMENT_SEALED)
		return false;
	return g->living == 0 || (g->low_since == 0 && g->living * 100 < (uint64_t) g->used * compact_percent);
}

static int add_target(struct segment *g, uint32_t target)
{
	uint32_t low = 0, high = g->target_count;

	if (target == g->number || (high > 0 && g->targets[high - 1] == target))
		return 0;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (g->targets[middle] < target)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < g->target_count && g->targets[low] == target)
		return 0;
	if (g->target_count == g->target_capacity) {
		uint32_t capacity = g->target_capacity ? 2 * g->target_capacity : 8;
		uint32_t *grown = reallocarray(g->targets, capacity, sizeof(uint32_t));

		if (!grown)
			return -ENOMEM;
		g->targets = grown;
		g->target_capacity = capacity;
	}
	memmove(g->targets + low + 1, g->targets + low, (g->target_count - low) * sizeof(uint32_t));
	g->targets[low] = target;
	g->target_count++;
	return 0;
}

void segments_add_target(struct segments *t, struct segment *g, uint32_t target)
{
	int r = segments_find(t, target) ? add_target(g, target) : 0;

	for (uint32_t i = 0, left = t->emptied; left > 0 && r >= 0; i++)
		if (t->list[i]->emptied) {
			r = add_target(g, t->list[i]->number);
			left--;
		}
	if (r < 0)
		g->living++;
}

void segments_set_emptied(struct segments *t, struct segment *g)
{
	if (g->emptied)
		return;
	g->emptied = true;
	t->emptied++;
}

bool segment_has_living_target(const struct segments *t, const struct segment *g)
{
	for (uint32_t i = 0; i < g->target_count; i++)
		if (segments_find(t, g->targets[i]))
			return true;
	return false;
}

/* --- making ----------------------------------------------------------------------------------- */

int segment_write_header(struct spool *s, struct segment *g)
{
	_cleanup_(freep) unsigned char *bytes = malloc(SEGMENT_START);
	_cleanup_(freep) struct segment_header *h = calloc(1, sizeof(*h));
	struct iovec iov = { .iov_base = bytes, .iov_len = SEGMENT_START };
	int r;

	if (!bytes || !h)
		return -ENOMEM;
	h->version = SPOOL_VERSION;
	h->number = g->number;
	h->created = world_wall(s->world);
	h->secret = s->secret;
	spool_lock(s);
	for (uint32_t i = s->segments.count; i > 0 && h->cut_count < SEGMENT_MAX_CUTS; i--) {
		const struct segment *other = s->segments.list[i - 1];

		if (other->failed)
			h->cuts[h->cut_count++] = (struct cut) { .segment = other->number, .offset = other->cut };
	}
	spool_unlock(s);
	segment_header_encode(h, bytes);
	r = file_pwritev(g->file, &iov, 1, 0);
	return r < 0 ? r : file_sync(g->file);
}

/* A file that was a segment before, by its present name. */
static int open_recycled(struct spool *s, char *name, struct file **ret, uint64_t *ret_size)
{
	_cleanup_(file_closep) struct file *f = NULL;
	uint32_t number;
	int r;

	spool_lock(s);
	if (s->segments.free_count == 0) {
		spool_unlock(s);
		return -ENOENT;
	}
	number = s->segments.free_files[--s->segments.free_count];
	s->segments.bytes_on_disk -= s->config.segment_size;
	spool_unlock(s);
	segment_free_path(s, number, name);
	r = file_open(s->world, name, FILE_READ | FILE_WRITE, 0600, &f);
	if (r >= 0)
		r = file_size(f, ret_size);
	if (r >= 0)
		r = file_allocate(f, s->config.segment_size); /* for one that is not whole */
	if (r < 0 && r != -EOPNOTSUPP)
		return r;
	*ret = TAKE_PTR(f);
	return 0;
}

static int open_fresh(struct spool *s, bool reserve, char *name, struct file **ret, uint64_t *ret_size)
{
	_cleanup_(file_closep) struct file *f = NULL;
	int r;

	(void) snprintf(name, SPOOL_PATH_MAX, "%s/new.log", s->path);
	r = file_open(s->world, name, FILE_READ | FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, 0600, &f);
	if (r < 0)
		return r;
	r = reserve ? file_allocate(f, s->config.segment_size) : -EOPNOTSUPP;
	if (r < 0 && r != -EOPNOTSUPP) {
		(void) path_unlink(s->world, name);
		return r;
	}
	*ret_size = r < 0 ? SEGMENT_START : s->config.segment_size;
	*ret = TAKE_PTR(f);
	return 0;
}

/* The header is synced under the old name, then the file gets its new one: whatever bears a segment's name has
 * a valid header of that number. */
static int make_file(struct spool *s, struct segment *g, bool reserve, char *from, char *to)
{
	struct file *f = NULL;
	uint64_t size = 0;
	int r;

	g->fresh = open_recycled(s, from, &f, &size) < 0;
	if (g->fresh) {
		r = open_fresh(s, reserve, from, &f, &size);
		if (r < 0)
			return r;
	}
	spool_lock(s);
	g->file = f;
	g->on_disk = size;
	s->segments.open_files++;
	s->segments.bytes_on_disk += g->on_disk;
	spool_unlock(s);
	r = segment_write_header(s, g);
	if (r >= 0)
		r = path_rename(s->world, from, segment_path(s, g->number, to));
	if (r < 0) {
		(void) path_unlink(s->world, from);
		return r;
	}
	r = path_sync_directory(s->world, s->path);
	if (r < 0)
		(void) path_unlink(s->world, to);
	return r;
}

int segment_create(struct spool *s, bool reserve, struct segment **ret)
{
	_cleanup_(freep) char *names = malloc(2 * SPOOL_PATH_MAX);
	struct segment *g = NULL;
	int r;

	if (!names)
		return -ENOMEM;
	spool_lock(s);
	r = s->segments.next_number == UINT32_MAX ? -EOVERFLOW : segments_add(&s->segments, s->segments.next_number, &g);
	if (r >= 0) {
		s->segments.next_number++;
		g->state = SEGMENT_PREPARED;
		g->key = segment_key_derive(&s->secret, g->number);
		g->users = 1;
	}
	spool_unlock(s);
	if (r < 0)
		return r;

	r = make_file(s, g, reserve, names, names + SPOOL_PATH_MAX);
	if (r < 0) {
		spool_lock(s);
		segments_take_off(&s->segments, g);
		spool_unlock(s);
		segment_unuse(s, g);
		return r;
	}
	*ret = g;
	return 0;
}

/* --- using ------------------------------------------------------------------------------------ */

void segment_use(struct spool *s, struct segment *g)
{
	g->users++;
	g->last_use = ++s->segments.use_clock;
}

/* Takes the file off the segment that was not used for longest. With the mutex; the caller closes it. */
static struct file *least_used(struct spool *s)
{
	struct segment *least = NULL;
	struct file *f;

	for (uint32_t i = 0; i < s->segments.count; i++) {
		struct segment *g = s->segments.list[i];

		if (g->file && g->users == 0 && (!least || g->last_use < least->last_use))
			least = g;
	}
	if (!least)
		return NULL;
	f = TAKE_PTR(least->file);
	s->segments.open_files--;
	return f;
}

int segment_open(struct spool *s, struct segment *g, struct file **ret)
{
	struct file *mine = NULL, *unneeded = NULL;
	char *path;
	int r;

	spool_lock(s);
	*ret = g->file;
	spool_unlock(s);
	if (*ret)
		return 0;
	path = malloc(SPOOL_PATH_MAX);
	if (!path)
		return -ENOMEM;
	r = file_open(s->world, segment_path(s, g->number, path), FILE_READ | FILE_WRITE, 0, &mine);
	free(path);
	if (r < 0)
		return r;
	spool_lock(s);
	if (g->file)
		unneeded = mine; /* somebody else was faster */
	else {
		g->file = mine;
		if (++s->segments.open_files > OPEN_FILES_MAX)
			unneeded = least_used(s);
	}
	*ret = g->file;
	spool_unlock(s);
	file_close(unneeded);
	return 0;
}

void segment_unuse(struct spool *s, struct segment *g)
{
	bool last;

	spool_lock(s);
	assert(g->users > 0);
	last = --g->users == 0 && g->gone;
	if (last && g->file)
		s->segments.open_files--;
	spool_unlock(s);
	if (last)
		segment_free(g);
}

/* --- retiring --------------------------------------------------------------------------------- */

/* Whether the file may be overwritten as another segment: nobody reads it, it is whole and of the right size.
 * Nothing living is in it, so no reader can come any more. */
static bool recyclable(struct spool *s, const struct segment *g)
{
	uint64_t size;
	bool wanted;

	spool_lock(s);
	wanted = g->users == 1 && !g->failed && !g->damaged && g->file && s->segments.free_count < MAX((unsigned) SPOOL_FREE_FILES, s->config.spare);
	if (g->fresh && g->used < s->config.segment_size - s->config.segment_size / 4)
		wanted = false; /* most of it was never written */
	spool_unlock(s);
	return wanted && !atomic_load(&s->full) && file_size(g->file, &size) >= 0 && size <= s->config.segment_size &&
	       size >= s->config.segment_size - s->config.segment_size / 4;
}

int segment_retire(struct spool *s, struct segment *g)
{
	_cleanup_(freep) char *names = malloc(2 * SPOOL_PATH_MAX);
	struct file *f;
	bool recycle;
	int r;

	if (!names)
		return -ENOMEM;
	spool_lock(s);
	segment_use(s, g);
	spool_unlock(s);
	/* Whoever reads in it can go on after its name is gone, but only with an open file. */
	r = segment_open(s, g, &f);
	if (r < 0 && r != -ENOENT) {
		segment_unuse(s, g);
		return r;
	}

	segment_path(s, g->number, names);
	recycle = r >= 0 && recyclable(s, g);
	if (recycle)
		r = path_rename(s->world, names, segment_free_path(s, g->number, names + SPOOL_PATH_MAX));
	else
		r = path_unlink(s->world, names);
	/* Before anything that relies on its absence: a removal elsewhere kept its dead dead. */
	if (r >= 0 || r == -ENOENT)
		r = path_sync_directory(s->world, s->path);
	if (r >= 0) {
		spool_lock(s);
		segments_take_off(&s->segments, g);
		if (recycle) {
			s->segments.free_files[s->segments.free_count++] = g->number;
			s->segments.bytes_on_disk += s->config.segment_size;
		}
		spool_unlock(s);
	}
	segment_unuse(s, g);
	return r;
}
