#include "receive/external.h"

/* Hexadecimal digits; people write them with colons in between, and in capitals. */
static bool same_fingerprint(const char *a, const char *b)
{
	for (;; a++, b++) {
		while (*a == ':')
			a++;
		while (*b == ':')
			b++;
		if (ascii_lower(*a) != ascii_lower(*b))
			return false;
		if (!*a)
			return true;
	}
}

static bool has_name(const struct tls_info *tls, const char *name)
{
	for (unsigned i = 0; i < tls->n_peer_names; i++)
		if (slice_ieq_str(slice_from(tls->peer_names[i]), name))
			return true;
	return false;
}

static bool fits(const struct users_certificate *c, const struct tls_info *tls)
{
	if (c->fingerprint)
		return tls->peer_fingerprint && same_fingerprint(c->fingerprint, tls->peer_fingerprint);
	/* Anybody can write any name into a certificate that he signs himself. */
	if (!tls->peer_verified)
		return false;
	return c->subject ? tls->peer_subject && strcmp(c->subject, tls->peer_subject) == 0 : c->name && has_name(tls, c->name);
}

static bool is_wanted(const char *user, struct slice wanted)
{
	return wanted.len == 0 || slice_ieq_str(wanted, user);
}

const char *external_user(const struct users_config *config, const struct tls_info *tls, struct slice wanted)
{
	static const char email[] = "email:";

	for (unsigned i = 0; i < config->n_certificates; i++)
		if (is_wanted(config->certificates[i].user, wanted) && fits(&config->certificates[i], tls))
			return config->certificates[i].user;
	for (unsigned i = 0; config->certificate_email && tls->peer_verified && i < tls->n_peer_names; i++) {
		const char *name = tls->peer_names[i];

		if (slice_istarts(slice_from(name), email) && is_wanted(name + strlen(email), wanted) &&
		    user_name_is_valid(slice_from(name + strlen(email))))
			return name + strlen(email);
	}
	return NULL;
}
