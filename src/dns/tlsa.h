/* The TLSA records of a mail host (RFC 6698, RFC 7671), as DANE for SMTP wants them found and read (RFC 7672).
 *
 * A TLSA record says in signed DNS what the certificate of a server looks like. dane_find takes the addresses of a host,
 * which must have been asked for before (RFC 7672 section 2.2.2): only when these were validated is anything asked, so
 * that name servers that don't know the type and fall silent never hold up mail to zones without DNSSEC. What it finds
 * is one of four things, and each means something else for the connection:
 *
 *	DANE_NONE      nothing is published, or not under DNSSEC: as if there were no DANE
 *	DANE_USABLE    TLS, and a certificate that one of the records describes
 *	DANE_UNUSABLE  there are records, of which none can be used: TLS, whatever the certificate
 *	DANE_ERROR     it can't be found out now: nothing may go to this host (section 2.1.2); never "none" */
#pragma once

#include "dns/mx.h"

#define TLSA_RECORDS_MAX 32u /* of one host that are looked at */
#define TLSA_TEXT 160        /* what tlsa_format writes, with its NUL; longer ones are cut and end in "..." */

enum tlsa_usage { TLSA_PKIX_TA, TLSA_PKIX_EE, TLSA_DANE_TA, TLSA_DANE_EE }; /* RFC 7218 section 2.1 */
enum tlsa_matching { TLSA_FULL, TLSA_SHA256, TLSA_SHA512 };

struct tlsa_record {
	uint8_t usage, selector, matching;
	struct slice data; /* a view of the RDATA */
};
/* RFC 6698 section 2.1. -EBADMSG: shorter than its three numbers and one octet. */
int tlsa_parse(struct slice rdata, struct tlsa_record *ret);
/* RFC 7672 section 3.1: usages 2 and 3 alone, and what we can compare. Whether a full certificate in it is one is only seen
 * when it is used. */
bool tlsa_is_usable(const struct tlsa_record *r);
/* "3 1 1 0123456789abcdef...": RFC 6698 section 2.2. Returns out. */
const char *tlsa_format(const struct tlsa_record *r, char out[static TLSA_TEXT]);

enum dane_status { DANE_NONE, DANE_USABLE, DANE_UNUSABLE, DANE_ERROR };
const char *dane_status_name(enum dane_status s); /* "usable" */

struct dane {
	enum dane_status status;
	const char *base; /* the TLSA base domain: for SNI, and the name to find in a certificate (section 3.2.2) */
	const char *name; /* that was asked for: "_25._tcp.mx.example.org"; NULL when nothing was */
	unsigned n_records; /* usable or not */
	struct tlsa_record *records;
	const char *why;  /* for people: with DANE_ERROR; with DANE_NONE what was missing */
};
/* host: a name, lower case. addresses: of this host. From a fiber; everything in *ret lies in the arena. 0, -ECANCELED or
 * -ENOMEM. */
int dane_find(struct resolver *r, const char *host, uint16_t port, const struct dns_address_list *addresses, usec_t deadline,
	      struct arena *a, struct dane *ret);
