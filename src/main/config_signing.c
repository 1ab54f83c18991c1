/* `identity.sign` and `identity.seal`: the keys with which we sign. They are read here, at the start and at a reload, and live as
 * long as the configuration; what can't sign is an error where it is named. */
#include <stdio.h>
#include <stdlib.h>

#include "identity/own_key.h"
#include "main/config_keys.h"
#include "main/config_sections.h"
#include "world/file.h"

#define PEM_MAX ((size_t) 64 * 1024)
#define BITS_LEAST 1024 /* RFC 8301 section 3.2 */
#define BITS_MOST 4096  /* verifiers need not take more */

/* Where a key of the map stands, or the map itself. */
static const struct config_mark *mark_of(const struct config_node *node, const char *key)
{
	const struct config_node *value = config_get(node, key);

	return value ? &value->mark : &node->mark;
}

/* A day, which begins at midnight UTC, or a point in time. */
static void read_date(struct config_reader *reader, const struct config_node *node, const char *key, const char *text, wall_t *ret)
{
	char whole[32];

	if (!text)
		return;
	if (strlen(text) == 10 && text[4] == '-') {
		snprintf(whole, sizeof(whole), "%sT00:00:00Z", text);
		text = whole;
	}
	if (wall_parse_rfc3339(slice_from(text), ret) < 0)
		config_error(reader->errors, mark_of(node, key), "%s: expected a day like 2026-11-25 or a time like 2026-11-25T12:00:00Z", key);
}

/* --- the file ---------------------------------------------------------------------------------------------------- */

static void judge_strength(struct config_reader *reader, const struct config_mark *mark, const struct signing_key *k)
{
	int bits = EVP_PKEY_get_bits(k->key);

	if (crypto_is_ed25519(k->key))
		return;
	if (bits < BITS_LEAST)
		config_error(reader->errors, mark, "file: the RSA key in %s has %d bits; receivers refuse less than %d (RFC 8301), use 2048",
			     k->file, bits, BITS_LEAST);
	else if (bits < (int) OWN_KEY_BITS)
		config_warning(reader->errors, mark, "file: the RSA key in %s has %d bits, which is weak; use %u", k->file, bits, OWN_KEY_BITS);
	else if (bits > BITS_MOST)
		config_warning(reader->errors, mark, "file: the RSA key in %s has %d bits; receivers need not take more than %d", k->file,
			       bits, BITS_MOST);
}

static int take_pem(struct config_reader *reader, const struct config_mark *mark, struct slice pem, struct signing_key *k)
{
	int r = crypto_private_key(pem, &k->key);

	if (r == -ENOMEM)
		return r;
	if (r == -ENOPKG)
		config_error(reader->errors, mark, "file: the key in %s is neither RSA nor Ed25519", k->file);
	else if (r < 0)
		config_error(reader->errors, mark, "file: there is no private key in %s (PEM, without a password)", k->file);
	else
		judge_strength(reader, mark, k);
	return 0;
}

static int read_file(struct config_reader *reader, struct world *w, const struct config_node *node, struct signing_key *k)
{
	const struct config_mark *mark = mark_of(node, "file");
	_cleanup_(freep) char *pem = NULL;
	struct file_info info;
	size_t len;
	int r = file_read_all(w, k->file, PEM_MAX, &pem, &len);

	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		config_error(reader->errors, mark, "file: cannot read %s: %s", k->file, strerrordesc_np(-r));
		return 0;
	}
	r = take_pem(reader, mark, slice_new(pem, len), k);
	explicit_bzero(pem, len);
	if (path_info(w, k->file, &info) == 0 && (info.mode & 07))
		config_warning(reader->errors, mark, "file: everybody on this machine may read %s; chmod 600 it", k->file);
	return r;
}

/* --- a key, a domain ---------------------------------------------------------------------------------------------- */

static void check_selector(struct config_reader *reader, const struct config_node *node, const char *selector)
{
	if (!own_key_selector_is_valid(slice_from(selector)))
		config_error(reader->errors, mark_of(node, "selector"), "selector: expected letters, digits and hyphens, like s1 or r202611");
}

static int read_key(struct config_reader *reader, struct world *w, const struct config_node *node, struct signing_key *k)
{
	struct signing_key_section s = { 0 };
	int r = config_fill(reader, "identity.sign[].keys[]", node, &s);

	if (r < 0)
		return r;
	k->selector = s.selector ? s.selector : "";
	k->file = s.file;
	if (s.selector)
		check_selector(reader, node, s.selector);
	read_date(reader, node, "begin", s.begin, &k->begin);
	read_date(reader, node, "end", s.end, &k->end);
	if (k->end && k->end <= k->begin)
		config_error(reader->errors, mark_of(node, "end"), "end: this key would never sign, because it ends before it begins");
	return s.file ? read_file(reader, w, node, k) : 0;
}

