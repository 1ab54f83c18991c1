/* Does the world find the keys with which we sign for the domain (RFC 6376)? */
#include "doctor/check.h"
#include "identity/own_key.h"

struct key_look {
	struct checking *checking;
	const char *domain;
	const struct signing_key *key;
	struct key_comparison found;
	int result;
};

static void look(void *item)
{
	struct key_look *k = item;
	struct doctor *d = k->checking->doctor;

	k->result = own_key_compare(d->resolver, k->domain, k->key->selector, k->key->key, d->deadline, d->arena, &k->found);
}

static const char *record_line(struct checking *c, const char *name, const struct key_look *k)
{
	_cleanup_buffer_ struct buffer line = { 0 };
	const char *record;

	if (own_key_record(k->key->key, c->doctor->arena, &record) < 0)
		return text(c, "\n");
	own_key_zone_line(name, record, &line);
	return buffer_error(&line) < 0 ? NULL : text(c, "%s", line.data);
}

/* The record has our key: is it a good one? */
static void judge_same(struct checking *c, const char *name, const struct key_look *k)
{
	int bits = EVP_PKEY_get_bits(k->key->key);

	if (!crypto_is_ed25519(k->key->key) && bits < (int) OWN_KEY_BITS)
		say(c, name, DOCTOR_YELLOW, "the world finds this key, but %d bits of RSA are few", bits)->advice =
			"Make a key of 2048 bits with `yizhan dkim keygen` and change over to it (RFC 8301).";
	else if (k->found.testing)
		say(c, name, DOCTOR_YELLOW, "%s", k->found.reason)->advice = "Take t=y out of the record when all is well.";
	else
		say(c, name, DOCTOR_GREEN, "%s", k->found.reason);
}

static void judge(struct checking *c, const struct key_look *k)
{
	wall_t now = world_wall(c->doctor->world);
	const char *name = own_key_name(c->doctor->arena, k->key->selector, k->domain);
	bool later = k->key->begin > now;
	struct doctor_finding *f;

	if (!name) {
		c->result = -ENOMEM;
	} else if (k->key->end && k->key->end <= now) {
		say(c, name, DOCTOR_GREEN, "retired: its record may go when the last of its mail has arrived");
	} else if (k->found.finding == KEY_SAME) {
		judge_same(c, name, k);
	} else if (k->found.finding == KEY_UNKNOWN) {
		say(c, name, DOCTOR_UNKNOWN, "%s", k->found.reason)->advice =
			"Ask again; if it stays so, look at the name servers of the domain.";
	} else {
		f = say(c, name, later ? DOCTOR_YELLOW : DOCTOR_RED, "%s%s", later ? "not in use yet; " : "", k->found.reason);
		f->advice = later ? "Publish the record before the day on which the key begins to sign."
			    : k->found.finding == KEY_MISSING ? "Publish the record of this key."
							      : "Publish this record in place of what stands there now.";
		f->publish = record_line(c, name, k);
	}
}

/* Does this entry sign for people of the domain? */
static bool is_meant(struct checking *c, const struct signing_config *s, const struct signing_domain *d)
{
	const char *address = text(c, "postmaster@%s", c->doctor->in->domain);

	return strcmp(d->domain, c->doctor->in->domain) == 0 || (address && signing_domain_matches(s, d, address));
}

/* Those of the domain. keys NULL: only counted. */
static unsigned find_keys(struct checking *c, const struct signing_config *s, struct key_look *keys)
{
	const char *domain = c->doctor->in->domain;
	unsigned n = 0;

	for (unsigned i = 0; s && i < s->n_domains; i++)
		for (unsigned k = 0; is_meant(c, s, &s->domains[i]) && k < s->domains[i].n_keys; k++, n++)
			if (keys)
				keys[n] = (struct key_look) { .checking = c, .domain = s->domains[i].domain, .key = &s->domains[i].keys[k] };
	if (s && s->seal && strcmp(s->seal->domain, domain) == 0) {
		/* A key may sign and seal. */
		for (unsigned i = 0; keys && i < n; i++)
			if (strcmp(keys[i].key->selector, s->seal->key.selector) == 0)
				return n;
		if (keys)
			keys[n] = (struct key_look) { .checking = c, .domain = domain, .key = &s->seal->key };
		n++;
	}
	return n;
}

static void judge_signing(struct checking *c, const struct key_look *keys, unsigned n)
{
	wall_t now = world_wall(c->doctor->world);
	const char *domain = c->doctor->in->domain;

	for (unsigned i = 0; i < n; i++)
		if (signing_key_is_valid(keys[i].key, now))
			return;
	say(c, domain, DOCTOR_YELLOW, n ? "no key of this domain signs today" : "no key is configured: mail of this domain isn't signed")->advice =
		n ? "Look at begin and end of its keys under identity.sign."
		  : "Make a key with `yizhan dkim keygen` and name it under identity.sign.";
}

int check_dkim(struct checking *c)
{
	const struct doctor_input *in = c->doctor->in;
	unsigned n = find_keys(c, in->signing, NULL);
	struct key_look *keys = arena_new_array(c->doctor->arena, struct key_look, n + 1);
	int r;

	if (!keys)
		return -ENOMEM;
	if (!in->hostname) {
		say(c, in->domain, DOCTOR_SKIPPED, "without a configuration no selector is known to ask for");
		return 0;
	}
	n = find_keys(c, in->signing, keys);
	r = at_once(look, keys, n, sizeof(*keys));
	for (unsigned i = 0; i < n && r >= 0; i++) {
		r = keys[i].result;
		if (r >= 0)
			judge(c, &keys[i]);
	}
	if (r >= 0)
		judge_signing(c, keys, n);
	return r;
}
