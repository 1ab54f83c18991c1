/* Is it proved by signed DNS what certificates the exchangers show (RFC 7672), and is it the one that we have? */
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "dns/tlsa.h"
#include "doctor/check.h"

#define SMTP_PORT 25

struct exchanger {
	struct checking *checking;
	const char *name;
	struct dns_address_list addresses;
	struct dane dane;
	int ours, result;
};

static void look(void *item)
{
	struct exchanger *x = item;
	struct doctor *d = x->checking->doctor;

	x->result = dns_addresses(d->resolver, x->name, DNS_IPV4_AND_IPV6, d->deadline, d->arena, &x->addresses);
	if (x->result >= 0)
		x->result = dane_find(d->resolver, x->name, SMTP_PORT, &x->addresses, d->deadline, d->arena, &x->dane);
	if (x->result >= 0)
		x->ours = is_this_host(x->checking, x->name);
	if (x->ours < 0 && x->ours != -EAGAIN)
		x->result = x->ours;
}

/* --- certificates and records ------------------------------------------------------------------------------------ */

/* What a record is compared with (RFC 6698 sections 2.1.2 and 2.1.3): bytes on OpenSSL's heap, digested. False: memory. */
static bool association(X509 *x, const struct tlsa_record *r, unsigned char digest[static EVP_MAX_MD_SIZE], unsigned char **ret_full,
			size_t *ret_len)
{
	unsigned char *der = NULL;
	int len = r->selector == 1 ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der) : i2d_X509(x, &der);
	unsigned n = 0;
	bool ok = len > 0;

	*ret_full = NULL;
	if (ok && r->matching == TLSA_FULL) {
		*ret_full = der;
		*ret_len = (size_t) len;
		return true;
	}
	ok = ok && EVP_Digest(der, (size_t) len, digest, &n, r->matching == TLSA_SHA512 ? EVP_sha512() : EVP_sha256(), NULL) == 1;
	OPENSSL_free(der);
	*ret_len = n;
	return ok;
}

static bool describes(const struct tlsa_record *r, X509 *x)
{
	unsigned char digest[EVP_MAX_MD_SIZE], *full;
	size_t len;
	bool same;

	if (!association(x, r, digest, &full, &len))
		return false;
	same = r->data.len == len && memcmp(r->data.data, full ? full : digest, len) == 0;
	OPENSSL_free(full);
	return same;
}

/* Usage 3 describes the certificate itself, usage 2 one of those that it leads to. */
static bool is_described(const struct dane *dane, const struct tls_identity *i)
{
	for (unsigned k = 0; k < dane->n_records; k++) {
		const struct tlsa_record *r = &dane->records[k];

		if (!tlsa_is_usable(r))
			continue;
		if (r->usage == TLSA_DANE_EE && describes(r, i->certificate))
			return true;
		for (int n = 0; r->usage == TLSA_DANE_TA && n < sk_X509_num(i->chain); n++)
			if (describes(r, sk_X509_value(i->chain, n)))
				return true;
	}
	return false;
}

/* Those that a client is shown who asks for this name. */
static unsigned shown_for(const struct tls_keyring *k, const char *name, const struct tls_identity *ret[static IDENTITY_KINDS])
{
	unsigned n = k ? tls_keyring_find(k, slice_from(name), ret) : 0;

	return k && n == 0 ? tls_keyring_default(k, ret) : n;
}

/* "_25._tcp.mx.example.org. IN TLSA 3 1 1 ...", for each key that is shown. NULL: there is none. */
static const char *lines(struct checking *c, const char *host)
{
	const struct tlsa_record form = { .usage = TLSA_DANE_EE, .selector = 1, .matching = TLSA_SHA256 };
	const struct tls_identity *shown[IDENTITY_KINDS];
	unsigned n = shown_for(c->doctor->keyring, host, shown);
	const char *all = "";

	for (unsigned i = 0; i < n && all; i++) {
		struct tlsa_record r = form;
		unsigned char digest[EVP_MAX_MD_SIZE], *full;
		char shape[TLSA_TEXT];
		size_t len;

		if (!association(shown[i]->certificate, &form, digest, &full, &len))
			continue;
		r.data = slice_new((const char *) digest, len);
		all = text(c, "%s_%u._tcp.%s. IN TLSA %s\n", all, SMTP_PORT, host, tlsa_format(&r, shape));
	}
	return all && *all ? all : NULL;
}

/* --- what is found ------------------------------------------------------------------------------------------------ */

