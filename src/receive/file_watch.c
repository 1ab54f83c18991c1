#include "receive/file_watch.h"

#include <stdlib.h>

int file_watch_add(struct file_watch *f, struct world *w, const char *path)
{
	struct file_stamp *grown;

	if (!path)
		return 0;
	for (unsigned i = 0; i < f->n; i++)
		if (strcmp(f->stamps[i].path, path) == 0)
			return 0;
	grown = reallocarray(f->stamps, f->n + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	f->stamps = grown;
	grown[f->n] = (struct file_stamp) { .path = path };
	grown[f->n].error = path_info(w, path, &grown[f->n].info);
	f->n++;
	return 0;
}

bool file_watch_changed(const struct file_watch *f, struct world *w)
{
	for (unsigned i = 0; i < f->n; i++) {
		const struct file_stamp *s = &f->stamps[i];
		struct file_info info;
		int r = path_info(w, s->path, &info);

		if (r != s->error)
			return true;
		if (r >= 0 && (info.size != s->info.size || info.modified != s->info.modified))
			return true;
	}
	return false;
}

void file_watch_done(struct file_watch *f)
{
	free(f->stamps);
	*f = (struct file_watch) { 0 };
}
