#include "smtp/parameters.h"

#include "base/utf8.h"
#include "mail/text.h"
#include "mail/xtext.h"

#define ENVID_MAX 100 /* RFC 3461 section 4.4 */

static const struct reply error_unknown = { 555, { 5, 5, 4 }, "A parameter is not recognized or not implemented" };
static const struct reply error_twice = { 501, { 5, 5, 4 }, "A parameter is given twice" };
static const struct reply error_memory = { 452, { 4, 3, 0 }, "Out of memory, try again later" };
static const struct reply error_too_big = { 552, { 5, 3, 4 }, "The message is larger than this server accepts" };
static const struct reply error_size = { 501, { 5, 5, 4 }, "SIZE= takes a number of octets" };
static const struct reply error_body = { 504, { 5, 5, 4 }, "BODY= takes 7BIT, 8BITMIME or what else was offered" };
static const struct reply error_no_value = { 501, { 5, 5, 4 }, "SMTPUTF8 and REQUIRETLS take no value" };
static const struct reply error_ret = { 501, { 5, 5, 4 }, "RET= takes FULL or HDRS" };
static const struct reply error_envid = { 501, { 5, 5, 4 }, "ENVID= takes xtext of up to 100 characters" };
static const struct reply error_auth = { 501, { 5, 5, 4 }, "AUTH= takes a mailbox as xtext, or <>" };
static const struct reply error_notify = { 501, { 5, 5, 4 }, "NOTIFY= takes NEVER, or SUCCESS,FAILURE,DELAY" };
static const struct reply error_orcpt = { 501, { 5, 5, 4 }, "ORCPT= takes an address type, a semicolon and xtext" };

static const struct reply error_by = { 501, { 5, 5, 4 }, "BY= takes seconds, a semicolon, and N or R (R with a time to come), then T or nothing" };
static const struct reply error_hold_for = { 501, { 5, 5, 4 }, "HOLDFOR= takes a number of seconds" };
static const struct reply error_hold_until = { 501, { 5, 5, 4 }, "HOLDUNTIL= takes a time like 2027-01-31T08:00:00Z" };
static const struct reply error_hold_both = { 501, { 5, 5, 4 }, "HOLDFOR= and HOLDUNTIL= can't stand together" };
static const struct reply error_priority = { 501, { 5, 5, 2 }, "MT-PRIORITY= takes a number from -9 to 9" };
static const struct reply error_solicit = { 501, { 5, 5, 4 }, "SOLICIT= takes classes like org.example:ADV, separated by commas" };
static const struct reply error_rrvs = { 501, { 5, 5, 4 }, "RRVS= takes a time like 2014-04-03T23:01:00Z, then ;C or ;R or nothing" };

/* What the parsers of the single values share. */
struct context {
	struct arena *arena;
	unsigned offered;
	uint64_t max_size;
	bool smtputf8;
	struct mail_parameters *mail;
	struct rcpt_parameters *rcpt;
};

/* Each parser gets the text behind "=" (data NULL without one) and returns NULL or the reply that refuses. */
typedef const struct reply *(*value_parser)(struct context *c, struct slice value);

static const struct reply *for_error(int r, const struct reply *otherwise)
{
	return r == -ENOMEM ? &error_memory : otherwise;
}

/* RFC 1870 section 6.1: the size that the client expects; 0 says nothing. */
static const struct reply *parse_size(struct context *c, struct slice value)
{
	uint64_t size;
	int r = slice_to_u64(value, &size);

	if (r == -ERANGE)
		return &error_too_big;
	if (r < 0)
		return &error_size;
	if (c->max_size && size > c->max_size)
		return &error_too_big;
	c->mail->size = size;
	return NULL;
}

static const struct reply *parse_body(struct context *c, struct slice value)
{
	if (slice_ieq_str(value, "7BIT"))
		c->mail->body = BODY_7BIT;
	else if (slice_ieq_str(value, "8BITMIME") && (c->offered & EXT_8BITMIME))
		c->mail->body = BODY_8BITMIME;
	else if (slice_ieq_str(value, "BINARYMIME") && (c->offered & EXT_BINARYMIME))
		c->mail->body = BODY_BINARYMIME;
	else
		return &error_body;
	return NULL;
}

static const struct reply *parse_smtputf8(struct context *c, struct slice value)
{
	if (value.data)
		return &error_no_value;
	c->mail->smtputf8 = true;
	return NULL;
}

static const struct reply *parse_requiretls(struct context *c, struct slice value)
{
	if (value.data)
		return &error_no_value;
	c->mail->requiretls = true;
	return NULL;
}

static const struct reply *parse_ret(struct context *c, struct slice value)
{
	if (slice_ieq_str(value, "FULL"))
		c->mail->ret = DSN_RET_FULL;
	else if (slice_ieq_str(value, "HDRS"))
		c->mail->ret = DSN_RET_HDRS;
	else
		return &error_ret;
	return NULL;
}

