#include "route/mta_sts.h"

#include "dns/name.h"

#define FIELD_NAME_MAX 32u

const char *sts_mode_name(enum sts_mode m)
{
	static const char *const names[] = { [STS_NONE] = "none", [STS_TESTING] = "testing", [STS_ENFORCE] = "enforce" };

	return names[m];
}

static bool is_alnum(char c)
{
	return ascii_is_digit(c) || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
}

/* sts-ext-name. */
static bool is_field_name(struct slice s)
{
	if (s.len == 0 || s.len > FIELD_NAME_MAX || !is_alnum(s.data[0]))
		return false;
	for (size_t i = 1; i < s.len; i++)
		if (!is_alnum(s.data[i]) && !memchr("_-.", s.data[i], 3))
			return false;
	return true;
}

/* --- the record --------------------------------------------------------------------------------------------- */

/* sts-ext-value: what can be seen, but "=" and ";". */
static bool is_record_value(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.data[i] <= ' ' || s.data[i] > '~' || s.data[i] == '=')
			return false;
	return s.len > 0;
}

static int take_id(struct slice value, char id[static STS_ID_MAX + 1])
{
	if (value.len == 0 || value.len > STS_ID_MAX)
		return -EINVAL;
	for (size_t i = 0; i < value.len; i++)
		if (!is_alnum(value.data[i]))
			return -EINVAL;
	(void) slice_copy(value, id, STS_ID_MAX + 1);
	return 0;
}

int sts_record_parse(struct slice text, char ret_id[static STS_ID_MAX + 1])
{
	struct slice rest = text, version = slice_cut(text, ';', &rest);
	char id[STS_ID_MAX + 1] = "";

	if (!rest.data || !slice_eq_str(slice_trim(version), "v=STSv1") || text.data[0] != 'v')
		return 0;
	while (rest.len > 0) {
		struct slice value, field = slice_trim(slice_cut(rest, ';', &rest)), name;

		if (field.len == 0 && slice_trim(rest).len == 0)
			break; /* the delimiter at the end */
		name = slice_cut(field, '=', &value);
		if (!is_field_name(name))
			return -EINVAL;
		if (slice_eq_str(name, "id") && !id[0]) {
			if (take_id(value, id) < 0)
				return -EINVAL;
		} else if (!is_record_value(value)) {
			return -EINVAL;
		}
	}
	if (!id[0])
		return -EINVAL;
	memcpy(ret_id, id, sizeof(id));
	return 1;
}

/* --- the policy --------------------------------------------------------------------------------------------- */

struct reader {
	struct arena *arena;
	struct sts_policy policy;
	bool version, mode, max_age; /* seen */
	const char *why;
};

static int complain(struct reader *r, const char *why)
{
	r->why = why;
	return -EINVAL;
}

static int read_mode(struct reader *r, struct slice value)
{
	for (int m = STS_NONE; m <= STS_ENFORCE; m++)
		if (slice_eq_str(value, sts_mode_name((enum sts_mode) m))) {
			r->policy.mode = (enum sts_mode) m;
			r->mode = true;
			return 0;
		}
	return complain(r, "mode is neither enforce nor testing nor none");
}

static int read_max_age(struct reader *r, struct slice value)
{
	uint64_t seconds;

	if (value.len > 10 || slice_to_u64(value, &seconds) < 0)
		return complain(r, "max_age is not a number of seconds");
	r->policy.max_age = (uint32_t) MIN(seconds, (uint64_t) STS_AGE_MAX);
	r->max_age = true;
	return 0;
}

static int read_mx(struct reader *r, struct slice value)
{
	char *text;

	if (r->policy.n_patterns == STS_PATTERNS_MAX)
		return complain(r, "there are too many lines with mx");
	if (!r->policy.patterns)
		r->policy.patterns = arena_new_array(r->arena, const char *, STS_PATTERNS_MAX);
	if (value.len > 1 && value.data[value.len - 1] == '.')
		value.len--;
	text = arena_slice(r->arena, value);
	if (!r->policy.patterns || !text)
		return -ENOMEM;
	for (char *p = text; *p; p++)
		*p = ascii_lower(*p);
	if (strlen(text) != value.len || !dns_name_is_host(text[0] == '*' && text[1] == '.' ? text + 2 : text))
		return complain(r, "a value of mx is not the name of a host");
	r->policy.patterns[r->policy.n_patterns++] = text;
	return 0;
}

/* "name: value". */
static int read_line(struct reader *r, struct slice line)
{
	struct slice value, name = slice_cut(line, ':', &value);

	if (!value.data || !is_field_name(name))
		return complain(r, "a line is not \"name: value\"");
	value = slice_trim(value);
	for (size_t i = 0; i < value.len; i++)
		if ((unsigned char) value.data[i] < ' ' || value.data[i] == 0x7f)
			return complain(r, "a line has control characters");
	if (slice_eq_str(name, "version")) {
		if (!r->version && !slice_eq_str(value, "STSv1"))
			return complain(r, "version is not STSv1");
		r->version = true;
		return 0;
	}
	if (slice_eq_str(name, "mode"))
		return r->mode ? 0 : read_mode(r, value);
	if (slice_eq_str(name, "max_age"))
		return r->max_age ? 0 : read_max_age(r, value);
	return slice_eq_str(name, "mx") ? read_mx(r, value) : 0;
}

static int read_lines(struct reader *r, struct slice text)
{
	while (text.len > 0) {
		struct slice line = slice_cut(text, '\n', &text);
		int error;

		if (line.len > 0 && line.data[line.len - 1] == '\r')
			line.len--;
		line = slice_trim(line);
		error = line.len > 0 ? read_line(r, line) : 0;
		if (error < 0)
			return error;
	}
	if (!r->version)
		return complain(r, "version is missing");
	if (!r->mode)
		return complain(r, "mode is missing");
	if (!r->max_age)
		return complain(r, "max_age is missing");
	if (r->policy.mode != STS_NONE && r->policy.n_patterns == 0)
		return complain(r, "no mx is named");
	return 0;
}

int sts_policy_parse(struct slice text, struct arena *a, struct sts_policy *ret, const char **ret_why)
{
	struct reader r = { .arena = a };
	int error = text.len > STS_POLICY_MAX ? complain(&r, "it is longer than 64 KB") : read_lines(&r, text);

	if (error == -EINVAL)
		*ret_why = r.why;
	if (error < 0)
		return error;
	*ret = r.policy;
	return 0;
}

bool sts_policy_names(const struct sts_policy *p, const char *host)
{
	const char *dot = strchr(host, '.');

	for (unsigned i = 0; i < p->n_patterns; i++) {
		const char *pattern = p->patterns[i];

		if (pattern[0] == '*' && pattern[1] == '.' ? dot && dot > host && strcmp(dot, pattern + 1) == 0 : strcmp(host, pattern) == 0)
			return true;
	}
	return false;
}
