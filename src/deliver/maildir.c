#include "deliver/maildir.h"

#include <stdio.h>
#include <stdlib.h>

#include "deliver/failure.h"
#include "deliver/local_text.h"
#include "world/file.h"

#define NAME_SIZE 192u

/* --- where ---------------------------------------------------------------------------------------------------- */

/* One component of a path, made by a stranger: nothing that leaves the directory, hides, or confuses. */
static bool is_safe_component(const char *s)
{
	if (s[0] == '\0' || s[0] == '.')
		return false;
	for (const unsigned char *p = (const unsigned char *) s; *p; p++)
		if (*p == '/' || *p < 0x20 || *p == 0x7f)
			return false;
	return true;
}

static int local_component(const struct address *address, struct arena *a, const char **ret)
{
	char *local = address_local_plain(a, address), *plus;

	if (!local)
		return -ENOMEM;
	for (char *p = local; *p; p++)
		*p = ascii_lower(*p);
	plus = strchr(local, '+');
	if (plus && plus != local)
		*plus = '\0';
	if (!is_safe_component(local))
		return -EINVAL;
	*ret = local;
	return 0;
}

int maildir_path(const char *template, const char *address, struct arena *a, const char **ret)
{
	const char *local, *domain;
	struct address parsed;
	_cleanup_buffer_ struct buffer path = { 0 };
	int r;

	if (address_parse(slice_from(address), ADDRESS_OF_ENVELOPE, &parsed) < 0)
		return -EINVAL;
	r = local_component(&parsed, a, &local);
	if (r >= 0)
		r = domain_to_ascii(a, parsed.domain, &domain);
	if (r < 0)
		return r;
	if (!is_safe_component(domain))
		return -EINVAL;
	for (const char *p = template; *p;) {
		if (strncmp(p, "{domain}", strlen("{domain}")) == 0) {
			buffer_append_str(&path, domain);
			p += strlen("{domain}");
		} else if (strncmp(p, "{local}", strlen("{local}")) == 0) {
			buffer_append_str(&path, local);
			p += strlen("{local}");
		} else if (strncmp(p, "{user}", strlen("{user}")) == 0) {
			buffer_printf(&path, "%s@%s", local, domain);
			p += strlen("{user}");
		} else {
			buffer_append_char(&path, *p++);
		}
	}
	if (buffer_error(&path) < 0)
		return -ENOMEM;
	while (path.len > 1 && path.data[path.len - 1] == '/')
		path.data[--path.len] = '\0';
	*ret = arena_slice(a, buffer_slice(&path));
	return *ret ? 0 : -ENOMEM;
}

/* --- writing, on a worker ------------------------------------------------------------------------------------------ */

struct job {
	struct world *world;
	const char *directory;      /* of the mailbox */
	char name[NAME_SIZE];
	char *tmp;                  /* path of the file in tmp/; heap */
	struct file *file;
	struct slice head, piece;   /* to be written next */
	uint64_t size;              /* written so far */
	bool last;
};

static char *path_in(const char *directory, const char *below, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s/%s", directory, below, name) < 0 ? NULL : path;
}

