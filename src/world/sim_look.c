/* Copies of disks, for tests that want to know what would be left if everything ended now, and what else tests ask
 * about the inside of a universe. Nothing here changes what happens in it. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "world/sim_impl.h"

/* --- copies of disks ------------------------------------------------------------------------------- */

static void copy_names(const struct sim_names *from, struct sim_names *to)
{
	to->list = sim_zalloc(from->len * sizeof(*to->list));
	to->len = to->capacity = from->len;
	for (size_t i = 0; i < from->len; i++) {
		to->list[i] = (struct sim_name) { .name = sim_strdup(from->list[i].name), .inode = from->list[i].inode->copy };
		to->list[i].inode->refs++;
	}
}

static void copy_writes(const struct sim_inode *from, struct sim_inode *to)
{
	for (LIST_EACH(&from->writes, k)) {
		const struct sim_write *w = container_of(k, struct sim_write, link);
		size_t len = w->truncates ? (size_t) (w->old_size > w->offset ? w->old_size - w->offset : 0) : w->len;
		struct sim_write *c = sim_zalloc(sizeof(*c));

		*c = *w;
		c->link = (struct link) { NULL, NULL };
		c->bytes = len && w->bytes ? sim_zalloc(len) : NULL;
		if (c->bytes)
			memcpy(c->bytes, w->bytes, len);
		list_append(&to->writes, &c->link);
	}
}

static struct sim_inode *copy_inode(struct sim_disk *d, const struct sim_inode *from, struct sim_inode *to)
{
	if (!to)
		to = sim_inode_new(d, from->directory, from->mode, from->modified);
	to->links = from->links;
	to->size = from->size;
	to->capacity = from->capacity;
	to->allocated = from->allocated;
	if (from->capacity > 0) {
		to->data = sim_zalloc(from->capacity);
		memcpy(to->data, from->data, from->size);
	}
	copy_writes(from, to);
	return to;
}

static struct sim_inode *held(struct sim_inode *i)
{
	if (!i)
		return NULL;
	i->copy->refs++;
	return i->copy;
}

static void copy_changes(const struct sim_disk *from, struct sim_disk *to)
{
	for (LIST_EACH(&from->changes, k)) {
		const struct sim_change *c = container_of(k, struct sim_change, link);
		struct sim_change *copy = sim_zalloc(sizeof(*copy));

		copy->number = c->number;
		copy->from = held(c->from);
		copy->to = held(c->to);
		copy->inode = held(c->inode);
		copy->from_name = c->from_name ? sim_strdup(c->from_name) : NULL;
		copy->to_name = c->to_name ? sim_strdup(c->to_name) : NULL;
		list_append(&to->changes, &copy->link);
		to->n_changes++;
	}
}

static struct sim_disk *copy_disk(const struct sim_disk *from, struct sim *into)
{
	struct sim_disk *to = sim_disk_new(into);

	to->number = from->number;
	for (LIST_EACH(&from->inodes, k)) {
		struct sim_inode *i = container_of(k, struct sim_inode, link);

		i->copy = copy_inode(to, i, i == from->root ? to->root : NULL);
	}
	for (LIST_EACH(&from->inodes, k)) {
		struct sim_inode *i = container_of(k, struct sim_inode, link);

		copy_names(&i->live, &i->copy->live);
		copy_names(&i->durable, &i->copy->durable);
	}
	copy_changes(from, to);
	for (LIST_EACH(&from->inodes, k)) {
		struct sim_inode *i = container_of(k, struct sim_inode, link);

		sim_inode_charge(to, i->copy);
		if (i != from->root)
			sim_inode_unref(to, i->copy); /* names and changes hold it now; one that was only open is gone */
		i->copy = NULL;
	}
	return to;
}

