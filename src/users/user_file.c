#include "users/user_file.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "world/file.h"

/* --- lines ------------------------------------------------------------------------------------------------------ */

static int parse_attributes(struct slice text, struct user_line *line, const char **ret_why)
{
	while (text.len > 0) {
		struct slice value, word = slice_cut(text, ' ', &text);
		struct slice key = slice_cut(word, '=', &value);

		if (word.len == 0)
			continue;
		if (!slice_eq_str(key, "addresses") || value.len == 0) {
			*ret_why = "an attribute is not known; there is addresses=PATTERN,PATTERN";
			return -EINVAL;
		}
		line->addresses = value;
	}
	return 0;
}

int user_line_parse(struct slice line, struct user_line *ret, const char **ret_why)
{
	struct user_line l = { 0 };
	struct slice rest;
	int r;

	if (line.len > 0 && line.data[line.len - 1] == '\r')
		line.len--;
	if (slice_trim(line).len == 0 || line.data[0] == '#')
		return 0;
	l.name = slice_cut(line, ':', &rest);
	if (!rest.data) {
		*ret_why = "there is no ':' behind the name";
		return -EINVAL;
	}
	if (!user_name_is_valid(l.name)) {
		*ret_why = "the name is empty, too long, not UTF-8 or holds control characters";
		return -EINVAL;
	}
	r = verifiers_parse(rest, &rest, &l.verifiers);
	if (r < 0) {
		*ret_why = "the hash has none of the known forms ($y$..., $6$..., $2b$..., SCRAM-SHA-256$...)";
		return r;
	}
	r = parse_attributes(slice_skip(rest, 1), &l, ret_why);
	if (r < 0) {
		verifiers_done(&l.verifiers);
		return r;
	}
	*ret = l;
	return 1;
}

/* --- the file in memory ----------------------------------------------------------------------------------------- */

struct entry {
	struct hash_node node;
	uint32_t start, len; /* of the line */
};

struct user_file {
	struct world *world;
	const struct log *log;
	char *path;
	pthread_mutex_t lock; /* of everything below */
	struct hash_key key;
	bool loaded, failed;  /* failed: said in the log */
	struct file_info info;
	char *text;
	size_t text_len;
	struct entry *entries;
	struct hash hash;
};

int user_file_new(struct world *w, const struct log *log, const char *path, struct user_file **ret)
{
	struct user_file *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->world = w;
	f->log = log;
	f->path = strdup(path);
	if (!f->path) {
		free(f);
		return -ENOMEM;
	}
	world_random(w, &f->key, sizeof(f->key));
	pthread_mutex_init(&f->lock, NULL);
	*ret = f;
	return 0;
}

static void forget(struct user_file *f)
{
	if (f->text)
		explicit_bzero(f->text, f->text_len);
	free(TAKE_PTR(f->text));
	free(TAKE_PTR(f->entries));
	hash_done(&f->hash);
	f->hash = (struct hash) { 0 };
	f->loaded = false;
}

void user_file_free(struct user_file *f)
{
	if (!f)
		return;
	forget(f);
	pthread_mutex_destroy(&f->lock);
	free(f->path);
	free(f);
}

static struct slice line_of(const struct user_file *f, const struct entry *e)
{
	return slice_new(f->text + e->start, e->len);
}

static struct slice name_of(struct slice line)
{
	struct slice rest;

	return slice_cut(line, ':', &rest);
}

static const struct entry *find_entry(const struct user_file *f, struct slice name)
{
	uint64_t hash = hash_bytes_nocase(&f->key, name.data, name.len);

	for (struct hash_node *n = hash_find(&f->hash, hash); n; n = hash_find_next(n)) {
		const struct entry *e = container_of(n, struct entry, node);

		if (slice_ieq(name_of(line_of(f, e)), name))
			return e;
	}
	return NULL;
}

static void complain(const struct user_file *f, unsigned line, const char *why)
{
	LOG(f->log, LOG_WARNING, "a line of the password file says nothing that is understood", F_STR("file", f->path),
	    F_UINT("line", line), F_STR("reason", why));
}

