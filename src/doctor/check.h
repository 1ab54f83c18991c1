/* What the checks of the doctor share. A check is a function that looks and says what it found, once or several times; it
 * runs in a fiber of its own beside the others. What they learn in the DNS lies in the resolver's cache, so that each asks
 * for all that it needs and none waits for another. */
#pragma once

#include "base/buffer.h"
#include "dns/mx.h"
#include "doctor/doctor.h"
#include "tls/identity.h"

#define DOCTOR_FINDINGS_MAX 200u /* of one check */

struct doctor {
	struct world *world;
	struct resolver *resolver;
	const struct doctor_input *in;
	struct arena *arena;
	usec_t deadline;
	const struct tls_keyring *keyring; /* NULL: none */
	const char *keyring_why;           /* certificates are configured, and can't be read: why */
};

/* One check at work. */
struct checking {
	struct doctor *doctor;
	const char *name;
	unsigned n;
	struct doctor_finding *findings;
	int result;
};

/* 0, -ECANCELED or -ENOMEM; all else is something to say. */
typedef int (*doctor_check)(struct checking *c);
int check_mx(struct checking *c);
int check_spf(struct checking *c);
int check_dkim(struct checking *c);
int check_dmarc(struct checking *c);
int check_mta_sts(struct checking *c);
int check_tlsrpt(struct checking *c);
int check_dane(struct checking *c);
int check_reverse(struct checking *c);
int check_ehlo(struct checking *c);
int check_certificate(struct checking *c);
int check_lists(struct checking *c);

/* --- saying ----------------------------------------------------------------------------------------------------- */

/* A new finding, to be given advice and publish; never NULL (when there is no room it is one that is thrown away, and
 * -ENOMEM is noted). The format gives `found`. subject lives as long as the arena. */
struct doctor_finding *say(struct checking *c, const char *subject, enum doctor_state state, const char *format, ...) _printf_(4, 5);
/* The arena's copy of a text; memory that is out is noted in c. */
const char *text(struct checking *c, const char *format, ...) _printf_(2, 3);
/* "name. IN TXT "..."" with its newline, in strings of 255 octets; the record is quoted as it must be. NULL: memory, noted. */
const char *txt_line(struct checking *c, const char *name, const char *record);
/* "name. IN A 192.0.2.1" for each, of the families that there are. "" for none. */
const char *address_lines(struct checking *c, const char *name, const struct ip *ips, unsigned n);
/* Those of our addresses at which this host takes mail; NULL when there is none that the world can reach. */
const char *own_address_lines(struct checking *c, const char *name);

/* --- asking ----------------------------------------------------------------------------------------------------- */

/* Runs fn for each item of an array at the same time, and waits for all. -ECANCELED, -ENOMEM. */
int at_once(void (*fn)(void *item), void *items, unsigned n, size_t size);

struct one_record {
	enum dns_status status;
	unsigned n;         /* records that are meant; several are mostly as bad as none */
	struct slice data;  /* the first of them */
	const char *why;    /* with a temporary status */
};
/* The TXT records of a name that `is_meant` knows. -ECANCELED, -ENOMEM. */
int ask_txt(struct checking *c, const char *name, bool (*is_meant)(struct slice text), struct one_record *ret);

/* Is it a name of this host, or has it an address of ours? 1, 0, -EAGAIN, -ECANCELED, -ENOMEM. */
int is_this_host(struct checking *c, const char *host);
