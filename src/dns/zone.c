/* Names and records of a master file, and what it answers. */
#include "dns/zone.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "dns/rdata.h"
#include "dns/zone_text.h"

#define ERRORS_MAX 20u
#define TTL_DEFAULT 3600u
#define TTL_NEGATIVE 300u

struct zone_record {
	struct zone_record *next;
	enum dns_type type;
	uint32_t ttl;
	struct slice rdata;
	struct dns_record record;
};

/* A name that has records, fails, or lies above one that does. */
struct node {
	struct hash_node hash;
	struct zone_record *records, **last;
	enum dns_status fails; /* DNS_OK: it doesn't */
	bool secure;           /* the zone that begins here is signed */
	uint8_t len;
	uint8_t wire[];
};

struct zone {
	struct arena *arena; /* nodes, records and what they point to */
	struct hash names;
	struct hash_key key; /* fixed: the names come from our own file */
	bool has_secure;     /* some node is */
};

void zone_free(struct zone *z)
{
	if (!z)
		return;
	hash_done(&z->names);
	arena_free(z->arena);
	free(z);
}

static struct node *find_node(const struct zone *z, const struct dns_name *name)
{
	uint64_t hash = hash_bytes(&z->key, name->wire, name->len);

	for (struct hash_node *h = hash_find(&z->names, hash); h; h = hash_find_next(h)) {
		struct node *n = container_of(h, struct node, hash);

		if (n->len == name->len && memcmp(n->wire, name->wire, n->len) == 0)
			return n;
	}
	return NULL;
}

static struct node *add_node(struct zone *z, const struct dns_name *name)
{
	struct node *n = arena_zalloc(z->arena, sizeof(*n) + name->len);

	if (!n)
		return NULL;
	n->last = &n->records;
	n->len = name->len;
	memcpy(n->wire, name->wire, name->len);
	return hash_insert(&z->names, &n->hash, hash_bytes(&z->key, n->wire, n->len)) < 0 ? NULL : n;
}

/* The node of a name, and those of all names above it: they exist, too (RFC 8020 section 2). */
static int get_node(struct zone *z, const struct dns_name *name, struct node **ret)
{
	struct node *found = find_node(z, name);
	struct dns_name above = *name;

	if (!found) {
		found = add_node(z, name);
		if (!found)
			return -ENOMEM;
		while (dns_name_parent(&above) && !find_node(z, &above))
			if (!add_node(z, &above))
				return -ENOMEM;
	}
	*ret = found;
	return 0;
}

static int add_record(struct zone *z, struct node *n, enum dns_type type, uint32_t ttl, struct slice rdata)
{
	struct zone_record *record;
	char *copy;
	int r;

	for (record = n->records; record; record = record->next)
		if (record->type == type && slice_eq(record->rdata, rdata))
			return 0; /* RFC 2181 section 5: a set has each record once */
	record = arena_new_type(z->arena, struct zone_record);
	copy = arena_slice(z->arena, rdata);
	if (!record || !copy)
		return -ENOMEM;
	record->type = type;
	record->ttl = ttl;
	record->rdata = slice_new(copy, rdata.len);
	r = dns_record_parse(type, record->rdata, z->arena, &record->record);
	if (r < 0)
		return r;
	*n->last = record;
	n->last = &record->next;
	return 0;
}

/* --- reading ----------------------------------------------------------------------------------------------- */

struct parser {
	struct zone *zone;
	const char *file;
	struct dns_name origin;
	struct node *owner; /* of the last record */
	bool have_ttl;      /* $TTL was given */
	uint32_t ttl, last_ttl;
	unsigned line;
	unsigned n_errors;
	struct buffer errors;
	struct buffer rdata; /* of the record at hand */
};

/* Notes a mistake and goes on with the next entry. Returns 0, so that only trouble of our own ends the reading. */
static int _printf_(2, 3) mistake(struct parser *p, const char *format, ...)
{
	char text[512];
	va_list ap;

	if (p->n_errors++ >= ERRORS_MAX)
		return 0;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	buffer_printf(&p->errors, "%s%s:%u: %s", p->errors.len ? "\n" : "", p->file, p->line, text);
	return 0;
}

static int mistake_about(struct parser *p, struct slice word, const char *what)
{
	char shown[128];

	return mistake(p, "'%s' %s", slice_escape(word, shown, sizeof(shown)), what);
}

/* 1 with the name, 0 when it is none (noted). */
static int read_name(struct parser *p, struct slice word, struct dns_name *ret)
{
	int r;

	if (slice_eq_str(word, "@")) {
		*ret = p->origin;
		return 1;
	}
	r = dns_name_parse(word, &p->origin, ret);
	if (r < 0)
		return mistake_about(p, word, r == -ENAMETOOLONG ? "is too long for a domain name" : "is not a domain name");
	return 1;
}