static const struct reply *parse_envid(struct context *c, struct slice value)
{
	struct slice envid;
	int r;

	if (value.len == 0 || value.len > ENVID_MAX)
		return &error_envid;
	r = xtext_decode(c->arena, value, &envid);
	if (r < 0)
		return for_error(r, &error_envid);
	if (!text_is_printable_ascii(envid))
		return &error_envid;
	c->mail->envid = envid.data;
	return NULL;
}

/* RFC 4954 section 5. Whether the claim is believed is the session's business. */
static const struct reply *parse_auth(struct context *c, struct slice value)
{
	struct slice auth;
	int r;

	if (slice_eq_str(value, "<>")) {
		c->mail->auth = "";
		return NULL;
	}
	if (value.len == 0)
		return &error_auth;
	r = xtext_decode(c->arena, value, &auth);
	if (r < 0)
		return for_error(r, &error_auth);
	if (auth.len == 0 || text_has_control(auth) || !utf8_valid(auth))
		return &error_auth;
	c->mail->auth = auth.data;
	return NULL;
}

/* RFC 2852 section 4: by-time ";" by-mode [by-trace]. */
static const struct reply *parse_by(struct context *c, struct slice value)
{
	struct slice mode, time = slice_cut(value, ';', &mode);
	struct by_parameter by = { .trace = mode.len == 2 && ascii_lower(mode.data[1]) == 't' };
	bool negative = time.len > 0 && time.data[0] == '-';
	uint64_t seconds;

	if (negative || (time.len > 0 && time.data[0] == '+'))
		time = slice_skip(time, 1);
	if (time.len > 9 || slice_to_u64(time, &seconds) < 0 || mode.len == 0 || mode.len > 2 || (mode.len == 2 && !by.trace))
		return &error_by;
	by.seconds = negative ? -(int32_t) seconds : (int32_t) seconds;
	by.mode = (char) (mode.data[0] & ~0x20);
	if (by.mode != 'N' && (by.mode != 'R' || by.seconds <= 0))
		return &error_by;
	c->mail->by = by;
	return NULL;
}

/* RFC 4865 section 3. What is too long is refused by whoever knows the limit. */
static const struct reply *parse_hold_for(struct context *c, struct slice value)
{
	uint64_t seconds;

	if (c->mail->hold_until)
		return &error_hold_both;
	if (value.len > 9 || slice_to_u64(value, &seconds) < 0 || seconds == 0)
		return &error_hold_for;
	c->mail->hold_for = (uint32_t) seconds;
	return NULL;
}

static const struct reply *parse_hold_until(struct context *c, struct slice value)
{
	wall_t until;

	if (c->mail->hold_for)
		return &error_hold_both;
	if (wall_parse_rfc3339(value, &until) < 0 || until <= 0)
		return &error_hold_until;
	c->mail->hold_until = until;
	return NULL;
}

/* RFC 6710 section 7: (["-"] NZDIGIT) / "0". */
static const struct reply *parse_priority(struct context *c, struct slice value)
{
	bool negative = value.len == 2 && value.data[0] == '-';
	char digit = value.len > 0 ? value.data[value.len - 1] : '\0';

	if (value.len != (negative ? 2u : 1u) || !ascii_is_digit(digit) || (negative && digit == '0'))
		return &error_priority;
	c->mail->has_priority = true;
	c->mail->priority = negative ? '0' - digit : digit - '0';
	return NULL;
}

bool solicit_is_valid(struct slice classes)
{
	if (classes.len == 0 || classes.len > SOLICIT_MAX)
		return false;
	while (classes.data) {
		struct slice word = slice_cut(classes, ',', &classes);

		if (word.len == 0 || !ascii_is_alpha(word.data[0]))
			return false;
		for (size_t i = 1; i < word.len; i++)
			if (!ascii_is_alnum(word.data[i]) && !memchr(".-_:", word.data[i], 4))
				return false;
	}
	return true;
}

struct slice solicit_match(struct slice classes, struct slice refused)
{
	while (classes.len > 0) {
		struct slice class = slice_trim(slice_cut(classes, ',', &classes)), rest = refused;

		while (rest.len > 0)
			if (slice_ieq(class, slice_cut(rest, ',', &rest)))
				return class;
	}
	return SLICE_NULL;
}

static const struct reply *parse_solicit(struct context *c, struct slice value)
{
	if (!solicit_is_valid(value))
		return &error_solicit;
	c->mail->solicit = arena_slice(c->arena, value);
	return c->mail->solicit ? NULL : &error_memory;
}

