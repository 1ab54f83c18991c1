#include <expat.h>

#include "report/dmarc_report.h"

#define ROWS_MAX 100000u
#define DEPTH_MAX 16u
#define TEXT_MAX 4096u /* of one element; what is longer is cut */
#define NAMESPACE_END '|' /* expat puts it between a namespace and a name */

static_assert(sizeof(XML_Char) == 1, "expat gives UTF-8");

struct reading {
	XML_Parser parser;
	struct arena *arena;
	unsigned rows_max;
	struct dmarc_report *report;
	unsigned rows_room;
	struct dmarc_report_row *row; /* the record that is open */
	unsigned signatures_room;
	unsigned depth;
	const char *path[DEPTH_MAX]; /* names of the open elements, without namespace; in the arena only as long as they
	                              * are one of ours: others are "" */
	size_t text_len;
	char text[TEXT_MAX + 1];
	bool in_feedback;
	int error;
	const char *why;
};

static void stop(struct reading *rd, int error, const char *why)
{
	if (rd->error >= 0) {
		rd->error = error;
		rd->why = why;
	}
	XML_StopParser(rd->parser, XML_FALSE);
}

/* Names that mean something here: static, so that they can be compared and kept. */
static const char *known_name(const char *name)
{
	static const char *const names[] = {
		"feedback", "report_metadata", "org_name", "email", "extra_contact_info", "report_id", "date_range", "begin",
		"end", "error", "generator", "policy_published", "domain", "p", "sp", "np", "adkim", "aspf", "fo", "testing",
		"discovery_method", "record", "row", "source_ip", "count", "policy_evaluated", "disposition", "dkim", "spf",
		"reason", "type", "comment", "identifiers", "header_from", "envelope_from", "envelope_to", "auth_results",
		"selector", "result",
	};
	const char *local = strrchr(name, NAMESPACE_END);

	local = local ? local + 1 : name;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(names[i], local) == 0)
			return names[i];
	return "";
}

static bool is_at(const struct reading *rd, unsigned level, const char *name)
{
	return level < rd->depth && strcmp(rd->path[level], name) == 0;
}

/* A list that doubles; its old places stay in the arena. */
static void *grow(struct reading *rd, void *items, unsigned n, unsigned *room, size_t size)
{
	void *more;

	if (n < *room)
		return items;
	more = arena_array(rd->arena, size, *room ? *room * 2u : 8u);
	if (!more) {
		stop(rd, -ENOMEM, NULL);
		return NULL;
	}
	if (n)
		memcpy(more, items, n * size);
	*room = *room ? *room * 2u : 8u;
	return more;
}

static void begin_record(struct reading *rd)
{
	struct dmarc_report *report = rd->report;
	void *rows;

	if (report->n_rows >= rd->rows_max) {
		stop(rd, -E2BIG, "it has more records than are read");
		return;
	}
	rows = grow(rd, report->rows, report->n_rows, &rd->rows_room, sizeof(*report->rows));
	if (!rows)
		return;
	report->rows = rows;
	rd->row = &report->rows[report->n_rows++];
	*rd->row = (struct dmarc_report_row) { 0 };
	rd->signatures_room = 0;
}

static void begin_signature(struct reading *rd)
{
	struct dmarc_report_row *row = rd->row;
	void *signatures;

	if (row->n_signatures >= DMARC_REPORT_SIGNATURES_MAX)
		return;
	signatures = grow(rd, row->signatures, row->n_signatures, &rd->signatures_room, sizeof(*row->signatures));
	if (!signatures)
		return;
	row->signatures = signatures;
	row->signatures[row->n_signatures++] = (struct dmarc_report_dkim) { 0 };
}

static void XMLCALL on_start(void *context, const XML_Char *name, const XML_Char **attributes)
{
	struct reading *rd = context;

	if (rd->depth >= DEPTH_MAX) {
		stop(rd, -EBADMSG, "its elements are nested too deeply");
		return;
	}
	rd->path[rd->depth++] = known_name(name);
	rd->text_len = 0;
	if (rd->depth == 1) {
		rd->in_feedback = is_at(rd, 0, "feedback");
		if (!rd->in_feedback)
			stop(rd, -EBADMSG, "its outermost element is not \"feedback\"");
	} else if (rd->depth == 2 && is_at(rd, 1, "record")) {
		begin_record(rd);
	} else if (rd->depth == 4 && rd->row && is_at(rd, 2, "auth_results") && is_at(rd, 3, "dkim")) {
		begin_signature(rd);
	}
}

