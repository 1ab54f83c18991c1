/* Setting aside what recovery could not read, so that somebody can look at it: nothing damaged is delivered as if
 * it were whole, and nothing is thrown away unseen. */
#include <stdio.h>
#include <stdlib.h>

#include "spool/state.h"

#define COPY_AT_ONCE (1u << 20)

static int directory(struct spool *s, char *path)
{
	int r;

	(void) snprintf(path, SPOOL_PATH_MAX, "%s/quarantine", s->path);
	r = path_make_directory(s->world, path, 0700);
	return r == -EEXIST ? 0 : r;
}

/* A new file; 0 with *ret NULL when it is there from an earlier start. */
static int new_file(struct spool *s, const char *path, struct file **ret)
{
	int r = file_open(s->world, path, FILE_READ | FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE, 0600, ret);

	if (r != -EEXIST)
		return r;
	*ret = NULL;
	return 0;
}

static int finish_file(struct spool *s, struct file *f, char *path)
{
	int r = file_sync(f);

	if (r >= 0)
		r = directory(s, path);
	return r < 0 ? r : path_sync_directory(s->world, path);
}

static int write_at(struct file *f, const void *data, size_t len, uint64_t offset)
{
	struct iovec iov = { .iov_base = (void *) (uintptr_t) data, .iov_len = len };

	return len > 0 ? file_pwritev(f, &iov, 1, offset) : 0;
}

int quarantine_bytes(struct spool *s, struct segment *g, struct file *f, uint32_t offset, uint32_t length)
{
	_cleanup_(file_closep) struct file *to = NULL;
	_cleanup_(freep) char *path = malloc(SPOOL_PATH_MAX);
	_cleanup_(freep) char *buffer = malloc(COPY_AT_ONCE);
	size_t end;
	int r;

	if (!path || !buffer)
		return -ENOMEM;
	r = directory(s, path);
	if (r < 0)
		return r;
	end = strlen(path);
	(void) snprintf(path + end, SPOOL_PATH_MAX - end, "/%08x-%08x.record", g->number, offset);
	r = new_file(s, path, &to);
	if (r < 0 || !to)
		return r;
	for (uint32_t done = 0; done < length;) {
		ssize_t n = file_pread(f, buffer, MIN(COPY_AT_ONCE, length - done), (uint64_t) offset + done);

		if (n <= 0) /* the disk won't give it: what was before it is kept */
			break;
		r = write_at(to, buffer, (size_t) n, done);
		if (r < 0)
			return r;
		done += (uint32_t) n;
	}
	r = finish_file(s, to, path);
	return r < 0 ? r : 1;
}

/* The chunks that can be read, at their places. */
static int save_body(struct spool *s, msgid_t id, const unsigned char *commit, const struct record *record,
		     struct file *to)
{
	uint64_t at = 0;

	for (unsigned i = 0; i < record->extents; i++) {
		struct extent x = record_extent(commit, i);
		uint64_t start = at;
		struct record shape = { .length = x.length }, chunk;
		unsigned char *data = NULL;
		struct segment *g;
		int r;

		at += x.length;
		if (x.length > RECORD_MAX_PAYLOAD)
			continue;
		spool_lock(s);
		g = segments_find(&s->segments, x.segment);
		if (g)
			segment_use(s, g);
		spool_unlock(s);
		if (!g)
			continue;
		r = read_record(s, g, x.offset, record_size(&shape), &chunk, &data);
		segment_unuse(s, g);
		if (r >= 0 && chunk.type == RECORD_CHUNK && chunk.id == id &&
		    chunk.length == x.length)
			r = write_at(to, data + RECORD_HEADER, chunk.length, start);
		else
			r = 0;
		free(data);
		if (r < 0)
			return r;
	}
	return 0;
}

static int save_as(struct spool *s, char *path, msgid_t id, const char *suffix, struct file **ret)
{
	char text[MSGID_TEXT];
	size_t end;
	int r = directory(s, path);

	if (r < 0)
		return r;
	end = strlen(path);
	(void) snprintf(path + end, SPOOL_PATH_MAX - end, "/%s.%s", id_format(id, text), suffix);
	return new_file(s, path, ret);
}

int quarantine_message(struct spool *s, struct segment *g, uint32_t offset, uint32_t length)
{
	_cleanup_(file_closep) struct file *envelope = NULL, *body = NULL;
	_cleanup_(freep) unsigned char *commit = NULL;
	_cleanup_(freep) char *path = malloc(SPOOL_PATH_MAX);
	struct record record;
	size_t front;
	int r;

	if (!path)
		return -ENOMEM;
	r = read_record(s, g, offset, length, &record, &commit);
	if (r < 0)
		return r;
	front = RECORD_HEADER + (size_t) record.extents * RECORD_EXTENT + record.note_length;
	r = save_as(s, path, record.id, "envelope", &envelope);
	if (r >= 0 && envelope)
		r = write_at(envelope, commit + front, record.length - record.note_length, 0);
	if (r >= 0 && envelope)
		r = finish_file(s, envelope, path);
	if (r >= 0)
		r = save_as(s, path, record.id, "body", &body);
	if (r >= 0 && body)
		r = save_body(s, record.id, commit, &record, body);
	if (r >= 0 && body)
		r = finish_file(s, body, path);
	return r;
}

int quarantine_segment(struct spool *s, uint32_t number)
{
	_cleanup_(freep) char *paths = malloc(2 * SPOOL_PATH_MAX);
	char *to = paths + SPOOL_PATH_MAX;
	size_t end;
	int r;

	if (!paths)
		return -ENOMEM;
	r = directory(s, to);
	if (r < 0)
		return r;
	end = strlen(to);
	(void) snprintf(to + end, SPOOL_PATH_MAX - end, "/%08x.log", number);
	r = path_rename(s->world, segment_path(s, number, paths), to);
	return r < 0 ? r : path_sync_directory(s->world, s->path);
}
