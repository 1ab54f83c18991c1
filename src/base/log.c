#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/id.h"
#include "base/utf8.h"

static const char *const level_names[] = {
	[LOG_DEBUG] = "debug",     [LOG_INFO] = "info",   [LOG_NOTICE] = "notice",
	[LOG_WARNING] = "warning", [LOG_ERROR] = "error", [LOG_CRITICAL] = "critical",
};

const char *log_level_name(enum log_level level)
{
	return (size_t) level < ARRAY_LEN(level_names) ? level_names[level] : "unknown";
}

int log_level_from_name(struct slice name, enum log_level *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
		if (slice_ieq_str(name, level_names[i])) {
			*ret = (enum log_level) i;
			return 0;
		}
	}
	return -EINVAL;
}

/* The error in words: strerror() may use a buffer that threads share, this one never does. */
static struct slice error_text(int64_t error, char *scratch, size_t size)
{
	int64_t number = error < 0 && error > -INT32_MAX ? -error : error;
	const char *text = number >= 0 && number < INT32_MAX ? strerrordesc_np((int) number) : NULL;

	if (text)
		return slice_from(text);
	snprintf(scratch, size, "error %" PRId64, error);
	return slice_from(scratch);
}

/* Seconds without needless zeros: 1.5, 0.000012, 60. */
static struct slice seconds_text(usec_t d, char *scratch, size_t size)
{
	int n = snprintf(scratch, size, "%" PRIu64 ".%06" PRIu64, d / USEC_SEC, d % USEC_SEC);

	while (scratch[n - 1] == '0')
		n--;
	if (scratch[n - 1] == '.')
		n--;
	return slice_new(scratch, (size_t) n);
}

/* The value as text, in the scratch (40 bytes are enough) or where it was. *ret_text is false for
 * numbers and booleans, which stand bare in JSON. */
static struct slice field_text(const struct field *f, char *scratch, size_t size, bool *ret_text)
{
	*ret_text = false;
	switch (f->type) {
	case FIELD_STR:
		*ret_text = true;
		return slice_from(f->str);
	case FIELD_SLICE:
		*ret_text = true;
		return f->slice;
	case FIELD_ERRNO:
		*ret_text = true;
		return error_text(f->i, scratch, size);
	case FIELD_ID:
		*ret_text = true;
		return slice_from(id_format(f->u, scratch));
	case FIELD_BOOL:
		return slice_from(f->i ? "true" : "false");
	case FIELD_USEC:
		return seconds_text(f->u, scratch, size);
	case FIELD_INT:
		snprintf(scratch, size, "%" PRId64, f->i);
		return slice_from(scratch);
	case FIELD_UINT:
		snprintf(scratch, size, "%" PRIu64, f->u);
		return slice_from(scratch);
	}
	return SLICE_NULL;
}

static bool left_out(const struct field *f)
{
	return (f->type == FIELD_STR && !f->str) || (f->type == FIELD_ERRNO && f->i == 0);
}

void fields_to_json(struct buffer *out, const struct field *fields, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char scratch[40];
		struct slice value;
		bool text;

		if (left_out(&fields[i]))
			continue;
		buffer_append_str(out, ",\"");
		buffer_append_json(out, slice_from(fields[i].name));
		buffer_append_str(out, "\":");
		value = field_text(&fields[i], scratch, sizeof(scratch), &text);
		if (text) {
			buffer_append_char(out, '"');
			buffer_append_json(out, value);
			buffer_append_char(out, '"');
		} else {
			buffer_append_slice(out, value);
		}
	}
}

/* Appends s for a terminal: printable characters, also beyond ASCII, as they are; the rest of the bytes
 * as \xNN, backslash and the given quote escaped. Nothing in it can end the line or move the cursor. */
static void append_shown(struct buffer *out, struct slice s, char quote)
{
	while (s.len > 0) {
		uint32_t c = 0;
		size_t n = utf8_decode(s, &c);

		if (n > 0 && (c == '\\' || (quote && c == (unsigned char) quote)))
			buffer_printf(out, "\\%c", (int) c);
		else if (n > 0 && utf8_printable(c))
			buffer_append(out, s.data, n);
		else if (c == '\n' || c == '\r' || c == '\t')
			buffer_append_str(out, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
		else
			for (size_t i = 0; i < MAX(n, (size_t) 1); i++)
				buffer_printf(out, "\\x%02x", (unsigned char) s.data[i]);
		s = slice_skip(s, MAX(n, (size_t) 1));
	}
}

/* A bare word needs no quotes: not empty, and nothing in it that is escaped or means something on the line. */
static bool needs_quotes(struct slice s)
{
	if (s.len == 0)
		return true;
	while (s.len > 0) {
		uint32_t c;
		size_t n = utf8_decode(s, &c);

		if (n == 0 || c == ' ' || c == '"' || c == '\\' || c == '=' || !utf8_printable(c))
			return true;
		s = slice_skip(s, n);
	}
	return false;
}

static void text_line(struct buffer *out, const char *time, enum log_level level, const char *text,
		      const struct field *fields, size_t n)
{
	buffer_printf(out, "%s %s ", time, log_level_name(level));
	append_shown(out, slice_from(text), 0);
	for (size_t i = 0; i < n; i++) {
		char scratch[40];
		struct slice value;
		bool is_text;

		if (left_out(&fields[i]))
			continue;
		value = field_text(&fields[i], scratch, sizeof(scratch), &is_text);
		buffer_printf(out, " %s=", fields[i].name);
		if (is_text && needs_quotes(value)) {
			buffer_append_char(out, '"');
			append_shown(out, value, '"');
			buffer_append_char(out, '"');
		} else {
			append_shown(out, value, 0);
		}
		if (fields[i].type == FIELD_USEC)
			buffer_append_char(out, 's');
	}
	buffer_append_char(out, '\n');
}

static void json_line(struct buffer *out, const char *time, enum log_level level, const char *text,
		      const struct field *fields, size_t n)
{
	buffer_printf(out, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\"", time, log_level_name(level));
	buffer_append_json(out, slice_from(text));
	buffer_append_char(out, '"');
	fields_to_json(out, fields, n);
	buffer_append_str(out, "}\n");
}

void log_write(const struct log *log, enum log_level level, const char *text, const struct field *fields, size_t n)
{
	static const char lost_text[] = "a log line was lost: out of memory\n";
	static const char lost_json[] = "{\"level\":\"error\",\"message\":\"a log line was lost: out of memory\"}\n";
	_cleanup_buffer_ struct buffer line = { 0 };
	char time[25];
	bool json;

	if (!log || level < __atomic_load_n(&log->level, __ATOMIC_RELAXED))
		return;
	json = __atomic_load_n(&log->json, __ATOMIC_RELAXED);
	wall_format_rfc3339(log->now(log->context), time, sizeof(time));
	if (json)
		json_line(&line, time, level, text, fields, n);
	else
		text_line(&line, time, level, text, fields, n);
	if (buffer_error(&line) == 0)
		log->write(log->context, line.data, line.len);
	else if (json)
		log->write(log->context, lost_json, sizeof(lost_json) - 1);
	else
		log->write(log->context, lost_text, sizeof(lost_text) - 1);
}
