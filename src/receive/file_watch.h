/* Which files were read, and what they looked like then: so that a renewed certificate is noticed without being asked
 * for. The size and the time of the last change are compared; nothing is opened. */
#pragma once

#include "world/file.h"

struct file_stamp {
	const char *path; /* the configuration's */
	struct file_info info;
	int error; /* of looking at it */
};
struct file_watch {
	unsigned n;
	struct file_stamp *stamps;
};

/* Before the file is read: what changes while it is read will be seen later. A path that is there already isn't added
 * again; NULL is fine. 0 or -ENOMEM. */
int file_watch_add(struct file_watch *f, struct world *w, const char *path);
/* Does any of them look different now? Blocks for as long as the file system takes to answer. */
bool file_watch_changed(const struct file_watch *f, struct world *w);
void file_watch_done(struct file_watch *f);