static int make_part(struct job *j, const char *part)
{
	_cleanup_(freep) char *path = NULL;
	int r;

	if (asprintf(&path, "%s/%s", j->directory, part) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	r = path_make_directory(j->world, path, 0700);
	return r == -EEXIST ? 0 : r;
}

/* tmp comes last, when the rest is durable: whoever finds it need not ask whether another, who began to make the
 * mailbox, was interrupted or is still at it. */
static int make_mailbox(struct job *j)
{
	int r = path_make_directories_durably(j->world, j->directory, 0700);

	if (r >= 0)
		r = make_part(j, "new");
	if (r >= 0)
		r = make_part(j, "cur");
	if (r >= 0)
		r = path_sync_directory(j->world, j->directory);
	return r < 0 ? r : make_part(j, "tmp");
}

static int open_tmp(struct job *j)
{
	const unsigned flags = FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE | FILE_APPEND;
	int r;

	j->tmp = path_in(j->directory, "tmp", j->name);
	if (!j->tmp)
		return -ENOMEM;
	r = file_open(j->world, j->tmp, flags, 0600, &j->file);
	if (r == -ENOENT) {
		r = make_mailbox(j);
		if (r >= 0)
			r = file_open(j->world, j->tmp, flags, 0600, &j->file);
	}
	if (r < 0)
		free(TAKE_PTR(j->tmp)); /* nothing to remove */
	return r;
}

static int finish(struct job *j)
{
	_cleanup_(freep) char *directory = NULL, *path = NULL;
	char name[NAME_SIZE + 32];
	int r;

	snprintf(name, sizeof(name), "%s,S=%llu", j->name, (unsigned long long) j->size);
	path = path_in(j->directory, "new", name);
	directory = path_in(j->directory, "new", "");
	if (!path || !directory)
		return -ENOMEM;
	r = file_sync(j->file);
	if (r >= 0)
		r = path_rename(j->world, j->tmp, path);
	if (r == -ENOENT && make_mailbox(j) >= 0) /* somebody removed new/ */
		r = path_rename(j->world, j->tmp, path);
	if (r < 0)
		return r;
	free(TAKE_PTR(j->tmp));
	file_close(TAKE_PTR(j->file));
	return path_sync_directory(j->world, directory);
}

/* world_offload: leaves nothing of an attempt that failed. */
static int clean_up(void *arg)
{
	struct job *j = arg;

	file_close(TAKE_PTR(j->file));
	if (j->tmp)
		(void) path_unlink(j->world, j->tmp);
	free(TAKE_PTR(j->tmp));
	return 0;
}

/* world_offload: opens at the first piece, writes, finishes at the last. */
static int write_piece(void *arg)
{
	struct job *j = arg;
	int r = 0;

	if (!j->file)
		r = open_tmp(j);
	if (r >= 0 && j->head.len > 0)
		r = file_append(j->file, j->head);
	if (r >= 0 && j->piece.len > 0)
		r = file_append(j->file, j->piece);
	if (r >= 0) {
		j->size += j->head.len + j->piece.len;
		j->head = SLICE_NULL;
		if (j->last)
			r = finish(j);
	}
	if (r < 0)
		(void) clean_up(j);
	return r;
}

/* --- one recipient ---------------------------------------------------------------------------------------------------- */

/* The Maildir convention: seconds, then what makes it unique among all deliveries of this host, then the host, whose
 * name can't hold a slash or a colon. */
static void make_name(struct deliverer *d, const char *host, char out[static NAME_SIZE])
{
	wall_t t = world_wall(d->world);
	unsigned counter = atomic_fetch_add(&d->maildir_counter, 1);
	uint64_t random;
	size_t len;

	world_random(d->world, &random, sizeof(random));
	len = (size_t) snprintf(out, NAME_SIZE, "%lld.M%06lluR%016llxQ%u.", (long long) (t / (wall_t) USEC_SEC),
				(unsigned long long) (t % (wall_t) USEC_SEC), (unsigned long long) random, counter);
	for (; *host && len < NAME_SIZE - 5; host++) {
		if (*host == '/' || *host == ':') {
			memcpy(out + len, *host == '/' ? "\\057" : "\\072", 5);
			len += 4;
		} else {
			out[len++] = *host;
		}
	}
	out[len] = '\0';
}

struct mailbox_delivery {
	struct deliverer *deliverer;
	const struct deliver_settings *settings;
	const struct delivery *delivery;
	struct local_text *text;
	const char *address;
	const char *directory;
};

static int give_piece(struct slice piece, bool last, void *context)
{
	struct job *j = context;

	j->piece = piece;
	j->last = last;
	return world_offload(j->world, write_piece, j);
}

static void explain(const struct mailbox_delivery *m, int error, struct arena *a, struct outcome *ret)
{
	char buffer[128];

	switch (error) {
	case LOCAL_TEXT_LOOP:
		failure_local(ret, STAGE_LOCAL, CLASS_OTHER, 554, 4, 6,
			      arena_printf(a, "the message was delivered to %s before: it is going round in a loop", m->address));
		return;
	case -EDQUOT:
		failure_local(ret, STAGE_LOCAL, CLASS_MAILBOX_FULL, 452, 2, 2, arena_printf(a, "the mailbox of %s is full", m->address));
		return;
	case -ENOSPC:
		failure_local(ret, STAGE_LOCAL, CLASS_MAILBOX_FULL, 452, 3, 1,
			      arena_printf(a, "the disk that holds the mailbox of %s is full", m->address));
		return;
	default:
		failure_local(ret, STAGE_LOCAL, CLASS_OTHER, 451, 3, 0,
			      arena_printf(a, "the mailbox %s can't be written: %s", m->directory,
					   strerror_r(-error, buffer, sizeof(buffer))));
		LOG(m->deliverer->log, LOG_ERROR, "a mailbox can't be written; check its owner, its permissions and the disk",
		    F_ID("id", m->delivery->id), F_STR("mailbox", m->directory), F_ERRNO("error", error));
	}
}

static int deliver_into(struct mailbox_delivery *m)
{
	_cleanup_buffer_ struct buffer head = { 0 };
	struct job j = { .world = m->deliverer->world, .directory = m->directory };
	int r = local_text_head(m->delivery->envelope, m->address, &head);

	if (r < 0)
		return r;
	j.head = buffer_slice(&head);
	make_name(m->deliverer, m->settings->hostname, j.name);
	r = local_text_copy(m->text, m->address, give_piece, &j);
	if (j.file || j.tmp) /* the spool failed in the middle */
		(void) world_offload(m->deliverer->world, clean_up, &j);
	return r;
}

/* Fills the outcome of one recipient. */
static void deliver_one(struct mailbox_delivery *m, const char *template, struct delivery_recipient *recipient)
{
	struct arena *a = m->delivery->arena;
	struct outcome *o = &recipient->outcome;
	int r;

	m->address = recipient->address;
	m->directory = template;
	r = maildir_path(template, recipient->address, a, &m->directory);
	if (r == -EINVAL) {
		failure_local(o, STAGE_LOCAL, CLASS_NO_SUCH_USER, 550, 1, 3, "the address can't be the name of a mailbox here");
		return;
	}
	if (r >= 0)
		r = deliver_into(m);
	if (r < 0) {
		explain(m, r, a, o);
		return;
	}
	*o = (struct outcome) {
		.kind = OUTCOME_DELIVERED,
		.stage = STAGE_LOCAL,
		.reply = { 250, { 2, 0, 0 }, arena_printf(a, "delivered to %s", m->directory) },
	};
	if (!o->reply.text)
		o->reply.text = "delivered";
}

/* --- the courier ---------------------------------------------------------------------------------------------------------- */

static void deliver_all(struct deliverer *d, const struct deliver_settings *settings, const char *template,
			struct delivery *delivery)
{
	struct local_text text = { 0 };
	struct mailbox_delivery m = { .deliverer = d, .settings = settings, .delivery = delivery, .text = &text };
	struct outcome failure;

	if (local_text_open(d, delivery, &text, &failure) < 0) {
		failure_spread(&failure, delivery);
		return;
	}
	for (unsigned i = 0; i < delivery->n_recipients; i++)
		deliver_one(&m, template, &delivery->recipients[i]);
	local_text_close(&text);
}

void maildir_run(struct deliverer *d, const struct deliver_settings *settings, struct slot *slot)
{
	const char *template = slot_info(slot)->hop->maildir;
	struct delivery *delivery;

	while (slot_next(slot, deadline_after(now(), settings->config.idle_timeout), &delivery) == 0) {
		deliver_all(d, settings, template, delivery);
		slot_done(slot, delivery);
	}
}
