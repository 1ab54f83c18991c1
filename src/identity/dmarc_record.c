#include "identity/dmarc_record.h"

#include "identity/tags.h"

const char *dmarc_policy_text(enum dmarc_policy p)
{
	static const char *const texts[] = { "none", "quarantine", "reject", "none" };

	return texts[p];
}

/* RFC 9989 section 4.8: "v", an equals sign with blanks around it, DMARC1 in just this spelling, a separator or the end. */
bool dmarc_record_is(struct slice text)
{
	struct slice value, name = slice_trim(slice_cut(slice_head(text, (size_t) (slice_find(text, ';') < 0 ? (ssize_t) text.len : slice_find(text, ';'))), '=', &value));

	return value.data && slice_ieq_str(name, "v") && slice_eq_str(slice_trim(value), "DMARC1");
}

/* A tag's name is a literal of the grammar, so its case doesn't matter. */
static struct slice get(const struct tags *t, const char *name)
{
	for (unsigned i = 0; i < t->n; i++)
		if (slice_ieq_str(t->tag[i].name, name))
			return t->tag[i].value;
	return SLICE_NULL;
}

/* False when it is there and not valid. */
static bool read_policy(struct slice value, enum dmarc_policy *ret)
{
	if (!value.data)
		return true;
	for (enum dmarc_policy p = DMARC_POLICY_NONE; p <= DMARC_POLICY_REJECT; p++) {
		if (slice_ieq_str(value, dmarc_policy_text(p))) {
			*ret = p;
			return true;
		}
	}
	return false;
}

/* At least one thing that could be the address of reports: a scheme, a colon, something. */
static bool has_uri(struct slice list)
{
	struct slice uri;

	while (fws_word(&list, ',', &uri)) {
		ssize_t colon = slice_find(uri, ':');
		size_t n = 0;

		while (n < uri.len && (ascii_is_alnum(uri.data[n]) || (n > 0 && uri.data[n] && strchr("+-.", uri.data[n]))))
			n++;
		if (colon > 0 && n == (size_t) colon && uri.len > n + 1 && ascii_is_alpha(*uri.data))
			return true;
	}
	return false;
}

void dmarc_record_parse(struct slice text, struct dmarc_record *ret)
{
	struct dmarc_record record = { .p = DMARC_POLICY_NONE, .sp = DMARC_POLICY_ABSENT, .np = DMARC_POLICY_ABSENT };
	struct slice psd;
	struct tags t;
	bool valid;

	tags_parse_leniently(text, &t);
	valid = read_policy(get(&t, "p"), &record.p);
	valid = read_policy(get(&t, "sp"), &record.sp) && valid;
	valid = read_policy(get(&t, "np"), &record.np) && valid;
	record.rua = get(&t, "rua");
	record.ruf = get(&t, "ruf");
	record.fo = get(&t, "fo");
	if (!valid) {
		record.p = DMARC_POLICY_NONE;
		record.sp = record.np = DMARC_POLICY_ABSENT;
		record.unusable = !has_uri(record.rua);
	}
	record.strict_dkim = slice_ieq_str(get(&t, "adkim"), "s");
	record.strict_spf = slice_ieq_str(get(&t, "aspf"), "s");
	record.testing = slice_ieq_str(get(&t, "t"), "y");
	psd = get(&t, "psd");
	record.psd = slice_ieq_str(psd, "y") ? DMARC_PSD_YES : slice_ieq_str(psd, "n") ? DMARC_PSD_NO : DMARC_PSD_UNKNOWN;
	*ret = record;
}
