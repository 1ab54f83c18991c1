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
	else if (slice_ieq_str(value, "8BITMIME"))
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
};

static const struct known rcpt_known[] = {
	{ "NOTIFY", EXT_DSN, parse_notify },
	{ "ORCPT", EXT_DSN, parse_orcpt },
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
