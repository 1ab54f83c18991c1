/* Structured log lines for the administrator: a level, one sentence, named fields.
 *
 *	LOG(s->log, LOG_WARNING, "TLS handshake failed", F_STR("client", ip), F_ERRNO("error", r));
 *
 * An error is logged once, where it is handled; lower layers return it. The sink decides on the form
 * (JSON or text) and where it goes; struct log is handed down like any other dependency. Bytes from
 * the network may be given as they are: the sink escapes them. */
#pragma once

#include "base/buffer.h"
#include "base/time.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING, LOG_ERROR, LOG_CRITICAL };

enum field_type { FIELD_STR, FIELD_SLICE, FIELD_INT, FIELD_UINT, FIELD_BOOL, FIELD_ERRNO, FIELD_ID, FIELD_USEC };

struct field {
	const char *name; /* snake_case */
	enum field_type type;
	union {
		const char *str; /* NULL: the field is left out */
		struct slice slice;
		int64_t i;
		uint64_t u;
	};
};

#define F_STR(n, v) ((struct field) { .name = (n), .type = FIELD_STR, .str = (v) })
#define F_SLICE(n, v) ((struct field) { .name = (n), .type = FIELD_SLICE, .slice = (v) })
#define F_INT(n, v) ((struct field) { .name = (n), .type = FIELD_INT, .i = (v) })
#define F_UINT(n, v) ((struct field) { .name = (n), .type = FIELD_UINT, .u = (v) })
#define F_BOOL(n, v) ((struct field) { .name = (n), .type = FIELD_BOOL, .i = (v) })
#define F_ERRNO(n, v) ((struct field) { .name = (n), .type = FIELD_ERRNO, .i = (v) }) /* negative errno; 0: left out */
#define F_ID(n, v) ((struct field) { .name = (n), .type = FIELD_ID, .u = (v) })
#define F_USEC(n, v) ((struct field) { .name = (n), .type = FIELD_USEC, .u = (v) }) /* a duration; written in seconds */

struct log {
	enum log_level level; /* lines below it are not even formatted; a reload may change it at any time */
	bool json;
	wall_t (*now)(void *context);
	/* One finished line with its newline. Must not block and may be called from any thread. */
	void (*write)(void *context, const char *line, size_t len);
	void *context;
};

/* log may be NULL: nothing is written. */
void log_write(const struct log *log, enum log_level level, const char *text, const struct field *fields, size_t n);
#define LOG(to, lvl, text, ...)                                                                     \
	do {                                                                                        \
		const struct log *_log = (to);                                                      \
		if (_log && (lvl) >= __atomic_load_n(&_log->level, __ATOMIC_RELAXED)) {             \
			const struct field _fields[] = { __VA_ARGS__ };                             \
			log_write(_log, (lvl), (text), _fields, sizeof(_fields) / sizeof(struct field)); \
		}                                                                                   \
	} while (0)

const char *log_level_name(enum log_level level);
int log_level_from_name(struct slice name, enum log_level *ret);

/* The fields as JSON members, each with a leading comma: ,"name":value  -- shared with events. */
void fields_to_json(struct buffer *out, const struct field *fields, size_t n);