static int read_directive(struct parser *p, const struct zone_entry *e)
{
	struct slice word = e->words[0].text, value = e->n_words > 1 ? e->words[1].text : SLICE_NULL;

	if (slice_ieq_str(word, "$ORIGIN") && e->n_words == 2) {
		struct dns_name name;

		if (read_name(p, value, &name) > 0)
			p->origin = name;
		return 0;
	}
	if (slice_ieq_str(word, "$TTL") && e->n_words == 2) {
		if (zone_ttl_parse(value, &p->ttl) < 0)
			return mistake_about(p, value, "is not a time to live");
		p->have_ttl = true;
		return 0;
	}
	if (slice_ieq_str(word, "$ORIGIN") || slice_ieq_str(word, "$TTL"))
		return mistake_about(p, word, "takes exactly one value");
	return mistake_about(p, word, "is not supported here: write the records out in this file");
}

/* [TTL] [class], in either order, in front of the type. Returns how many words they take, -1 when wrong (noted). */
static int read_ttl_and_class(struct parser *p, const struct zone_word *words, unsigned n, uint32_t *ret_ttl)
{
	uint32_t ttl = p->have_ttl ? p->ttl : p->last_ttl;
	bool have_ttl = false, have_class = false;
	unsigned i;

	for (i = 0; i < n; i++) {
		struct slice word = words[i].text;
		int r = have_ttl ? -EINVAL : zone_ttl_parse(word, &ttl);

		if (r == -ERANGE) {
			(void) mistake_about(p, word, "is too large for a time to live");
			return -1;
		}
		if (r >= 0) {
			have_ttl = true;
		} else if (!have_class && slice_ieq_str(word, "IN")) {
			have_class = true;
		} else if (slice_ieq_str(word, "CH") || slice_ieq_str(word, "HS") || slice_ieq_str(word, "CS")) {
			(void) mistake_about(p, word, "is a class that mail has no use for: only IN is read");
			return -1;
		} else {
			break;
		}
	}
	if (have_ttl)
		p->last_ttl = ttl;
	*ret_ttl = ttl;
	return (int) i;
}

static int read_rdata(struct parser *p, struct node *owner, uint32_t ttl, const struct zone_word *words, unsigned n)
{
	const char *error = NULL;
	enum dns_type type;
	char number[16];
	bool ignored;
	int r;

	if (n == 0)
		return mistake(p, "the entry has no record type");
	if (zone_type_parse(words[0].text, &type, &ignored) < 0)
		return mistake_about(p, words[0].text, "is not a record type");
	if (ignored)
		return 0;
	buffer_clear(&p->rdata);
	r = zone_rdata_parse(type, words + 1, n - 1, &p->origin, &p->rdata, &error);
	if (r == -EBADMSG)
		return mistake(p, "%s record: %s", dns_type_name(type, number), error);
	if (r < 0)
		return r;
	r = add_record(p->zone, owner, type, ttl, buffer_slice(&p->rdata));
	if (r == -EBADMSG)
		return mistake(p, "%s record: the bytes are not those of such a record", dns_type_name(type, number));
	return r;
}

static int read_record(struct parser *p, const struct zone_entry *e)
{
	const struct zone_word *words = e->words;
	unsigned n = e->n_words;
	struct dns_name name;
	uint32_t ttl;
	int r;

	if (!e->indented) {
		if (read_name(p, words[0].text, &name) == 0)
			return 0;
		r = get_node(p->zone, &name, &p->owner);
		if (r < 0)
			return r;
		words++;
		n--;
	} else if (!p->owner) {
		return mistake(p, "the first record must begin with a name");
	}
	r = read_ttl_and_class(p, words, n, &ttl);
	if (r < 0)
		return 0;
	return read_rdata(p, p->owner, ttl, words + r, n - (unsigned) r);
}

/* What follows a word like "TIMEOUT" in a comment, if that is one name: 1, 0 when it is a sentence, -ENOMEM. */
static int read_marked_name(struct parser *p, struct slice word, struct node **ret)
{
	struct dns_name name;
	int r;

	word = slice_trim(word);
	if (word.len == 0 || slice_find(word, ' ') >= 0 || slice_find(word, '\t') >= 0)
		return 0;
	if (read_name(p, word, &name) == 0)
		return 0;
	r = get_node(p->zone, &name, ret);
	return r < 0 ? r : 1;
}

/* "; TIMEOUT name", "; SERVFAIL name" and "; SECURE name"; all other comments mean nothing. */
static int read_comment(struct parser *p, struct slice comment)
{
	enum dns_status fails = DNS_OK;
	struct node *node;
	struct slice word;
	int r;

	for (word = comment; word.len > 0 && *word.data != ' ' && *word.data != '\t';)
		word = slice_skip(word, 1);
	comment = slice_head(comment, comment.len - word.len);
	if (slice_eq_str(comment, "TIMEOUT"))
		fails = DNS_TIMEOUT;
	else if (slice_eq_str(comment, "SERVFAIL"))
		fails = DNS_SERVFAIL;
	else if (!slice_eq_str(comment, "SECURE"))
		return 0;
	r = read_marked_name(p, word, &node);
	if (r <= 0)
		return r;
	if (fails != DNS_OK)
		node->fails = fails;
	else
		node->secure = p->zone->has_secure = true;
	return 0;
}

