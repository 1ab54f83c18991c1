#include "mail/header.h"

/* ftext of RFC 5322 section 2.2: what a field name is made of. */
static bool is_name_char(char c)
{
	return c > ' ' && c <= '~' && c != ':';
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* --- in memory ------------------------------------------------------------------------------------------- */

/* The first line of s with its end; *ret_text is the length without it. */
static struct slice first_line(struct slice s, size_t *ret_text)
{
	ssize_t lf = slice_find(s, '\n');
	size_t text;

	if (lf < 0) {
		*ret_text = s.len;
		return s;
	}
	text = (size_t) lf;
	if (text > 0 && s.data[text - 1] == '\r')
		text--;
	*ret_text = text;
	return slice_head(s, (size_t) lf + 1);
}

/* The octets of a line's name and of what stands between it and the colon (RFC 5322 section 4.5.8 knows spaces
 * there). False when the line is no field. */
static bool split_name(struct slice line, size_t *ret_name, size_t *ret_colon)
{
	size_t name = 0, colon;

	while (name < line.len && is_name_char(line.data[name]))
		name++;
	colon = name;
	while (colon < line.len && is_blank(line.data[colon]))
		colon++;
	if (name == 0 || colon == line.len || line.data[colon] != ':')
		return false;
	*ret_name = name;
	*ret_colon = colon;
	return true;
}

bool header_next(struct slice *rest, struct header_field *ret)
{
	size_t text, name, colon, len, without_end;
	struct slice line = first_line(*rest, &text);

	/* A mailbox file's separator. It can't be a field: a space stands before any colon. */
	if (line.len >= 5 && memcmp(line.data, "From ", 5) == 0 && !split_name(slice_head(line, text), &name, &colon)) {
		*rest = slice_skip(*rest, line.len);
		line = first_line(*rest, &text);
	}
	if (!split_name(slice_head(line, text), &name, &colon))
		return false;
	len = line.len;
	without_end = text;
	while (len < rest->len && is_blank(rest->data[len])) {
		struct slice next = first_line(slice_skip(*rest, len), &text);

		without_end = len + text;
		len += next.len;
	}
	ret->raw = slice_head(*rest, len);
	ret->name = slice_head(*rest, name);
	ret->value = slice_new(rest->data + colon + 1, without_end - colon - 1);
	*rest = slice_skip(*rest, len);
	return true;
}

bool header_next_anyhow(struct slice *rest, struct header_field *ret)
{
	while (!header_next(rest, ret)) {
		ssize_t lf = slice_find(*rest, '\n');

		if (lf <= 0 || (lf == 1 && rest->data[0] == '\r'))
			return false;
		*rest = slice_skip(*rest, (size_t) lf + 1);
	}
	return true;
}

bool header_find(struct slice section, const char *name, struct header_field *ret)
{
	struct header_field f;

	while (header_next(&section, &f)) {
		if (slice_ieq_str(f.name, name)) {
			*ret = f;
			return true;
		}
	}
	return false;
}

unsigned header_count(struct slice section, const char *name)
{
	struct header_field f;
	unsigned n = 0;

	while (header_next(&section, &f))
		n += slice_ieq_str(f.name, name);
	return n;
}

size_t header_section_length(struct slice message)
{
	struct slice rest = message;
	struct header_field f;

	while (header_next(&rest, &f))
		;
	return message.len - rest.len;
}

size_t header_body_offset(struct slice message)
{
	size_t offset = header_section_length(message), text;
	struct slice line = first_line(slice_skip(message, offset), &text);

	return text == 0 ? offset + line.len : offset;
}

char *header_unfold(struct arena *a, struct slice value)
{
	char *out = arena_alloc(a, value.len + 1);
	size_t n = 0;

	if (!out)
		return NULL;
	for (size_t i = 0; i < value.len; i++) {
		unsigned char c = (unsigned char) value.data[i];

		if (c == '\t')
			c = ' ';
		if (c < ' ' || c == 0x7f || (c == ' ' && n == 0))
			continue;
		out[n++] = (char) c;
	}
	while (n > 0 && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
	return out;
}

enum header_start header_start(struct slice begin)
{
	size_t name = 0, i;

	while (name < begin.len && is_name_char(begin.data[name]))
		name++;
	for (i = name; i < begin.len && name > 0 && is_blank(begin.data[i]); i++)
		;
	if (i == begin.len)
		return begin.len < HEADER_START_OCTETS ? HEADER_START_UNKNOWN : HEADER_START_TEXT;
	if (name == 0)
		return begin.data[0] == '\r' || begin.data[0] == '\n' ? HEADER_START_FIELD : HEADER_START_TEXT;
	if (begin.data[i] == ':')
		return HEADER_START_FIELD;
	return name == 4 && begin.data[4] == ' ' && memcmp(begin.data, "From", 4) == 0 ? HEADER_START_MAILBOX
										      : HEADER_START_TEXT;
}

/* --- as it goes by -------------------------------------------------------------------------------------- */

enum scanner_state {
	AT_LINE_START,
	IN_NAME,
	BEHIND_NAME, /* blanks before the colon */
	IN_VALUE,    /* or in a folded line */
	IN_FROM,     /* the separator of a mailbox file, before the first field */
};

static const struct {
	const char *name;
	unsigned bit;
} watched[] = {
	{ "date", HEADER_DATE },
	{ "from", HEADER_FROM },
	{ "sender", HEADER_SENDER },
	{ "message-id", HEADER_MESSAGE_ID },
	{ "return-path", HEADER_RETURN_PATH },
	{ "to", HEADER_TO },
	{ "cc", HEADER_TO },
	{ "bcc", HEADER_TO },
	{ "require-recipient-valid-since", HEADER_RRVS },
};

void header_scanner_init(struct header_scanner *s)
{
	*s = (struct header_scanner) { .state = AT_LINE_START };
}

static bool name_is(const struct header_scanner *s, const char *name)
{
	return slice_eq_str(slice_new(s->name, MIN(s->name_len, (unsigned) sizeof(s->name))), name) &&
	       s->name_len <= sizeof(s->name);
}

/* The colon was seen: which field is it? */
static void field_begins(struct header_scanner *s)
{
	s->state = IN_VALUE;
	s->value_len = 0;
	if (name_is(s, "received")) {
		s->received++;
		return;
	}
	if (name_is(s, "delivered-to")) {
		s->delivered_to++;
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(watched); i++) {
		if (!name_is(s, watched[i].name))
			continue;
		s->repeated |= s->seen & watched[i].bit;
		s->seen |= watched[i].bit;
	}
}

/* One octet of a value, for the only field whose value matters here. */
static void value_octet(struct header_scanner *s, char c)
{
	if (is_blank(c) || c == '\r' || c == '\n')
		return;
	if (s->value_len < sizeof(s->value))
		s->value[s->value_len++] = ascii_lower(c);
}

/* "-9" to "9". */
static bool read_priority(struct slice value, int8_t *ret)
{
	bool negative = value.len == 2 && value.data[0] == '-';
	char digit = value.len > 0 ? value.data[value.len - 1] : '\0';

	if (value.len != (negative ? 2u : 1u) || !ascii_is_digit(digit))
		return false;
	*ret = (int8_t) (negative ? '0' - digit : digit - '0');
	return true;
}

static void field_ends(struct header_scanner *s)
{
	if (name_is(s, "tls-required") && slice_eq_str(slice_new(s->value, s->value_len), "no"))
		s->seen |= HEADER_TLS_REQUIRED_NO;
	if (name_is(s, "mt-priority") && !s->has_priority)
		s->has_priority = read_priority(slice_new(s->value, s->value_len), &s->priority);
	s->name_len = 0;
	s->value_len = 0;
}

static void name_octet(struct header_scanner *s, char c)
{
	if (s->name_len < sizeof(s->name))
		s->name[s->name_len] = ascii_lower(c);
	if (s->name_len <= sizeof(s->name))
		s->name_len++;
}

static void finish(struct header_scanner *s)
{
	field_ends(s);
	s->octets -= s->line; /* the line that ended the section is not part of it */
	s->done = true;
}

/* An octet at the start of a line. */
static void line_begins(struct header_scanner *s, char c)
{
	if (is_blank(c)) {
		if (s->octets == 1)
			finish(s); /* nothing that it could continue */
		s->state = IN_VALUE;
		return;
	}
	field_ends(s);
	if (is_name_char(c)) {
		s->state = IN_NAME;
		name_octet(s, c);
	} else if (c != '\r') {
		finish(s); /* the blank line, or something that is no field */
	}
}

static void inside_name(struct header_scanner *s, char c)
{
	if (is_name_char(c)) {
		name_octet(s, c);
	} else if (c == ':') {
		field_begins(s);
	} else if (is_blank(c)) {
		s->state = BEHIND_NAME;
	} else {
		finish(s);
	}
}

static void behind_name(struct header_scanner *s, char c)
{
	if (c == ':')
		field_begins(s);
	else if (s->octets == s->line && name_is(s, "from"))
		s->state = IN_FROM;
	else if (!is_blank(c))
		finish(s);
}

static void scanner_octet(struct header_scanner *s, char c)
{
	s->octets++;
	s->line++;
	switch ((enum scanner_state) s->state) {
	case AT_LINE_START:
		line_begins(s, c);
		break;
	case IN_NAME:
		inside_name(s, c);
		break;
	case BEHIND_NAME:
		behind_name(s, c);
		break;
	case IN_VALUE:
		value_octet(s, c);
		break;
	case IN_FROM:
		break;
	}
	if (c == '\n' && !s->done) {
		s->longest_line = MAX(s->longest_line, s->line - 1 - (s->last == '\r'));
		s->line = 0;
		s->state = AT_LINE_START;
	}
	s->last = c;
}

void header_scanner_feed(struct header_scanner *s, struct slice piece)
{
	size_t i = 0;

	while (i < piece.len && !s->done) {
		/* The inside of a value is most of a header section. */
		if (s->state == IN_VALUE && s->value_len == sizeof(s->value)) {
			const char *lf = memchr(piece.data + i, '\n', piece.len - i);
			size_t n = lf ? (size_t) (lf - piece.data) - i : piece.len - i;

			s->octets += n;
			s->line += n;
			i += n;
			if (n > 0)
				s->last = piece.data[i - 1];
			if (i == piece.len)
				break;
		}
		scanner_octet(s, piece.data[i++]);
	}
}

void header_scanner_end(struct header_scanner *s)
{
	if (!s->done && (s->state == AT_LINE_START || s->state == IN_VALUE))
		field_ends(s);
	s->done = true;
}
