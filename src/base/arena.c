#include "base/arena.h"

#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory_check.h"

/* AddressSanitizer sees single pieces, with a closed gap between two. Valgrind only learns that a reset forgets what
 * was there: its requests with each piece would cost the shipped program instructions. */
#ifdef WITH_ASAN
#define REDZONE 16
#define forget(p, n) memory_close((p), (n))
#define hand_out(p, n) memory_open((p), (n))
#else
#define REDZONE 0
#define forget(p, n) memory_open((p), (n))
#define hand_out(p, n) ((void) (p), (void) (n))
#endif

#define ARENA_MAGIC 0x616e6572u
#define FIRST_CHUNK 1024
#define LARGEST_CHUNK (16 * 1024)
#define ALIGNMENT alignof(max_align_t)

/* Chunks form a stack with the one that is being filled on top. Each is twice as large as the one
 * before, up to LARGEST_CHUNK: an idle session costs one small chunk, a busy one few calls of malloc. */
struct chunk {
	struct chunk *next; /* older */
	size_t size;        /* of all of it, as asked from malloc */
	size_t used;        /* of data */
	alignas(max_align_t) char data[];
};

struct arena {
	unsigned magic;
	size_t chunk_size; /* of the first */
	size_t next_size;
	size_t footprint;
	struct chunk *chunks;
};

int arena_new(size_t chunk_size, struct arena **ret)
{
	struct arena *a = malloc(sizeof(*a));

	if (!a)
		return -ENOMEM;
	if (chunk_size == 0)
		chunk_size = FIRST_CHUNK;
	chunk_size = MAX(chunk_size, sizeof(struct chunk) + 4 * ALIGNMENT);
	*a = (struct arena) {
		.magic = ARENA_MAGIC,
		.chunk_size = chunk_size,
		.next_size = chunk_size,
		.footprint = sizeof(*a),
	};
	*ret = a;
	return 0;
}

static void chunk_free(struct arena *a, struct chunk *c)
{
	a->footprint -= c->size;
	memory_open(c->data, c->size - sizeof(*c));
	free(c);
}

void arena_free(struct arena *a)
{
	if (!a)
		return;
	CHECK_MAGIC(a, ARENA_MAGIC);
	while (a->chunks) {
		struct chunk *c = a->chunks;

		a->chunks = c->next;
		chunk_free(a, c);
	}
	a->magic = 0;
	free(a);
}

void arena_reset(struct arena *a)
{
	struct chunk *keep = NULL;

	CHECK_MAGIC(a, ARENA_MAGIC);
	while (a->chunks) {
		struct chunk *c = a->chunks;

		a->chunks = c->next;
		/* One of the first size stays. One made to measure for a large piece does not:
		 * a single long line must not cost its memory for the rest of the session. */
		if (c->size == a->chunk_size && !keep)
			keep = c;
		else
			chunk_free(a, c);
	}
	a->next_size = a->chunk_size;
	if (keep) {
		keep->next = NULL;
		keep->used = 0;
		forget(keep->data, keep->size - sizeof(*keep));
		a->chunks = keep;
		a->next_size = MIN(2 * a->chunk_size, MAX((size_t) LARGEST_CHUNK, a->chunk_size));
	}
}

static struct chunk *chunk_new(struct arena *a, size_t size)
{
	struct chunk *c = malloc(size);

	if (!c)
		return NULL;
	*c = (struct chunk) { .size = size };
	forget(c->data, size - sizeof(*c));
	a->footprint += size;
	return c;
}

/* A chunk with room for n bytes. What is larger than the next chunk would be gets one to measure,
 * below the top, so that the room left in the top one is still used. */
static struct chunk *arena_grow(struct arena *a, size_t n)
{
	bool to_measure = n > a->next_size - sizeof(struct chunk);
	struct chunk *c = chunk_new(a, to_measure ? sizeof(*c) + n : a->next_size);

	if (!c)
		return NULL;
	if (to_measure && a->chunks) {
		c->next = a->chunks->next;
		a->chunks->next = c;
		return c;
	}
	c->next = a->chunks;
	a->chunks = c;
	if (!to_measure && a->next_size < LARGEST_CHUNK)
		a->next_size = MIN(2 * a->next_size, (size_t) LARGEST_CHUNK);
	return c;
}

void *arena_alloc(struct arena *a, size_t size)
{
	struct chunk *c;
	size_t n;
	void *p;

	CHECK_MAGIC(a, ARENA_MAGIC);
	if (size > PTRDIFF_MAX / 2)
		return NULL;
	n = (MAX(size, (size_t) 1) + REDZONE + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
	c = a->chunks;
	if (!c || c->size - sizeof(*c) - c->used < n) {
		c = arena_grow(a, n);
		if (!c)
			return NULL;
	}
	p = c->data + c->used;
	c->used += n;
	hand_out(p, size);
	return p;
}

void *arena_zalloc(struct arena *a, size_t size)
{
	void *p = arena_alloc(a, size);

	return p ? memset(p, 0, size) : NULL;
}

void *arena_array(struct arena *a, size_t size, size_t n)
{
	size_t bytes;

	if (__builtin_mul_overflow(size, n, &bytes))
		return NULL;
	return arena_zalloc(a, bytes);
}

char *arena_slice(struct arena *a, struct slice s)
{
	char *copy;

	if (s.len == SIZE_MAX)
		return NULL;
	copy = arena_alloc(a, s.len + 1);
	if (!copy)
		return NULL;
	if (s.len > 0)
		memcpy(copy, s.data, s.len);
	copy[s.len] = '\0';
	return copy;
}

char *arena_strdup(struct arena *a, const char *s)
{
	return s ? arena_slice(a, slice_from(s)) : NULL;
}

char *arena_printf(struct arena *a, const char *format, ...)
{
	va_list args;
	char *text;
	int n;

	va_start(args, format);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n < 0)
		return NULL;
	text = arena_alloc(a, (size_t) n + 1);
	if (!text)
		return NULL;
	va_start(args, format);
	vsnprintf(text, (size_t) n + 1, format, args);
	va_end(args);
	return text;
}

size_t arena_footprint(const struct arena *a)
{
	CHECK_MAGIC(a, ARENA_MAGIC);
	return a->footprint;
}