void sim_host_clone(const struct sim_host *h, struct sim *into, bool power_cut, struct sim_host **ret, struct world **ret_world)
{
	struct sim_host *copy;

	if (sim_host_new(into, h->name, "", &copy, ret_world) < 0)
		sim_give_up(into, "a machine can't be copied");
	sim_disk_free(copy->disk);
	copy->disk = copy_disk(h->disk, into);
	if (power_cut)
		sim_disk_crash(copy->disk, h->ordered);
	*ret = copy;
}

/* --- fibers ----------------------------------------------------------------------------------------- */

static bool is_sleeper(const struct fiber *f)
{
	return strcmp(f->waits_for, "disk") == 0;
}

void sim_each_wait(const struct sim *s, void (*each)(void *context, const struct sim_wait *w), void *context)
{
	for (LIST_EACH(&s->loops, k)) {
		const struct sim_loop *sl = container_of(k, struct sim_loop, link);

		if (sl->world->dead || sl->state != SIM_LOOP_STARTED)
			continue;
		for (LIST_EACH(&sl->loop->fibers, m)) {
			const struct fiber *f = container_of(m, struct fiber, all);

			if (f->state != FIBER_WAITING || is_sleeper(f))
				continue;
			each(context, &(struct sim_wait) {
				.host = sl->world->host, .loop = sl->loop->name, .fiber = f->name, .what = f->waits_for, .since = f->since,
				.deadline = heap_node_linked(&f->timer) ? f->timer.key : DEADLINE_NEVER });
		}
	}
}

/* --- memory ------------------------------------------------------------------------------------------ */

/* What the allocator really gave. */
static size_t size_of(const void *p)
{
	return p ? malloc_usable_size((void *) (uintptr_t) p) + sizeof(size_t) : 0;
}

static size_t names_size(const struct sim_names *n)
{
	size_t size = size_of(n->list);

	for (size_t i = 0; i < n->len; i++)
		size += size_of(n->list[i].name);
	return size;
}

static size_t disk_size(const struct sim_disk *d)
{
	size_t size = size_of(d);

	for (LIST_EACH(&d->inodes, k)) {
		const struct sim_inode *i = container_of(k, struct sim_inode, link);

		size += size_of(i) + size_of(i->data) + names_size(&i->live) + names_size(&i->durable);
		for (LIST_EACH(&i->writes, m)) {
			const struct sim_write *w = container_of(m, struct sim_write, link);

			size += size_of(w) + size_of(w->bytes);
		}
	}
	for (LIST_EACH(&d->changes, k)) {
		const struct sim_change *c = container_of(k, struct sim_change, link);

		size += size_of(c) + size_of(c->from_name) + size_of(c->to_name);
	}
	return size;
}

static size_t connection_size(const struct sim_conn *c)
{
	size_t size = size_of(c);

	for (unsigned i = 0; i < 2; i++) {
		size += size_of(c->pipe[i].ring);
		for (LIST_EACH(&c->pipe[i].segments, k)) {
			const struct sim_segment *g = container_of(k, struct sim_segment, link);

			if (g != &c->pipe[i].fin && g != &c->pipe[i].rst)
				size += size_of(g);
		}
	}
	return size;
}

size_t sim_footprint(const struct sim *s)
{
	size_t size = size_of(s) + size_of(s->events.nodes);

	for (LIST_EACH(&s->hosts, k)) {
		const struct sim_host *h = container_of(k, struct sim_host, link);

		size += size_of(h) + size_of(h->name) + size_of(h->ips) + disk_size(h->disk);
		for (LIST_EACH(&h->worlds, m)) {
			const struct sim_world *w = container_of(m, struct sim_world, link);

			size += size_of(w);
			for (LIST_EACH(&w->files, n)) {
				const struct sim_file *f = container_of(n, struct sim_file, link);

				size += size_of(f) + size_of(f->path);
			}
		}
	}
	for (LIST_EACH(&s->connections, k))
		size += connection_size(container_of(k, struct sim_conn, link));
	for (LIST_EACH(&s->partitions, k))
		size += size_of(k);
	for (LIST_EACH(&s->links, k))
		size += size_of(k);
	return size;
}
