#include "identity/own_key.h"

#include "mail/address.h"

#define STRING_MAX 255u /* RFC 1035 section 3.3 */

char *own_key_name(struct arena *a, const char *selector, const char *domain)
{
	return arena_printf(a, "%s._domainkey.%s", selector, domain);
}

int own_key_record(const EVP_PKEY *key, struct arena *a, const char **ret)
{
	struct slice bytes = SLICE_NULL;
	const char *base64, *record;
	int r = crypto_public_bytes(key, a, &bytes);

	if (r < 0)
		return r;
	base64 = crypto_base64(a, (const unsigned char *) bytes.data, bytes.len);
	record = base64 ? arena_printf(a, "v=DKIM1; k=%s; p=%s", crypto_is_ed25519(key) ? "ed25519" : "rsa", base64) : NULL;
	if (!record)
		return -ENOMEM;
	*ret = record;
	return 0;
}

void own_key_zone_line(const char *name, const char *record, struct buffer *out)
{
	size_t len = strlen(record);
	bool several = len > STRING_MAX;

	buffer_printf(out, "%s. IN TXT %s", name, several ? "(" : "");
	do {
		size_t n = MIN(len, (size_t) STRING_MAX);

		buffer_printf(out, "%s\"%.*s\"", several ? "\n\t" : "", (int) n, record);
		record += n;
		len -= n;
	} while (len > 0);
	buffer_append_str(out, several ? " )\n" : "\n");
}

bool own_key_selector_is_valid(struct slice s)
{
	struct slice label;

	if (s.len == 0 || s.len > DOMAIN_MAX / 2)
		return false;
	while (s.data) {
		label = slice_cut(s, '.', &s);
		if (label.len == 0 || label.len > 63 || label.data[0] == '-' || label.data[label.len - 1] == '-')
			return false;
		for (size_t i = 0; i < label.len; i++)
			if (!ascii_is_alnum(label.data[i]) && label.data[i] != '-')
				return false;
	}
	return true;
}

/* --- compared with the DNS --------------------------------------------------------------------------------------- */

const char *key_finding_text(enum key_finding finding)
{
	static const char *const words[] = { "same", "missing", "other key", "revoked", "unusable", "unknown" };

	return words[finding];
}

struct comparison {
	const EVP_PKEY *key;
	struct arena *arena;
	struct key_comparison *result;
};

static void found(struct comparison *c, enum key_finding finding, const char *reason)
{
	c->result->finding = finding;
	c->result->reason = reason;
}

/* What the record allows, when its key is ours. */
static void judge_use(struct comparison *c, const struct key_record *record)
{
	if (record->hashes.data && !key_list_has(record->hashes, "sha256"))
		found(c, KEY_UNUSABLE, "the record has our key, but its h= leaves out sha256, with which we sign");
	else if (record->services.data && !key_list_has(record->services, "email") && !key_list_has(record->services, "*"))
		found(c, KEY_UNUSABLE, "the record has our key, but its s= says that it is not for mail");
	else
		found(c, KEY_SAME, record->testing ? "the record says t=y (testing): take the flag away when all is well"
						   : "the world finds this key");
}

static int look_at_record(struct comparison *c, struct slice text)
{
	_cleanup_(evp_pkey_freep) EVP_PKEY *key = NULL;
	struct key_record record;
	int r = key_record_parse(text, c->arena, &record);

	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		found(c, KEY_UNUSABLE, r == -ENOPKG ? "the record is for a kind of key that nobody knows (k=)"
						    : "the record has a syntax error");
		return 0;
	}
	c->result->testing = record.testing;
	if (record.data.len == 0) {
		found(c, KEY_REVOKED, "the record has an empty p=: signatures with this selector are void");
		return 0;
	}
	if (record.ed25519 != crypto_is_ed25519(c->key)) {
		found(c, KEY_OTHER, record.ed25519 ? "the record is for an Ed25519 key, ours is RSA"
						   : "the record is for an RSA key, ours is Ed25519");
		return 0;
	}
	r = crypto_public_key(record.ed25519, record.data, &key);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		found(c, KEY_UNUSABLE, "what the record has in p= is not a key");
	else if (EVP_PKEY_eq(c->key, key) != 1)
		found(c, KEY_OTHER, "the record has another key: signatures with ours fail");
	else
		judge_use(c, &record);
	return 0;
}

int own_key_compare(struct resolver *r, const char *domain, const char *selector, const EVP_PKEY *key, usec_t deadline,
		    struct arena *a, struct key_comparison *ret)
{
	struct key_comparison result = { .finding = KEY_MISSING, .reason = "" };
	struct comparison c = { .key = key, .arena = a, .result = &result };
	const char *name = own_key_name(a, selector, domain);
	struct dns_answer answer;
	int error;

	if (!name)
		return -ENOMEM;
	error = dns_query(r, name, DNS_TXT, deadline, a, &answer);
	if (error < 0)
		return error;
	result.records = answer.n_records;
	if (DNS_STATUS_TEMPORARY(answer.status))
		found(&c, KEY_UNKNOWN, arena_printf(a, "the DNS can't say now: %s", answer.why));
	else if (answer.n_records == 0)
		found(&c, KEY_MISSING, "there is no such record in the DNS");
	for (unsigned i = 0; i < answer.n_records && error >= 0 && (i == 0 || result.finding != KEY_SAME); i++)
		error = look_at_record(&c, answer.records[i].data);
	if (error >= 0 && result.records > 1)
		result.reason = arena_printf(a, "%s; there are %u records where only one may be", result.reason, result.records);
	if (error < 0 || !result.reason)
		return error < 0 ? error : -ENOMEM;
	*ret = result;
	return 0;
}
