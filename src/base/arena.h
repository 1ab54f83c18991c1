/* An arena owns all the small things of one session or one message and frees them together.
 *
 * Memory from an arena needs no free of its own and dies with arena_reset or arena_free; what must
 * outlive it is copied out by name. Nothing is ever returned to it one by one, so don't put things
 * in it whose number is not bounded by a limit of the session. */
#pragma once

#include <stdarg.h>

#include "base/slice.h"

struct arena;

/* chunk_size: bytes asked from malloc at a time (0: 1024). No memory is taken before the first use. */
int arena_new(size_t chunk_size, struct arena **ret);
void arena_free(struct arena *a);
DEFINE_FREEP(struct arena, arena_free)

/* Frees all that was handed out but keeps the first chunk. */
void arena_reset(struct arena *a);

/* Aligned for any type, not zeroed; arena_zalloc is. NULL when memory is out. */
void *arena_alloc(struct arena *a, size_t size);
void *arena_zalloc(struct arena *a, size_t size);
#define arena_new_type(a, type) ((type *) arena_zalloc((a), sizeof(type)))
#define arena_new_array(a, type, n) ((type *) arena_array((a), sizeof(type), (n)))
void *arena_array(struct arena *a, size_t size, size_t n); /* zeroed; NULL on overflow, too */

/* Terminated copies. NULL when memory is out (and for arena_strdup(a, NULL)). */
char *arena_strdup(struct arena *a, const char *s);
char *arena_slice(struct arena *a, struct slice s);
char *arena_printf(struct arena *a, const char *format, ...) _printf_(2, 3);

/* Bytes taken from malloc so far. */
size_t arena_footprint(const struct arena *a);
