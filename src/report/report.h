/* Reports to other domains: what we saw of the mail that bears their name (DMARC aggregate reports, RFC 9990; failure
 * reports, RFC 6591), and how connections to their servers could be secured (TLSRPT, RFC 8460).
 *
 * The life of a report: a session or a delivery gives a note to one of the sinks, from whatever loop. Notes that say the
 * same are added up in memory and go to a SQLite file every few seconds (store.h), so that a crash loses no more than
 * these. After the end of a day in UTC, some hours later and at a random time, a fiber takes one report after the other:
 * it finds out who wants it (destination.h), writes it (rows.h, pack.h), and hands it to the queue as a message of ours, or
 * posts it by HTTPS. What can't be handed over is tried again for a day. Only then its rows leave the file: a crash in
 * between sends a report twice, under the same name, and never loses one.
 *
 * Whatever goes wrong here costs a report and never a message. */
#pragma once

#include "identity/dmarc_sink.h"
#include "queue/queue.h"
#include "queue/tls_sink.h"
#include "report/pack.h"

struct report_config {
	bool dmarc, tls;          /* collected and sent */
	bool failures;            /* failure reports of DMARC; with dmarc only */
	unsigned failures_per_hour;
	const char *path;         /* the SQLite file */
	const char *hostname;
	const char *organization; /* never NULL, as are the next two */
	const char *contact;      /* an address for questions */
	const char *from;         /* whom the messages come from; bounces go there */
	const char *contact_url;  /* or NULL */
	usec_t at;                /* after midnight in UTC, and */
	usec_t spread;            /* up to so much later */
	usec_t keep;              /* what is older is forgotten */
	uint64_t size;            /* octets of a compressed report; a larger one is dropped */
	unsigned rows;            /* in the file, of all domains */
	const char *ca_file;      /* for HTTPS; NULL: the system's */
	bool private_hosts;       /* reports may be posted to hosts with private addresses */
};

struct reporter;
/* loop: one of the queue's, it runs the fibers. Everything must outlive the reporter; config stays, too. 0 or -ENOMEM. */
int reporter_new(struct world *w, const struct log *log, const struct report_config *config, struct resolver *resolver,
		 struct queue *queue, struct loop *loop, struct reporter **ret);
int reporter_start(struct reporter *r); /* when the queue moves */
void reporter_reload(struct reporter *r, const struct report_config *config);
/* Writes down what is in memory, and lets a sending under way end soon: what it didn't reach goes out after the next start.
 * From the main thread, when no more notes come. */
void reporter_stop(struct reporter *r);
void reporter_free(struct reporter *r); /* its loop has ended */
DEFINE_FREEP(struct reporter, reporter_free)

struct dmarc_sink reporter_dmarc_sink(struct reporter *r);
struct tls_sink reporter_tls_sink(struct reporter *r);

/* --- for administrators: from a fiber of any loop ------------------------------------------------------------- */

/* Writes down what is in memory, so that the file has it all. 0 or -errno. */
int reporter_flush(struct reporter *r);

/* What became of one report at one destination. */
struct report_outcome {
	const char *domain;
	wall_t begin, end;
	uint64_t rows, count, size; /* octets, compressed; 0: not written */
	const char *to;             /* a URI; "" when nobody wants it */
	const char *what;           /* for people: "sent", "would be sent"... */
};
/* Sends now what there is, the present day's part included; domain: only that one's, or NULL. With dry_run nothing leaves and
 * nothing changes. Calls each() on the caller's loop; not 0 ends it. 0; -EOPNOTSUPP: this kind is not collected; -EIO: the
 * file can't be used; -ENOMEM, -ECANCELED, or what each() said. */
int reporter_send(struct reporter *r, enum report_kind kind, const char *domain, bool dry_run,
		  int (*each)(const struct report_outcome *o, void *context), void *context);
