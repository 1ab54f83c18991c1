/* The vocabulary that every file uses: clean-up by scope, moving ownership, sizes.
 *
 * A variable that owns something says so where it is declared:
 *
 *	_cleanup_(buffer_freep) struct buffer *b = NULL;
 *
 * and hands it over with TAKE_PTR, which leaves NULL behind. */
#pragma once

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _printf_(fmt, first) __attribute__((format(printf, fmt, first)))
#define _unused_ __attribute__((unused))
#define _noreturn_ __attribute__((noreturn))
#define _noinline_ __attribute__((noinline))
#define _must_check_ __attribute__((warn_unused_result))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
/* Each argument is evaluated once; the names are made unique so that they nest without shadowing. */
#define MIN(a, b) PICK_(<, a, b, __COUNTER__)
#define MAX(a, b) PICK_(>, a, b, __COUNTER__)
#define PICK_(op, a, b, unique) PICK__(op, a, b, unique)
#define PICK__(op, a, b, unique)                                            \
	({                                                                  \
		__typeof__(a) _a##unique = (a);                             \
		__typeof__(b) _b##unique = (b);                             \
		_a##unique op _b##unique ? _a##unique : _b##unique;         \
	})
#define container_of(ptr, type, member) ((type *) ((char *) (ptr) - offsetof(type, member)))

/* Moves a pointer out of a variable: the variable is NULL afterwards. */
#define TAKE_PTR(p) ({ __typeof__(p) _p = (p); (p) = NULL; _p; })
/* The same for a file descriptor, which leaves -1 behind. */
#define TAKE_FD(fd) ({ int _fd = (fd); (fd) = -1; _fd; })

/* Defines x_freep(x **) for use with _cleanup_. */
#define DEFINE_FREEP(type, free_func)                                      \
	static inline void free_func##p(type **p)                          \
	{                                                                  \
		if (*p)                                                    \
			free_func(*p);                                     \
	}

/* Live objects carry a magic number that is checked at each entry, so that a stale pointer is
 * found where it is used and not where it hurts. */
#define CHECK_MAGIC(obj, expected) assert((obj) && (obj)->magic == (expected))

/* Frees what malloc gave, for _cleanup_(freep) on any pointer. */
void freep(void *p);