static void judge_none(struct checking *c, const struct exchanger *x)
{
	struct doctor_finding *f;

	if (!x->addresses.validated) {
		if (x->addresses.n_ips == 0) {
			say(c, x->name, x->addresses.temporary ? DOCTOR_UNKNOWN : DOCTOR_SKIPPED, "it has no address that could be asked for: %s",
			    x->addresses.why)
				->advice = x->addresses.temporary ? "Ask again when the DNS answers." : NULL;
			return;
		}
		f = say(c, x->name, DOCTOR_YELLOW, "no DANE: its zone isn't signed (or the resolver doesn't validate)");
		f->advice = x->ours > 0 ? "Sign the zone with DNSSEC, and then publish this record." : "Nothing can be done from here: it is another's host.";
	} else {
		f = say(c, x->name, DOCTOR_YELLOW, "no DANE: the zone is signed, but has no TLSA record for it");
		f->advice = x->ours > 0 ? "Publish this record; publish the new one before the certificate's key changes."
					: "Nothing can be done from here: it is another's host.";
	}
	if (x->ours > 0)
		f->publish = lines(c, x->name);
}

static void judge_usable(struct checking *c, const struct exchanger *x)
{
	const struct tls_identity *shown[IDENTITY_KINDS];
	unsigned n = x->ours > 0 ? shown_for(c->doctor->keyring, x->name, shown) : 0;
	struct doctor_finding *f;
	char first[TLSA_TEXT];

	for (unsigned i = 0; i < n; i++) {
		if (is_described(&x->dane, shown[i]))
			continue;
		f = say(c, x->name, DOCTOR_RED, "no TLSA record describes the certificate in %s: senders with DANE bring no mail", shown[i]->path);
		f->advice = "Publish this record now, and take the wrong ones away.";
		f->publish = lines(c, x->name);
		return;
	}
	if (n > 0)
		say(c, x->name, DOCTOR_GREEN, "%u TLSA record%s, and the certificate is as described", x->dane.n_records,
		    x->dane.n_records == 1 ? "" : "s");
	else
		say(c, x->name, DOCTOR_GREEN, "%u TLSA record%s (%s); the certificate isn't known here", x->dane.n_records,
		    x->dane.n_records == 1 ? "" : "s", tlsa_format(&x->dane.records[0], first));
}

static void judge(struct checking *c, const struct exchanger *x)
{
	struct doctor_finding *f;

	switch (x->dane.status) {
	case DANE_ERROR:
		say(c, x->name, DOCTOR_UNKNOWN, "%s: as long as it is so, senders with DANE bring no mail", x->dane.why)->advice =
			"Ask again; if it stays so, look at the name servers of the host's domain.";
		break;
	case DANE_UNUSABLE:
		f = say(c, x->name, DOCTOR_RED, "there are TLSA records, of which none can be used with SMTP (RFC 7672 section 3.1)");
		f->advice = "Publish records of the usages 2 or 3.";
		f->publish = x->ours > 0 ? lines(c, x->name) : NULL;
		break;
	case DANE_NONE:
		judge_none(c, x);
		break;
	case DANE_USABLE:
		judge_usable(c, x);
		break;
	}
}

int check_dane(struct checking *c)
{
	struct doctor *d = c->doctor;
	struct exchanger *all;
	struct mx_set mx;
	int r = dns_mx(d->resolver, d->in->domain, d->deadline, d->arena, &mx);

	if (r < 0)
		return r;
	if (mx.n_hosts == 0) {
		bool unknown = mx.status == MX_TEMPORARY;

		say(c, d->in->domain, unknown ? DOCTOR_UNKNOWN : DOCTOR_SKIPPED, "no exchanger of the domain is known: %s", mx.why)->advice =
			unknown ? "Ask again when the DNS answers." : NULL;
		return 0;
	}
	all = arena_new_array(d->arena, struct exchanger, mx.n_hosts);
	if (!all)
		return -ENOMEM;
	for (unsigned i = 0; i < mx.n_hosts; i++)
		all[i] = (struct exchanger) { .checking = c, .name = mx.hosts[i].name };
	r = at_once(look, all, mx.n_hosts, sizeof(*all));
	/* RFC 7672 section 2.2.1: without signed MX records senders can't know that these are the hosts. */
	if (r >= 0 && !mx.secure)
		say(c, d->in->domain, DOCTOR_YELLOW, "the MX records aren't signed, so that DANE protects no mail for this domain")->advice =
			"Sign the domain's zone with DNSSEC.";
	for (unsigned i = 0; i < mx.n_hosts && r >= 0; i++) {
		r = all[i].result;
		if (r >= 0)
			judge(c, &all[i]);
	}
	return r;
}
