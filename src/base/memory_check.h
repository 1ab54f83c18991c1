/* What memory checkers are told about memory that we manage ourselves.
 *
 * A pool hides from AddressSanitizer and from Valgrind's memcheck that a piece is free, or that what it holds is
 * left from its last owner. memory_close says: nobody may touch this; memory_open: it may be used, and holds
 * nothing yet. Without a checker both are nothing; Valgrind's requests are a handful of instructions each, so they
 * stand where a pool gives and takes, not where single bytes do. WITH_VALGRIND comes from meson.build. */
#pragma once

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif

#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#endif
#ifdef WITH_VALGRIND
#include <valgrind/memcheck.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

/* Not inlined, or gcc takes the poisoning of fresh memory for a read of it. */
static __attribute__((noinline, unused)) void memory_close(void *p, size_t size)
{
#ifdef WITH_ASAN
	__asan_poison_memory_region(p, size);
#endif
#ifdef WITH_VALGRIND
	VALGRIND_MAKE_MEM_NOACCESS(p, size);
#endif
	(void) p, (void) size;
}

static __attribute__((noinline, unused)) void memory_open(void *p, size_t size)
{
#ifdef WITH_ASAN
	__asan_unpoison_memory_region(p, size);
#endif
#ifdef WITH_VALGRIND
	VALGRIND_MAKE_MEM_UNDEFINED(p, size);
#endif
	(void) p, (void) size;
}
