#include "report/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>

#include "base/buffer.h"
#include "mail/header.h"
#include "mail/mime.h"

#define SIZE_MAX_DEFAULT (64u << 20)
#define RATIO_MAX 500u
#define RATIO_FREE (1u << 20) /* so much may come of anything */
#define ENTRIES_MAX 100u
#define PIECE 65536u

struct unpacking {
	struct unpack_limits limits;
	const struct unpack_found *found;
};

static void trouble(struct unpacking *u, const char *why)
{
	if (u->found->trouble)
		u->found->trouble(why, u->found->context);
}

enum sort { SORT_OTHER, SORT_XML, SORT_JSON, SORT_GZIP, SORT_ZIP };

static enum sort sort_of(struct slice s)
{
	if (s.len >= 2 && memcmp(s.data, "\x1f\x8b", 2) == 0)
		return SORT_GZIP;
	if (s.len >= 4 && memcmp(s.data, "PK\x03\x04", 4) == 0)
		return SORT_ZIP;
	if (s.len >= 3 && memcmp(s.data, "\xef\xbb\xbf", 3) == 0)
		s = slice_skip(s, 3);
	while (s.len && strchr(" \t\r\n", s.data[0]) && s.data[0])
		s = slice_skip(s, 1);
	if (s.len && s.data[0] == '<')
		return SORT_XML;
	return s.len && s.data[0] == '{' ? SORT_JSON : SORT_OTHER;
}

static int give(struct unpacking *u, struct slice text)
{
	enum sort sort = sort_of(text);

	if (sort == SORT_XML || sort == SORT_JSON)
		return u->found->document(sort == SORT_XML ? DOCUMENT_XML : DOCUMENT_JSON, text, u->found->context);
	trouble(u, "an archive holds something that is neither XML nor JSON");
	return 0;
}

/* --- archives --------------------------------------------------------------------------------------------------- */

static void archive_freep(struct archive **a)
{
	if (*a)
		archive_read_free(*a);
}

/* 0; -EFBIG beyond a limit; -EBADMSG: damaged; -ENOMEM. */
static int read_entry(struct unpacking *u, struct archive *a, size_t packed, struct buffer *out)
{
	for (;;) {
		char *room = buffer_reserve(out, PIECE);
		la_ssize_t n;

		if (!room)
			return -ENOMEM;
		n = archive_read_data(a, room, PIECE);
		if (n <= 0)
			return n < 0 ? -EBADMSG : 0;
		buffer_commit(out, (size_t) n);
		if (out->len > u->limits.size || (out->len > RATIO_FREE && out->len / u->limits.ratio > packed))
			return -EFBIG;
	}
}

static int give_entry(struct unpacking *u, struct archive *a, size_t packed)
{
	_cleanup_buffer_ struct buffer text = { 0 };
	int r = read_entry(u, a, packed, &text);

	if (r == -EBADMSG)
		trouble(u, "an archive is damaged");
	else if (r == -EFBIG)
		trouble(u, "an archive was left: unpacked, it is larger than any report");
	if (r < 0)
		return r;
	return give(u, buffer_slice(&text));
}

static int unpack_archive(struct unpacking *u, struct slice data, bool zip)
{
	_cleanup_(archive_freep) struct archive *a = archive_read_new();
	struct archive_entry *entry;
	int r = 0;

	if (!a)
		return -ENOMEM;
	if (zip)
		archive_read_support_format_zip(a);
	else
		archive_read_support_filter_gzip(a), archive_read_support_format_raw(a);
	if (archive_read_open_memory(a, data.data, data.len) != ARCHIVE_OK) {
		trouble(u, "an archive can't be opened");
		return 0;
	}
	for (unsigned n = 0; n < u->limits.entries && r == 0; n++) {
		int next = archive_read_next_header(a, &entry);

		if (next == ARCHIVE_EOF)
			return 0;
		if (next < ARCHIVE_WARN) {
			trouble(u, "an archive is damaged");
			return 0;
		}
		if (zip && archive_entry_filetype(entry) != AE_IFREG)
			continue;
		r = give_entry(u, a, data.len);
	}
	return r == -EBADMSG || r == -EFBIG ? 0 : r;
}

/* --- messages --------------------------------------------------------------------------------------------------- */

struct message_parts {
	struct unpacking *unpacking;
	unsigned found;
};

static int unpack_data(struct unpacking *u, struct slice data, enum sort sort)
{
	if (sort == SORT_GZIP || sort == SORT_ZIP)
		return unpack_archive(u, data, sort == SORT_ZIP);
	return give(u, data);
}

/* Prose may begin with any character; archives are known by theirs, whatever a part calls itself. */
static int look_at_part(const struct mime_part *part, void *context)
{
	struct message_parts *parts = context;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	bool prose = strcmp(part->type, "text/plain") == 0 || strcmp(part->type, "text/html") == 0;
	struct slice data;
	enum sort sort;
	int r = arena_new(0, &arena);

	if (r >= 0)
		r = mime_decode(part, arena, &data);
	if (r == -EINVAL) {
		trouble(parts->unpacking, "a part of a message can't be decoded");
		return 0;
	}
	if (r < 0)
		return r;
	sort = sort_of(data);
	if (sort == SORT_OTHER || (prose && !part->name.data && sort != SORT_GZIP && sort != SORT_ZIP))
		return 0;
	parts->found++;
	return unpack_data(parts->unpacking, data, sort);
}

static int unpack_message(struct unpacking *u, struct slice message)
{
	struct message_parts parts = { .unpacking = u };
	int r = mime_walk(message, look_at_part, &parts);

	if (r == -E2BIG) {
		trouble(u, "a message has more parts than are looked at");
		return 0;
	}
	if (r == 0 && !parts.found)
		trouble(u, "a message holds no report");
	return r;
}

/* The end of a message in a mailbox file: at the blank line before the next "From ". */
static size_t mbox_next(struct slice s)
{
	static const char mark[] = "\nFrom ";
	const char *at = s.data;

	while ((at = memmem(at, s.len - (size_t) (at - s.data), mark, strlen(mark)))) {
		size_t offset = (size_t) (at - s.data) + 1;

		if (offset >= 2 && (s.data[offset - 2] == '\n' || (s.data[offset - 2] == '\r' && offset >= 3 && s.data[offset - 3] == '\n')))
			return offset;
		at++;
	}
	return s.len;
}

static int unpack_mbox(struct unpacking *u, struct slice file)
{
	int r = 0;

	while (file.len && r == 0) {
		size_t n = mbox_next(file);
		struct slice rest, message = slice_head(file, n);

		slice_cut(message, '\n', &rest); /* the line "From " */
		r = unpack_message(u, rest);
		file = slice_skip(file, n);
	}
	return r;
}

int report_unpack(struct slice file, const struct unpack_limits *limits, const struct unpack_found *found)
{
	struct unpacking u = { .found = found };
	enum sort sort = sort_of(file);

	if (limits)
		u.limits = *limits;
	u.limits.size = u.limits.size ? u.limits.size : SIZE_MAX_DEFAULT;
	u.limits.ratio = u.limits.ratio ? u.limits.ratio : RATIO_MAX;
	u.limits.entries = u.limits.entries ? u.limits.entries : ENTRIES_MAX;
	if (sort != SORT_OTHER)
		return unpack_data(&u, file, sort);
	if (file.len >= 5 && memcmp(file.data, "From ", 5) == 0)
		return unpack_mbox(&u, file);
	if (header_section_length(file) > 0)
		return unpack_message(&u, file);
	trouble(&u, "it is neither a report nor a message");
	return 0;
}