/* Puts the lines into the table. -ENOMEM. */
static int index_lines(struct user_file *f)
{
	struct slice rest = slice_new(f->text, f->text_len);
	size_t n = 1, used = 0;
	int r = 0;

	for (size_t i = 0; i < f->text_len; i++)
		n += f->text[i] == '\n';
	f->entries = calloc(n, sizeof(*f->entries));
	if (!f->entries)
		return -ENOMEM;
	for (unsigned number = 1; rest.data && r >= 0; number++) {
		struct slice line = slice_cut(rest, '\n', &rest);
		const char *why = NULL;
		struct user_line parsed;
		struct entry *e = &f->entries[used];

		r = user_line_parse(line, &parsed, &why);
		if (r <= 0) {
			if (r == -EINVAL) {
				complain(f, number, why);
				r = 0;
			}
			continue;
		}
		verifiers_done(&parsed.verifiers);
		if (find_entry(f, parsed.name)) {
			complain(f, number, "this user has a line already, which counts");
			continue;
		}
		*e = (struct entry) { .start = (uint32_t) (line.data - f->text), .len = (uint32_t) line.len };
		r = hash_insert(&f->hash, &e->node, hash_bytes_nocase(&f->key, parsed.name.data, parsed.name.len));
		used++;
	}
	return r;
}

/* With the lock held. */
static int load_if_changed(struct user_file *f)
{
	struct file_info info;
	int r = path_info(f->world, f->path, &info);

	if (r >= 0 && f->loaded && info.size == f->info.size && info.modified == f->info.modified)
		return 0;
	if (r >= 0) {
		forget(f);
		r = file_read_all(f->world, f->path, USER_FILE_MAX, &f->text, &f->text_len);
	}
	if (r >= 0) {
		f->info = info;
		r = index_lines(f);
	}
	if (r >= 0) {
		f->loaded = true;
		f->failed = false;
		return 0;
	}
	forget(f);
	if (r == -ENOMEM)
		return r;
	if (!f->failed)
		LOG(f->log, LOG_ERROR, "the password file can't be read: nobody in it can log in", F_STR("file", f->path),
		    F_ERRNO("error", r));
	f->failed = true;
	return -EAGAIN;
}

static int copy_user(struct slice line, struct user *ret)
{
	struct user user = { 0 };
	struct user_line parsed;
	const char *why;
	int r = user_line_parse(line, &parsed, &why);

	if (r <= 0)
		return r == -ENOMEM ? r : -ENOENT;
	user.verifiers = parsed.verifiers;
	user.name = slice_dup(parsed.name);
	if (parsed.addresses.data)
		user.addresses = slice_dup(parsed.addresses);
	if (!user.name || (parsed.addresses.data && !user.addresses)) {
		user_done(&user);
		return -ENOMEM;
	}
	*ret = user;
	return 0;
}

int user_file_find(struct user_file *f, struct slice folded_name, struct user *ret)
{
	int r;

	pthread_mutex_lock(&f->lock);
	r = load_if_changed(f);
	if (r >= 0) {
		const struct entry *e = find_entry(f, folded_name);

		r = e ? copy_user(line_of(f, e), ret) : -ENOENT;
	}
	pthread_mutex_unlock(&f->lock);
	return r;
}

char *user_file_sample(struct user_file *f)
{
	char *sample = NULL;

	pthread_mutex_lock(&f->lock);
	for (struct hash_node *n = hash_walk(&f->hash, NULL); n && !sample; n = hash_walk(&f->hash, n)) {
		struct user user;

		if (copy_user(line_of(f, container_of(n, struct entry, node)), &user) < 0)
			continue;
		sample = TAKE_PTR(user.verifiers.crypt);
		user_done(&user);
	}
	pthread_mutex_unlock(&f->lock);
	return sample;
}

/* --- for the command line --------------------------------------------------------------------------------------- */

int user_file_edit(struct slice text, struct slice folded_name, const char *line, struct buffer *out)
{
	bool found = false;

	while (text.len > 0) {
		struct slice rest, old = slice_cut(text, '\n', &rest);

		if (old.len > 0 && old.data[0] != '#' && slice_ieq(name_of(old), folded_name)) {
			if (line && !found)
				buffer_printf(out, "%s\n", line);
			found = true;
		} else {
			buffer_append_slice(out, old);
			buffer_append_char(out, '\n');
		}
		text = rest;
	}
	if (!found && line)
		buffer_printf(out, "%s\n", line);
	return buffer_error(out) < 0 ? -ENOMEM : found;
}
