/* How much memory there is for us, and how much of it we have. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/slice.h"
#include "world/linux_world.h"

#define GROUPS_MAX 1024u

/* A small file of /proc or /sys as a string. -errno. */
static int read_small(const char *path, char *out, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, out, size - 1);
	close(fd);
	if (n < 0)
		return -EIO;
	out[n] = '\0';
	return 0;
}

/* "max", and for version 1 a number beyond all memory, mean none. */
static uint64_t read_limit(const char *directory, const char *name)
{
	char path[GROUPS_MAX + 64], text[64];
	uint64_t n;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	if (read_small(path, text, sizeof(text)) < 0 || slice_to_u64(slice_from(strtok(text, "\n")), &n) < 0)
		return UINT64_MAX;
	return n;
}

/* The least limit of a group and of those above it. */
static uint64_t limit_of_group(const char *root, struct slice group, const char *name)
{
	char directory[GROUPS_MAX];
	uint64_t limit = UINT64_MAX;
	size_t root_len = strlen(root);

	if (root_len + group.len >= sizeof(directory))
		return limit;
	snprintf(directory, sizeof(directory), "%s%.*s", root, SLICE_ARG(group));
	for (;;) {
		char *slash;
		uint64_t n = read_limit(directory, name);

		limit = MIN(limit, n);
		slash = strrchr(directory, '/');
		if (!slash || slash < directory + root_len)
			return limit;
		*slash = '\0';
	}
}

/* Lines like "0::/system.slice/yizhan.service" (version 2) and "4:memory:/x" (version 1). In a container the path may be
 * that of the outside; the root then is the group itself. */
static uint64_t limit_of_groups(void)
{
	char text[GROUPS_MAX];
	uint64_t limit = UINT64_MAX;
	struct slice rest;

	if (read_small("/proc/self/cgroup", text, sizeof(text)) < 0)
		return limit;
	rest = slice_from(text);
	while (rest.len > 0) {
		struct slice line = slice_cut(rest, '\n', &rest), controllers, group;
		uint64_t n = UINT64_MAX;

		(void) slice_cut(line, ':', &line);
		controllers = slice_cut(line, ':', &group);
		if (controllers.len == 0)
			n = limit_of_group("/sys/fs/cgroup", group, "memory.max");
		else if (slice_eq_str(controllers, "memory"))
			n = limit_of_group("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
		limit = MIN(limit, n);
	}
	return limit;
}

void linux_memory(struct world *w, struct world_memory *ret)
{
	uint64_t page = (uint64_t) sysconf(_SC_PAGESIZE);
	uint64_t machine = (uint64_t) sysconf(_SC_PHYS_PAGES) * page;
	uint64_t group = limit_of_groups();
	struct slice rest, pages;
	char text[256];

	*ret = (struct world_memory) { .limit = MIN(machine, group) };
	if (read_small("/proc/self/statm", text, sizeof(text)) < 0)
		return;
	(void) slice_cut(slice_from(text), ' ', &rest);
	pages = slice_cut(rest, ' ', &rest);
	if (slice_to_u64(pages, &ret->resident) < 0)
		return;
	ret->resident *= page;
}
