#include "report/tlsrpt_record.h"

#include "mail/text.h"

static const char version[] = "v=TLSRPTv1";

/* Spaces and tabs may stand before the semicolon: field-delim of section 3. */
bool tlsrpt_record_is(struct slice text)
{
	struct slice rest, first = slice_cut(text, ';', &rest);

	return rest.data && slice_eq_str(slice_trim(first), version) && text.data[0] == 'v';
}

/* tlsrpt-ext-name: also that of rua. */
static bool is_name(struct slice s)
{
	if (!s.len || s.len > 32 || !ascii_is_alnum(s.data[0]))
		return false;
	for (size_t i = 1; i < s.len; i++)
		if (!ascii_is_alnum(s.data[i]) && s.data[i] != '_' && s.data[i] != '-' && s.data[i] != '.')
			return false;
	return true;
}

int tlsrpt_record_parse(struct slice text, struct slice *ret_rua)
{
	struct slice rest, rua = SLICE_NULL;

	if (!tlsrpt_record_is(text))
		return -EINVAL;
	slice_cut(text, ';', &rest);
	while (rest.data) {
		struct slice value, field = slice_trim(slice_cut(rest, ';', &rest));
		struct slice name = slice_cut(field, '=', &value);

		if (!field.len && !rest.len)
			continue; /* behind the last semicolon */
		if (!value.data || !value.len || !is_name(name) || text_has_control(value))
			return -EINVAL;
		if (slice_eq_str(name, "rua") && !rua.data)
			rua = value;
	}
	if (!rua.data)
		return -EINVAL;
	*ret_rua = rua;
	return 0;
}
