/* The real world: epoll, one thread per loop, a pool of worker threads for what blocks. */
#pragma once

#include "world/world.h"

struct linux_options {
	const struct log *log; /* may be NULL; must outlive the world */
	unsigned workers;      /* threads for blocking calls, started when needed; 0: 16 */
	size_t stack_size;     /* bytes per fiber; 0: 128 KiB, 512 KiB under AddressSanitizer */
};
/* options may be NULL. Ignores SIGPIPE for the process. */
int world_linux_new(const struct linux_options *options, struct world **ret);
