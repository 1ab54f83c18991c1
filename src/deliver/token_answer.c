#include "deliver/token_answer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "smtp/bearer.h"

#define LIFETIME_MAX ((double) 366 * 86400)

/* A member that is a text, as far as it can be shown: escaped and cut. NULL: there is none. */
static const char *show(const json_t *o, const char *name, char out[static 200])
{
	const json_t *text = json_object_get(o, name);

	if (!json_is_string(text) || !json_string_length(text))
		return NULL;
	return slice_escape(slice_new(json_string_value(text), json_string_length(text)), out, 200);
}

static void free_secret(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

void token_answer_done(struct token_answer *a)
{
	free_secret(TAKE_PTR(a->access));
	free_secret(TAKE_PTR(a->refresh));
}

/* RFC 6749 section 5.2. Without a word of the form the status speaks. */
static int read_refusal(const json_t *o, long status, struct token_answer *ret)
{
	char error[200], text[200];
	const char *e = show(o, "error", error), *d = show(o, "error_description", text);

	if (e && (status == 200 || status / 100 == 4) && status != 429 && strcmp(e, "temporarily_unavailable") != 0) {
		(void) snprintf(ret->why, sizeof(ret->why), "it refuses: %.120s%s%.200s", e, d ? ": " : "", d ? d : "");
		return -EACCES;
	}
	(void) snprintf(ret->why, sizeof(ret->why), "it answers with status %ld%s%.120s", status, e ? ": " : "", e ? e : "");
	return status / 100 == 4 && status != 408 && status != 429 && !e ? -EACCES : -EAGAIN;
}

/* What may stand in a message, as a copy. -EPROTO: it may not. */
static int take_token(const json_t *o, const char *name, bool bearer, char **ret)
{
	const json_t *text = json_object_get(o, name);
	struct slice s;

	if (!json_is_string(text))
		return -EPROTO;
	s = slice_new(json_string_value(text), json_string_length(text));
	if (s.len == 0 || s.len > TOKEN_MAX || (bearer && !bearer_is_token(s)))
		return -EPROTO;
	/* RFC 6749 appendix A.17: of a refresh token, VSCHAR. */
	for (size_t i = 0; i < s.len; i++)
		if (s.data[i] < ' ' || s.data[i] > '~')
			return -EPROTO;
	*ret = slice_dup(s);
	return *ret ? 0 : -ENOMEM;
}

/* RFC 6749 section 5.1: a number; some servers write it as a text. */
static usec_t read_lifetime(const json_t *o)
{
	const json_t *e = json_object_get(o, "expires_in");
	double seconds = json_is_string(e) ? strtod(json_string_value(e), NULL) : json_number_value(e);

	if (!e || isnan(seconds))
		return 0;
	return seconds <= 0 ? 1 : MAX((usec_t) (MIN(seconds, LIFETIME_MAX) * (double) USEC_SEC), (usec_t) 1);
}

static int read_token(const json_t *o, struct token_answer *ret)
{
	const json_t *type = json_object_get(o, "token_type");
	int r;

	/* Section 7.1: one whose use we don't understand must not be used. */
	if (type && !slice_ieq_str(slice_from(json_string_value(type)), "Bearer")) {
		(void) snprintf(ret->why, sizeof(ret->why), "it gives a token of another type than Bearer");
		return -EPROTO;
	}
	r = take_token(o, "access_token", true, &ret->access);
	if (r == -EPROTO)
		(void) snprintf(ret->why, sizeof(ret->why), "there is no access_token in its answer that could be used");
	if (r < 0)
		return r;
	if (json_object_get(o, "refresh_token") && take_token(o, "refresh_token", false, &ret->refresh) == -ENOMEM)
		return -ENOMEM;
	ret->lifetime = read_lifetime(o);
	return 0;
}

int token_answer_parse(struct slice body, long status, struct token_answer *ret)
{
	struct token_answer a = { .lifetime = 0 };
	json_t *o = NULL;
	int r = json_parse(body, 0, NULL, &o);

	if (r == -ENOMEM) {
		*ret = a;
		return r;
	}
	if (status != 200 || json_object_get(o, "error")) {
		r = read_refusal(o, status, &a);
	} else if (!json_is_object(o)) {
		(void) snprintf(a.why, sizeof(a.why), "its answer is no JSON object");
		r = -EPROTO;
	} else {
		r = read_token(o, &a);
	}
	json_decref(o);
	if (r < 0)
		token_answer_done(&a);
	*ret = a;
	return r;
}

void bearer_error_describe(struct slice json, char out[static TOKEN_WHY])
{
	char status[200], scope[200];
	const char *s, *wanted;
	json_t *o = NULL;

	out[0] = '\0';
	if (json_parse(json, 0, NULL, &o) < 0)
		return;
	s = show(o, "status", status);
	wanted = show(o, "scope", scope);
	if (s || wanted)
		(void) snprintf(out, TOKEN_WHY, "%.100s%s%.200s", s ? s : "", !wanted ? "" : s ? ", scope " : "scope ", wanted ? wanted : "");
	json_decref(o);
}