static int read_entries(struct parser *p, struct slice text)
{
	struct zone_lexer lexer = { .rest = text, .line = 1 };
	_cleanup_(zone_entry_done) struct zone_entry e = { .kind = ZONE_END };
	const char *error;
	int r = 0;

	while (r >= 0) {
		r = zone_lexer_next(&lexer, &e, &error);
		p->line = e.line;
		if (r == -EBADMSG) {
			r = mistake(p, "%s", error);
			continue;
		}
		if (r < 0 || e.kind == ZONE_END)
			break;
		if (e.kind == ZONE_COMMENT)
			r = read_comment(p, e.comment);
		else if (e.n_words == 0)
			continue; /* empty parentheses */
		else if (!e.indented && !e.words[0].quoted && *e.words[0].text.data == '$')
			r = read_directive(p, &e);
		else
			r = read_record(p, &e);
	}
	return r;
}

int zone_parse(struct slice text, const char *file, struct zone **ret, char **ret_why)
{
	_cleanup_(zone_freep) struct zone *z = calloc(1, sizeof(*z));
	struct parser p = { .zone = z, .file = file, .origin = { .len = 1 }, .last_ttl = TTL_DEFAULT };
	int r;

	*ret_why = NULL;
	if (!z)
		return -ENOMEM;
	r = arena_new(0, &z->arena);
	if (r < 0)
		return r;
	r = read_entries(&p, text);
	if (r >= 0 && p.n_errors > 0) {
		if (p.n_errors > ERRORS_MAX)
			buffer_printf(&p.errors, "\n%s: %u more mistakes", file, p.n_errors - ERRORS_MAX);
		*ret_why = buffer_take(&p.errors);
		r = -EBADMSG;
	}
	buffer_done(&p.errors);
	buffer_done(&p.rdata);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(z);
	return 0;
}

/* --- answering ------------------------------------------------------------------------------------------------- */

/* RFC 4592 section 3.3.1: the wildcard below the closest name that exists answers for what does not. */
static const struct node *find_wildcard(const struct zone *z, const struct dns_name *name)
{
	struct dns_name encloser = *name, wildcard;

	while (dns_name_parent(&encloser)) {
		if (!find_node(z, &encloser))
			continue;
		return dns_name_wildcard(&encloser, &wildcard) < 0 ? NULL : find_node(z, &wildcard);
	}
	return NULL;
}

static int copy_records(const struct node *n, enum dns_type type, unsigned count, struct arena *a, struct dns_answer *answer)
{
	answer->records = arena_new_array(a, struct dns_record, count);
	if (!answer->records)
		return -ENOMEM;
	answer->ttl = UINT32_MAX;
	for (const struct zone_record *from = n->records; from && answer->n_records < count; from = from->next) {
		struct dns_record *to = &answer->records[answer->n_records];
		int r;

		if (from->type != type)
			continue;
		r = dns_record_parse(type, from->rdata, a, to);
		if (r < 0)
			return r;
		answer->n_records++;
		answer->ttl = MIN(answer->ttl, from->ttl);
	}
	answer->status = DNS_OK;
	return 0;
}

static unsigned count_records(const struct node *n, enum dns_type type)
{
	unsigned count = 0;

	for (const struct zone_record *record = n->records; record && count < DNS_RECORDS_MAX; record = record->next)
		count += record->type == type;
	return count;
}

static bool is_secure(const struct zone *z, const struct dns_name *name)
{
	struct dns_name above = *name;
	const struct node *n;

	if (!z->has_secure)
		return false;
	do {
		n = find_node(z, &above);
		if (n && n->secure)
			return true;
	} while (dns_name_parent(&above));
	return false;
}

int zone_find(const struct zone *z, const struct dns_name *name, enum dns_type type, struct arena *a,
	      struct dns_answer *ret, bool *ret_cname)
{
	const struct node *n = find_node(z, name);
	struct dns_answer answer = { .status = DNS_NXDOMAIN, .ttl = TTL_NEGATIVE };
	bool cname = false;
	unsigned count;
	int r = 0;

	if (!n)
		n = find_wildcard(z, name);
	if (n) {
		count = count_records(n, type);
		if (count == 0 && n->fails == DNS_OK && (count = count_records(n, DNS_CNAME)) > 0) {
			cname = true;
			type = DNS_CNAME;
			count = 1;
		}
		if (count > 0)
			r = copy_records(n, type, count, a, &answer);
		else
			answer.status = n->fails != DNS_OK ? n->fails : DNS_NODATA;
	}
	if (r < 0)
		return r;
	answer.secure = is_secure(z, name);
	*ret = answer;
	*ret_cname = cname;
	return 0;
}
