/* Finding the life of one message: the id stands at the same place in every line, and it tells the day on
 * which the search may begin. */
#include <stdio.h>
#include <stdlib.h>

#include "admin/journal_files.h"

#define READ_SIZE (256u << 10)
#define ID_OFFSET 41u /* {"time":"2026-11-23T04:05:06.789Z","id":" comes before it */
#define ID_LEN 13u

struct search {
	struct world *world;
	const char *directory;
	msgid_t id;
	char text[MSGID_TEXT];
	uint64_t first; /* number of the first file that can have it */
	int (*each)(struct slice line, void *context);
	void *context;
	char *block; /* READ_SIZE bytes */
	struct buffer rest; /* the beginning of a line that goes on in the next block */
};

static bool line_matches(const struct search *s, struct slice line)
{
	if (line.len < 2 || line.data[0] != '{' || line.data[line.len - 1] != '}')
		return false; /* torn */
	if (s->id == MSGID_NONE)
		return true;
	return line.len > ID_OFFSET + ID_LEN && memcmp(line.data + ID_OFFSET, s->text, ID_LEN) == 0;
}

static int search_line(struct search *s, struct slice line)
{
	return line_matches(s, line) ? s->each(line, s->context) : 0;
}

static int search_block(struct search *s, struct slice block)
{
	while (block.len) {
		const char *end = memchr(block.data, '\n', block.len);
		struct slice line = slice_head(block, end ? (size_t) (end - block.data) : block.len);
		int r;

		if (!end) {
			buffer_append_slice(&s->rest, line);
			return buffer_error(&s->rest);
		}
		block = slice_skip(block, line.len + 1);
		if (s->rest.len) {
			buffer_append_slice(&s->rest, line);
			if (buffer_error(&s->rest) < 0)
				return -ENOMEM;
			line = buffer_slice(&s->rest);
		}
		r = search_line(s, line);
		buffer_clear(&s->rest);
		if (r != 0)
			return r;
	}
	return 0;
}

static int search_file(struct search *s, const char *name)
{
	_cleanup_(freep) char *path = NULL;
	_cleanup_(file_closep) struct file *file = NULL;
	uint64_t offset = 0;
	int r;

	if (asprintf(&path, "%s/%s", s->directory, name) < 0)
		return -ENOMEM;
	r = file_open(s->world, path, FILE_READ, 0, &file);
	if (r < 0)
		return r == -ENOENT ? 0 : r; /* tidied up meanwhile */
	buffer_clear(&s->rest);
	for (;;) {
		ssize_t n = file_pread(file, s->block, READ_SIZE, offset);

		if (n <= 0)
			return (int) n;
		offset += (size_t) n;
		r = search_block(s, slice_new(s->block, (size_t) n));
		if (r != 0)
			return r;
	}
}

static int visit(const char *name, void *context)
{
	struct search *s = context;
	uint64_t number;

	if (journal_name_parse(name, &number) < 0 || number < s->first)
		return 0;
	return search_file(s, name);
}

int journal_search(struct world *w, const char *directory, msgid_t id, int (*each)(struct slice line, void *context),
		   void *context)
{
	struct search s = { .world = w, .directory = directory, .id = id, .each = each, .context = context };
	int r;

	if (id != MSGID_NONE) {
		id_format(id, s.text);
		/* A day earlier, because clocks are set back sometimes. */
		s.first = journal_day(id_time(id) - (wall_t) USEC_DAY);
	}
	s.block = malloc(READ_SIZE);
	if (!s.block)
		return -ENOMEM;
	r = path_list(w, directory, visit, &s);
	buffer_done(&s.rest);
	free(s.block);
	return r;
}