static void XMLCALL on_text(void *context, const XML_Char *text, int len)
{
	struct reading *rd = context;
	size_t n = MIN((size_t) len, TEXT_MAX - rd->text_len);

	memcpy(rd->text + rd->text_len, text, n);
	rd->text_len += n;
}

/* --- what an element says ------------------------------------------------------------------------------------ */

/* The first of two counts. */
static void keep(struct reading *rd, const char **place, struct slice text)
{
	if (*place)
		return;
	*place = arena_slice(rd->arena, text);
	if (!*place)
		stop(rd, -ENOMEM, NULL);
}

static void keep_time(wall_t *place, struct slice text)
{
	uint64_t n;

	if (!*place && slice_to_u64(text, &n) >= 0 && n < UINT32_MAX * 1000ull)
		*place = (wall_t) (n * USEC_SEC);
}

struct place {
	const char *name;
	size_t offset;
};

/* True when the name of the innermost element is one of these; then its text is kept. */
static void keep_named(struct reading *rd, const struct place *places, size_t n, void *base, struct slice text)
{
	for (size_t i = 0; i < n; i++)
		if (is_at(rd, rd->depth - 1, places[i].name))
			keep(rd, (const char **) ((char *) base + places[i].offset), text);
}

static void take_metadata(struct reading *rd, struct slice text)
{
	static const struct place places[] = {
		{ "org_name", offsetof(struct dmarc_report, organization) }, { "email", offsetof(struct dmarc_report, email) },
		{ "extra_contact_info", offsetof(struct dmarc_report, contact) }, { "report_id", offsetof(struct dmarc_report, id) },
		{ "error", offsetof(struct dmarc_report, error) }, { "generator", offsetof(struct dmarc_report, generator) },
	};

	if (rd->depth == 3)
		keep_named(rd, places, ARRAY_LEN(places), rd->report, text);
	else if (rd->depth == 4 && is_at(rd, 2, "date_range") && is_at(rd, 3, "begin"))
		keep_time(&rd->report->begin, text);
	else if (rd->depth == 4 && is_at(rd, 2, "date_range") && is_at(rd, 3, "end"))
		keep_time(&rd->report->end, text);
}

static void take_policy(struct reading *rd, struct slice text)
{
	static const struct place places[] = {
		{ "domain", offsetof(struct dmarc_report, domain) }, { "p", offsetof(struct dmarc_report, p) },
		{ "sp", offsetof(struct dmarc_report, sp) }, { "np", offsetof(struct dmarc_report, np) },
		{ "adkim", offsetof(struct dmarc_report, adkim) }, { "aspf", offsetof(struct dmarc_report, aspf) },
		{ "fo", offsetof(struct dmarc_report, fo) }, { "testing", offsetof(struct dmarc_report, testing) },
		{ "discovery_method", offsetof(struct dmarc_report, discovery) },
	};

	if (rd->depth == 3)
		keep_named(rd, places, ARRAY_LEN(places), rd->report, text);
}

static void take_row(struct reading *rd, struct slice text)
{
	static const struct place evaluated[] = {
		{ "disposition", offsetof(struct dmarc_report_row, disposition) }, { "dkim", offsetof(struct dmarc_report_row, dkim) },
		{ "spf", offsetof(struct dmarc_report_row, spf) },
	};
	static const struct place reason[] = {
		{ "type", offsetof(struct dmarc_report_row, override) }, { "comment", offsetof(struct dmarc_report_row, comment) },
	};
	uint64_t n;

	if (rd->depth == 4 && is_at(rd, 3, "source_ip"))
		keep(rd, &rd->row->source_ip, text);
	else if (rd->depth == 4 && is_at(rd, 3, "count") && slice_to_u64(text, &n) >= 0)
		rd->row->count = n;
	else if (rd->depth == 5 && is_at(rd, 3, "policy_evaluated"))
		keep_named(rd, evaluated, ARRAY_LEN(evaluated), rd->row, text);
	else if (rd->depth == 6 && is_at(rd, 4, "reason"))
		keep_named(rd, reason, ARRAY_LEN(reason), rd->row, text);
}

static void take_results(struct reading *rd, struct slice text)
{
	static const struct place dkim[] = {
		{ "domain", offsetof(struct dmarc_report_dkim, domain) }, { "selector", offsetof(struct dmarc_report_dkim, selector) },
		{ "result", offsetof(struct dmarc_report_dkim, result) },
	};
	static const struct place spf[] = {
		{ "domain", offsetof(struct dmarc_report_row, spf_domain) }, { "result", offsetof(struct dmarc_report_row, spf_result) },
	};

	if (rd->depth != 5)
		return;
	if (is_at(rd, 3, "dkim") && rd->row->n_signatures)
		keep_named(rd, dkim, ARRAY_LEN(dkim), &rd->row->signatures[rd->row->n_signatures - 1], text);
	else if (is_at(rd, 3, "spf"))
		keep_named(rd, spf, ARRAY_LEN(spf), rd->row, text);
}