static const struct reply *parse_notify(struct context *c, struct slice value)
{
	unsigned notify = 0;

	if (value.len == 0)
		return &error_notify;
	while (value.data) {
		struct slice word = slice_cut(value, ',', &value);

		if (slice_ieq_str(word, "NEVER"))
			notify |= NOTIFY_NEVER;
		else if (slice_ieq_str(word, "SUCCESS"))
			notify |= NOTIFY_SUCCESS;
		else if (slice_ieq_str(word, "FAILURE"))
			notify |= NOTIFY_FAILURE;
		else if (slice_ieq_str(word, "DELAY"))
			notify |= NOTIFY_DELAY;
		else
			return &error_notify;
	}
	/* RFC 3461 section 4.1: NEVER stands alone. */
	if ((notify & NOTIFY_NEVER) && notify != NOTIFY_NEVER)
		return &error_notify;
	c->rcpt->notify = notify;
	return NULL;
}

static const struct reply *parse_orcpt(struct context *c, struct slice value)
{
	int r;

	if (value.len == 0)
		return &error_orcpt;
	r = orcpt_decode(c->arena, value, c->smtputf8, &c->rcpt->orcpt);
	return r < 0 ? for_error(r, &error_orcpt) : NULL;
}

/* RFC 7293 section 3.1: without a fraction of a second. */
static const struct reply *parse_rrvs(struct context *c, struct slice value)
{
	struct slice action, time = slice_cut(value, ';', &action);
	bool goes_on = slice_ieq_str(action, "C");

	if (action.data && !goes_on && !slice_ieq_str(action, "R"))
		return &error_rrvs;
	if (slice_find(time, '.') >= 0 || wall_parse_rfc3339(time, &c->rcpt->rrvs) < 0)
		return &error_rrvs;
	c->rcpt->has_rrvs = true;
	c->rcpt->rrvs_continue = goes_on;
	return NULL;
}

struct known {
	const char *keyword;
	unsigned extension;
	value_parser parse;
};

static const struct known mail_known[] = {
	{ "SIZE", EXT_SIZE, parse_size },
	{ "BODY", EXT_8BITMIME | EXT_BINARYMIME, parse_body },
	{ "SMTPUTF8", EXT_SMTPUTF8, parse_smtputf8 },
	{ "RET", EXT_DSN, parse_ret },
	{ "ENVID", EXT_DSN, parse_envid },
	{ "AUTH", EXT_AUTH, parse_auth },
	{ "REQUIRETLS", EXT_REQUIRETLS, parse_requiretls },
	{ "BY", EXT_DELIVERBY, parse_by },
	{ "HOLDFOR", EXT_FUTURERELEASE, parse_hold_for },
	{ "HOLDUNTIL", EXT_FUTURERELEASE, parse_hold_until },
	{ "MT-PRIORITY", EXT_MT_PRIORITY, parse_priority },
	{ "SOLICIT", EXT_NO_SOLICITING, parse_solicit },
};

static const struct known rcpt_known[] = {
	{ "NOTIFY", EXT_DSN, parse_notify },
	{ "ORCPT", EXT_DSN, parse_orcpt },
	{ "RRVS", EXT_RRVS, parse_rrvs },
};

static const struct reply *parse_one(struct context *c, const struct parameter *p, const struct known *known,
				     size_t n_known, unsigned *seen)
{
	for (size_t i = 0; i < n_known; i++) {
		if (!slice_ieq_str(p->keyword, known[i].keyword) || !(c->offered & known[i].extension))
			continue;
		if (*seen & 1u << i)
			return &error_twice;
		*seen |= 1u << i;
		return known[i].parse(c, p->value);
	}
	return &error_unknown;
}

static int parse_all(struct context *c, const struct path_args *args, const struct known *known, size_t n_known,
		     struct reply *ret_error)
{
	unsigned seen = 0;

	for (unsigned i = 0; i < args->n_parameters; i++) {
		const struct reply *error = parse_one(c, &args->parameters[i], known, n_known, &seen);

		if (!error)
			continue;
		*ret_error = *error;
		return error == &error_memory ? -ENOMEM : -EINVAL;
	}
	return 0;
}

int mail_parameters_parse(const struct path_args *args, unsigned offered, uint64_t max_size, struct arena *a,
			  struct mail_parameters *ret, struct reply *ret_error)
{
	struct mail_parameters mail = { 0 };
	struct context c = { .arena = a, .offered = offered, .max_size = max_size, .mail = &mail };
	int r;

	r = parse_all(&c, args, mail_known, ARRAY_LEN(mail_known), ret_error);
	if (r < 0)
		return r;
	*ret = mail;
	return 0;
}

int rcpt_parameters_parse(const struct path_args *args, unsigned offered, bool smtputf8, struct arena *a,
			  struct rcpt_parameters *ret, struct reply *ret_error)
{
	struct rcpt_parameters rcpt = { 0 };
	struct context c = { .arena = a, .offered = offered, .smtputf8 = smtputf8, .rcpt = &rcpt };
	int r;

	r = parse_all(&c, args, rcpt_known, ARRAY_LEN(rcpt_known), ret_error);
	if (r < 0)
		return r;
	*ret = rcpt;
	return 0;
}
