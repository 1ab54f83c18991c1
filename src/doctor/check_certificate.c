/* The certificates that the configuration has: for which names, how much longer, and where they lead. */
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "doctor/check.h"

#define DAYS_FEW 14

DEFINE_FREEP(X509_STORE, X509_STORE_free)
DEFINE_FREEP(X509_STORE_CTX, X509_STORE_CTX_free)

/* Whole days until the end, or since it. False: the date can't be read. */
static bool days_left(struct checking *c, const X509 *x, int *ret, bool *ret_over)
{
	time_t at = (time_t) (world_wall(c->doctor->world) / (wall_t) USEC_SEC);
	ASN1_TIME *now = ASN1_TIME_set(NULL, at);
	int days = 0, seconds = 0;
	bool ok = now && ASN1_TIME_diff(&days, &seconds, now, X509_get0_notAfter(x)) == 1;

	ASN1_TIME_free(now);
	*ret = abs(days);
	*ret_over = days < 0 || seconds < 0;
	return ok;
}

static void judge_days(struct checking *c, const struct tls_identity *i)
{
	time_t at = (time_t) (world_wall(c->doctor->world) / (wall_t) USEC_SEC);
	bool over;
	int days;

	if (!days_left(c, i->certificate, &days, &over))
		say(c, i->path, DOCTOR_RED, "its dates can't be read")->advice = "Have a new certificate made.";
	else if (over)
		say(c, i->path, DOCTOR_RED, "it ended %s%d day%s ago", days == 0 ? "less than " : "", MAX(days, 1),
		    days < 2 ? "" : "s")->advice = "Renew the certificate; the server takes new files by itself.";
	else if (X509_cmp_time(X509_get0_notBefore(i->certificate), &at) > 0)
		say(c, i->path, DOCTOR_RED, "it isn't valid yet")->advice = "Look at the clock of this machine, or wait.";
	else if (days < DAYS_FEW)
		say(c, i->path, DOCTOR_YELLOW, "%d day%s left", days, days == 1 ? "" : "s")->advice =
			"Renew the certificate; it should have happened by itself, so look at what does that.";
	else
		say(c, i->path, DOCTOR_GREEN, "%d days left", days);
}

/* Does it lead to a CA that others know? NULL: yes. Dates are judged elsewhere. */
static const char *broken_chain(const struct tls_identity *i)
{
	_cleanup_(X509_STORE_freep) X509_STORE *store = X509_STORE_new();
	_cleanup_(X509_STORE_CTX_freep) X509_STORE_CTX *ctx = X509_STORE_CTX_new();

	if (!store || !ctx)
		return "out of memory";
	if (X509_STORE_set_default_paths(store) != 1) /* what others trust, and not what deliver.ca_file says */
		return "the CAs can't be read";
	if (X509_STORE_CTX_init(ctx, store, i->certificate, i->chain) != 1)
		return "out of memory";
	X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_NO_CHECK_TIME);
	(void) X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER);
	return X509_verify_cert(ctx) == 1 ? NULL : X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx));
}

static void judge_chain(struct checking *c, const struct tls_identity *i)
{
	const char *why = broken_chain(i);

	if (!why)
		say(c, i->path, DOCTOR_GREEN, "its chain leads to a CA that is known here");
	else
		say(c, i->path, DOCTOR_YELLOW, "its chain leads to no CA that is known here: %s", why)->advice =
			"Put the intermediate certificates behind it in the file, or have it signed by a known CA: senders with MTA-STS insist on that.";
}

/* Does a client that expects this name find it (RFC 6125; RFC 8461 section 4.1)? */
static bool has_name(X509 *x, const char *name)
{
	return X509_check_host(x, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) == 1;
}

static void judge_name(struct checking *c, const char *name)
{
	const struct tls_keyring *k = c->doctor->keyring;

	for (unsigned i = 0; i < k->n; i++)
		if (has_name(k->identities[i]->certificate, name)) {
			say(c, name, DOCTOR_GREEN, "%s is for this name", k->identities[i]->path);
			return;
		}
	say(c, name, DOCTOR_RED, "no certificate is for this name: senders that check it bring no mail")->advice =
		"Have a certificate made that names it, and add it under tls.certificates.";
}

/* Our own name, and by what other names the domain's mail comes to us. */
static int judge_names(struct checking *c)
{
	struct doctor *d = c->doctor;
	struct mx_set mx;
	int r = dns_mx(d->resolver, d->in->domain, d->deadline, d->arena, &mx);

	if (r < 0)
		return r;
	judge_name(c, d->in->hostname);
	for (unsigned i = 0; i < mx.n_hosts; i++) {
		if (slice_ieq_str(slice_from(mx.hosts[i].name), d->in->hostname))
			continue;
		r = is_this_host(c, mx.hosts[i].name);
		if (r < 0 && r != -EAGAIN)
			return r;
		if (r > 0)
			judge_name(c, mx.hosts[i].name);
	}
	if (mx.status == MX_TEMPORARY)
		say(c, d->in->domain, DOCTOR_UNKNOWN, "by which names the world comes here can't be told now: %s", mx.why)->advice =
			"Ask again when the DNS answers.";
	return 0;
}

int check_certificate(struct checking *c)
{
	struct doctor *d = c->doctor;

	if (!d->in->hostname) {
		say(c, d->in->domain, DOCTOR_SKIPPED, "without a configuration no certificate is known");
	} else if (d->keyring_why) {
		say(c, d->in->hostname, DOCTOR_RED, "the certificates can't be used: %s", d->keyring_why)->advice =
			"Mend what is said of the file; run this as the user of the server if it can't be read.";
	} else if (!d->keyring) {
		say(c, d->in->hostname, DOCTOR_RED, "there is no certificate (tls): mail comes in without TLS")->advice =
			"Have a certificate made for this name, and set tls.certificate and tls.key.";
	} else {
		for (unsigned i = 0; i < d->keyring->n; i++) {
			judge_days(c, d->keyring->identities[i]);
			judge_chain(c, d->keyring->identities[i]);
		}
		return judge_names(c);
	}
	return 0;
}