/* RFC 6376 section 3.6.2.1: domain and selector lead to one key. */
static void refuse_same_selector(struct config_reader *reader, const struct config_node *list, const struct signing_key *keys, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (slice_ieq_str(slice_from(keys[i].selector), keys[n].selector) && *keys[n].selector)
			config_error(reader->errors, mark_of(list->items[n], "selector"), "selector: \"%s\" is there already; each key needs its own",
				     keys[n].selector);
}

static int read_keys(struct config_reader *reader, struct world *w, const struct config_node *list, struct signing_domain *d)
{
	struct signing_key *keys = arena_new_array(reader->arena, struct signing_key, list->n + 1);

	if (!keys)
		return -ENOMEM;
	d->keys = keys;
	for (unsigned i = 0; i < list->n; i++) {
		int r = read_key(reader, w, list->items[i], &keys[i]);

		/* Counted first: what was read of it is freed with the rest. */
		d->n_keys = i + 1;
		if (r < 0)
			return r;
		refuse_same_selector(reader, list, keys, i);
	}
	return 0;
}

static int read_domain(struct config_reader *reader, struct world *w, const struct config_node *node, struct signing_domain *d)
{
	struct signing_section s = { 0 };
	bool any = false;
	int r = config_fill(reader, "identity.sign[]", node, &s);

	if (r < 0)
		return r;
	*d = (struct signing_domain) {
		.domain = s.domain ? s.domain : "",
		.from = s.from, .n_from = s.n_from,
		.header = s.canonicalization & 1 ? CANON_SIMPLE : CANON_RELAXED,
		.body = s.canonicalization & 2 ? CANON_SIMPLE : CANON_RELAXED,
		.expire = s.expire,
		.fields = { s.headers, s.oversign, s.n_headers, s.n_oversign },
	};
	if (!s.keys)
		return 0;
	r = read_keys(reader, w, s.keys, d);
	for (unsigned i = 0; i < d->n_keys && !any; i++)
		any = signing_key_is_valid(&d->keys[i], world_wall(w));
	if (r >= 0 && s.keys->n == 0)
		config_error(reader->errors, mark_of(node, "keys"), "keys: the list is empty; `yizhan dkim keygen` makes a key");
	else if (r >= 0 && !any)
		config_warning(reader->errors, mark_of(node, "keys"), "keys: none of them signs today: mail of %s goes out unsigned", d->domain);
	return r;
}

static int read_seal(struct config_reader *reader, struct world *w, const struct config_node *node, struct config *c)
{
	struct signing_seal *seal = &c->seal;

	if (!node || node->kind != CONFIG_MAP || !seal->domain || !seal->key.selector || !seal->key.file)
		return 0; /* what is missing was said */
	c->signing.seal = seal;
	check_selector(reader, node, seal->key.selector);
	return read_file(reader, w, node, &seal->key);
}

int config_read_signing(struct config_reader *reader, struct world *w, const struct config_node *root, struct config *c)
{
	const struct config_node *list = c->raw.sign;
	struct signing_domain *domains;
	int r = read_seal(reader, w, config_get(config_get(root, "identity"), "seal"), c);

	if (r < 0)
		return r;
	if (!list || !list->n)
		return 0;
	domains = arena_new_array(reader->arena, struct signing_domain, list->n);
	if (!domains)
		return -ENOMEM;
	c->signing.domains = domains;
	for (unsigned i = 0; i < list->n; i++) {
		r = read_domain(reader, w, list->items[i], &domains[i]);
		c->signing.n_domains = i + 1;
		if (r < 0)
			return r;
	}
	return 0;
}

static int sign_own(const void *context, struct world *w, struct slice message, struct buffer *out)
{
	unsigned n;

	return signing_sign(context, w, message, out, &n);
}

struct signer config_signer(const struct config *c)
{
	return (struct signer) { signing_is_configured(&c->signing) ? sign_own : NULL, &c->signing };
}

void config_free_keys(struct config *c)
{
	for (unsigned i = 0; i < c->signing.n_domains; i++)
		for (unsigned k = 0; k < c->signing.domains[i].n_keys; k++)
			EVP_PKEY_free(c->signing.domains[i].keys[k].key);
	if (c->signing.seal)
		EVP_PKEY_free(c->signing.seal->key.key);
}