static void take_record(struct reading *rd, struct slice text)
{
	static const struct place identifiers[] = {
		{ "header_from", offsetof(struct dmarc_report_row, header_from) },
		{ "envelope_from", offsetof(struct dmarc_report_row, envelope_from) },
		{ "envelope_to", offsetof(struct dmarc_report_row, envelope_to) },
	};

	if (is_at(rd, 2, "row"))
		take_row(rd, text);
	else if (is_at(rd, 2, "identifiers") && rd->depth == 4)
		keep_named(rd, identifiers, ARRAY_LEN(identifiers), rd->row, text);
	else if (is_at(rd, 2, "auth_results"))
		take_results(rd, text);
}

static struct slice trim(struct slice s)
{
	while (s.len && strchr(" \t\r\n", s.data[0]))
		s = slice_skip(s, 1);
	while (s.len && strchr(" \t\r\n", s.data[s.len - 1]))
		s.len--;
	return s;
}

static void XMLCALL on_end(void *context, const XML_Char *name)
{
	struct reading *rd = context;
	struct slice text = trim(slice_new(rd->text, rd->text_len));

	if (is_at(rd, 1, "report_metadata"))
		take_metadata(rd, text);
	else if (is_at(rd, 1, "policy_published"))
		take_policy(rd, text);
	else if (is_at(rd, 1, "record") && rd->row)
		take_record(rd, text);
	rd->depth--;
	rd->text_len = 0;
	if (rd->depth == 1)
		rd->row = NULL;
}

/* No document type, so no entities: those five that XML itself has are enough for a report. */
static void XMLCALL on_doctype(void *context, const XML_Char *name, const XML_Char *system, const XML_Char *public, int internal)
{
	stop(context, -EBADMSG, "it has a DOCTYPE, which reports have no use for and attacks have");
}

static int parse(struct reading *rd, struct slice xml)
{
	enum XML_Status status;

	if (xml.len > INT32_MAX) {
		rd->why = "it is too large";
		return -EBADMSG;
	}
	XML_SetUserData(rd->parser, rd);
	XML_SetElementHandler(rd->parser, on_start, on_end);
	XML_SetCharacterDataHandler(rd->parser, on_text);
	XML_SetStartDoctypeDeclHandler(rd->parser, on_doctype);
	XML_SetParamEntityParsing(rd->parser, XML_PARAM_ENTITY_PARSING_NEVER);
	status = XML_Parse(rd->parser, xml.data ? xml.data : "", (int) xml.len, XML_TRUE);
	if (rd->error < 0)
		return rd->error;
	if (status == XML_STATUS_OK)
		return 0;
	if (XML_GetErrorCode(rd->parser) == XML_ERROR_NO_MEMORY)
		return -ENOMEM;
	rd->why = arena_printf(rd->arena, "it is no XML: line %lu: %s", (unsigned long) XML_GetCurrentLineNumber(rd->parser),
			       XML_ErrorString(XML_GetErrorCode(rd->parser)));
	return rd->why ? -EBADMSG : -ENOMEM;
}

/* Without these nobody can tell whom it is about. */
static int check(const struct dmarc_report *report, const char **ret_why)
{
	*ret_why = !report->domain ? "it doesn't say which domain it is about"
		 : !report->n_rows ? "it has no record" : NULL;
	return *ret_why ? -EBADMSG : 0;
}

int dmarc_report_read(struct slice xml, const struct dmarc_report_limits *limits, struct arena *a, struct dmarc_report *ret,
		      const char **ret_why)
{
	struct dmarc_report report = { 0 };
	struct reading *rd = arena_new_type(a, struct reading);
	int r;

	*ret_why = NULL;
	if (!rd)
		return -ENOMEM;
	rd->arena = a;
	rd->report = &report;
	rd->rows_max = limits && limits->rows ? limits->rows : ROWS_MAX;
	rd->parser = XML_ParserCreateNS(NULL, NAMESPACE_END);
	if (!rd->parser)
		return -ENOMEM;
	r = parse(rd, xml);
	XML_ParserFree(rd->parser);
	*ret_why = rd->why;
	if (r >= 0)
		r = check(&report, ret_why);
	if (r < 0)
		return r;
	*ret = report;
	return 0;
}
