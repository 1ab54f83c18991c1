/* libunbound behind the resolver's interface. */
#include "dns/unbound.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unbound.h>

#include "dns/cache.h"
#include "dns/rdata.h"
#include "world/file.h"

#define TIMEOUT_DEFAULT (20 * USEC_SEC)
#define RESOLV_CONF "/etc/resolv.conf"
#define TRUST_ANCHOR "/usr/share/dns/root.key"
#define CLASS_IN 1
#define PORT_DEFAULT 53u
#define DNS_LOOP_FIBERS 4u
#define ADVICE_EVERY (10 * USEC_MIN)

struct unbound_resolver {
	struct resolver resolver;
	const struct log *log;
	struct ub_ctx *ctx;
	struct loop *loop;   /* takes the results from the library */
	usec_t timeout;
	_Atomic(usec_t) next_advice; /* when signatures that don't hold may be spoken of in the log again */
};

static struct unbound_resolver *self_of(struct resolver *r)
{
	return container_of(r, struct unbound_resolver, resolver);
}

/* --- one question ----------------------------------------------------------------------------------------- */

/* Lives on the stack of the fiber that asks, until the library has called back or has promised not to. */
struct question {
	struct post post;
	struct loop *loop; /* of the fiber */
	struct fiber *fiber;
	bool done;
	int error; /* of libunbound */
	struct ub_result *result;
};

/* On the loop of the asking fiber. */
static void question_answered(struct post *p)
{
	struct question *q = container_of(p, struct question, post);

	q->done = true;
	fiber_wake(q->fiber);
}

/* On the loop "dns", in ub_process. */
static void take_result(void *arg, int error, struct ub_result *result)
{
	struct question *q = arg;

	q->error = error;
	q->result = result;
	loop_post(q->loop, &q->post);
}

/* Waits for the answer until the deadline. 0, -ETIMEDOUT or -ECANCELED; afterwards nobody else knows of q. */
static int await_answer(struct unbound_resolver *u, struct question *q, int id, usec_t deadline)
{
	int r;

	while (!q->done) {
		r = fiber_wait("dns", deadline);
		if (r >= 0 || q->done)
			continue;
		/* Either the library forgets the question here, under its lock; or the result is already on its
		 * way to us and is a matter of microseconds. */
		if (ub_cancel(u->ctx, id) == 0)
			return r;
		while (!q->done)
			fiber_wait_uncancellable("dns result");
	}
	return 0;
}

/* --- what the answer says ------------------------------------------------------------------------------------ */

static const char *rcode_name(int rcode)
{
	switch (rcode) {
	case 1: return "FORMERR";
	case 2: return "SERVFAIL";
	case 4: return "NOTIMP";
	case 5: return "REFUSED";
	}
	return "an error";
}

static int parse_records(const struct ub_result *result, enum dns_type type, struct arena *a, struct dns_answer *answer)
{
	unsigned n = 0;

	while (n < DNS_RECORDS_MAX && result->data[n])
		n++;
	answer->records = arena_new_array(a, struct dns_record, MAX(n, 1u));
	if (!answer->records)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		struct slice rdata = slice_new(result->data[i], (size_t) result->len[i]);
		int r = dns_record_parse(type, rdata, a, &answer->records[answer->n_records]);

		if (r == -ENOMEM)
			return r;
		if (r >= 0)
			answer->n_records++;
	}
	if (n > 0 && answer->n_records == 0) {
		/* The name has records, which make no sense: not the same as having none. */
		answer->status = DNS_SERVFAIL;
		answer->why = "the records in the answer are malformed";
	}
	return 0;
}

static int set_canonical(const struct ub_result *result, const char *name, struct arena *a, struct dns_answer *answer)
{
	const char *canonical = result->canonname ? result->canonname : name;
	char text[DNS_NAME_TEXT];
	struct dns_name parsed;

	if (dns_name_parse(slice_from(canonical), NULL, &parsed) >= 0)
		canonical = dns_name_format(&parsed, text);
	answer->canonical = arena_strdup(a, canonical);
	return answer->canonical ? 0 : -ENOMEM;
}

static int parse_result(const struct ub_result *result, const char *name, enum dns_type type, struct arena *a,
			struct dns_answer *ret)
{
	struct dns_answer answer = {
		.status = DNS_OK,
		.secure = result->secure && !result->bogus,
		.ttl = result->ttl > 0 ? (uint32_t) result->ttl : 0,
	};
	char shown[256], number[16];
	int r;

	r = set_canonical(result, name, a, &answer);
	if (r < 0)
		return r;
	if (result->bogus) {
		answer.status = DNS_BOGUS;
		answer.why = arena_printf(a, "DNSSEC validation of %s failed: %s", name,
					  result->why_bogus ? slice_escape(slice_from(result->why_bogus), shown, sizeof(shown)) : "bogus");
	} else if (result->nxdomain || result->rcode == 3) {
		answer.status = DNS_NXDOMAIN;
		answer.why = arena_printf(a, "%s does not exist", answer.canonical);
	} else if (result->rcode != 0) {
		answer.status = DNS_SERVFAIL;
		answer.why = arena_printf(a, "%s from the DNS servers for %s", rcode_name(result->rcode), name);
	} else if (!result->havedata) {
		answer.status = DNS_NODATA;
		answer.why = arena_printf(a, "%s has no %s record", answer.canonical, dns_type_name(type, number));
	} else {
		r = parse_records(result, type, a, &answer);
		if (r < 0)
			return r;
	}
	if (answer.status != DNS_OK && !answer.why)
		return -ENOMEM;
	if (DNS_STATUS_TEMPORARY(answer.status))
		answer.secure = false;
	*ret = answer;
	return 0;
}

static int trouble(enum dns_status status, const char *name, const char *what, struct arena *a, struct dns_answer *ret)
{
	struct dns_answer answer = { .status = status };

	answer.canonical = arena_strdup(a, name);
	answer.why = arena_printf(a, "the DNS look-up of %s failed: %s", name, what);
	if (!answer.canonical || !answer.why)
		return -ENOMEM;
	*ret = answer;
	return 0;
}

/* Signatures that don't hold are the domain's mistake, an attack, or, when they are everywhere, a server in
 * between that strips them. Only the administrator can tell which: said once in a while. */
static void advise(struct unbound_resolver *u, const struct dns_answer *answer)
{
	usec_t time = world_now(u->resolver.world), next = atomic_load(&u->next_advice);

	if (answer->status != DNS_BOGUS || time < next)
		return;
	if (!atomic_compare_exchange_strong(&u->next_advice, &next, time + ADVICE_EVERY))
		return;
	LOG(u->log, LOG_WARNING,
	    "DNSSEC signatures don't hold, mail that depends on this name waits; if this is so for every domain, the DNS "
	    "servers in use remove signatures: set dns.servers to ones that don't",
	    F_STR("name", answer->canonical), F_STR("why", answer->why));
}

static int unbound_query(struct resolver *resolver, const char *name, enum dns_type type, usec_t deadline, struct arena *a,
			 struct dns_answer *ret)
{
	struct unbound_resolver *u = self_of(resolver);
	struct question q = { .post.run = question_answered, .loop = loop_current(), .fiber = fiber_self() };
	const char *text = name[0] ? name : ".";
	int error, id, r;

	assert(q.fiber);
	if (fiber_cancelled())
		return -ECANCELED;
	error = ub_resolve_async(u->ctx, text, (int) type, CLASS_IN, &q, take_result, &id);
	if (error == UB_NOMEM)
		return -ENOMEM;
	if (error != 0)
		return trouble(DNS_SERVFAIL, name, ub_strerror(error), a, ret);
	r = await_answer(u, &q, id, MIN(deadline, deadline_after(now(), u->timeout)));
	if (r == -ETIMEDOUT)
		return trouble(DNS_TIMEOUT, name, "no answer in time", a, ret);
	if (r < 0)
		return r;
	if (q.error != 0 || !q.result) {
		ub_resolve_free(q.result);
		return q.error == UB_NOMEM ? -ENOMEM : trouble(DNS_SERVFAIL, name, ub_strerror(q.error), a, ret);
	}
	r = parse_result(q.result, name, type, a, ret);
	ub_resolve_free(q.result);
	if (r >= 0)
		advise(u, ret);
	return r;
}

/* --- life ------------------------------------------------------------------------------------------------------ */

/* The fiber of the loop "dns". */
static void pump(void *arg)
{
	struct unbound_resolver *u = arg;
	int r;

	for (;;) {
		r = fiber_wait_fd(ub_fd(u->ctx), FD_READ, DEADLINE_NEVER);
		if (r == -ECANCELED)
			return;
		if (r < 0) {
			LOG(u->log, LOG_CRITICAL, "cannot wait for DNS answers any more", F_ERRNO("error", r));
			return;
		}
		r = ub_process(u->ctx);
		if (r != 0)
			LOG(u->log, LOG_ERROR, "libunbound failed to take an answer", F_STR("error", ub_strerror(r)));
	}
}

static void unbound_free(struct resolver *resolver)
{
	struct unbound_resolver *u = self_of(resolver);

	if (u->loop) {
		loop_stop(u->loop);
		loop_free(u->loop);
	}
	if (u->ctx)
		ub_ctx_delete(u->ctx);
	free(u);
}

static const struct resolver_ops unbound_ops = { .query = unbound_query, .free = unbound_free };

static int _printf_(3, 4) fail(int error, char **ret_why, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	if (vasprintf(ret_why, format, ap) < 0)
		*ret_why = NULL;
	va_end(ap);
	return error;
}

static int set_options(struct ub_ctx *ctx, bool forwarding, char **ret_why)
{
	static const struct {
		const char *name, *value;
		bool forwarding_only;
	} options[] = {
		{ "do-not-query-localhost:", "no", false },
		/* The library's own defaults are for a program that asks now and then. */
		{ "outgoing-range:", "1024", false },
		{ "num-queries-per-thread:", "1024", false },
		{ "outgoing-num-tcp:", "64", false },
		{ "msg-cache-size:", "8m", false },
		{ "rrset-cache-size:", "16m", false },
		{ "infra-cache-numhosts:", "20000", false },
		/* What the configured servers say about names that are nobody's in the public DNS, holds: networks
		 * at home, and the reserved top-level domain for tests. ("nodefault" would say it better, but
		 * libunbound 1.17 misreads that word here.) */
		{ "unblock-lan-zones:", "yes", true },
		{ "insecure-lan-zones:", "yes", true },
		{ "local-zone:", "test. transparent", true },
		{ "local-zone:", "127.in-addr.arpa. transparent", true },
		{ "domain-insecure:", "test.", true },
	};

	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		int error;

		if (options[i].forwarding_only && !forwarding)
			continue;
		error = ub_ctx_set_option(ctx, options[i].name, options[i].value);
		if (error != 0)
			return fail(-EINVAL, ret_why, "libunbound does not take the option '%s %s': %s", options[i].name,
				    options[i].value, ub_strerror(error));
	}
	return 0;
}

/* "192.0.2.1", "192.0.2.1:5353", "[2001:db8::1]:5353", "2001:db8::1" -> what libunbound reads: address@port. */
static int add_server(struct ub_ctx *ctx, const char *server, char **ret_why)
{
	char address[IP_TEXT], text[IP_TEXT + 8];
	struct endpoint e = { .kind = ENDPOINT_IP, .port = PORT_DEFAULT };
	int error;

	if (ip_parse(slice_from(server), &e.ip) < 0 &&
	    (endpoint_parse(slice_from(server), &e) < 0 || e.kind != ENDPOINT_IP || e.port == 0))
		return fail(-EINVAL, ret_why, "dns.servers: '%s' is not an address with a port (192.0.2.53:53)", server);
	snprintf(text, sizeof(text), "%s@%u", ip_format(&e.ip, address), e.port);
	error = ub_ctx_set_fwd(ctx, text);
	if (error != 0)
		return fail(-EINVAL, ret_why, "dns.servers: '%s': %s", server, ub_strerror(error));
	return 0;
}

static int set_servers(struct ub_ctx *ctx, const struct dns_config *config, char **ret_why)
{
	int error, r;

	for (unsigned i = 0; i < config->n_servers; i++) {
		r = add_server(ctx, config->servers[i], ret_why);
		if (r < 0)
			return r;
	}
	if (config->n_servers > 0)
		return 0;
	error = ub_ctx_resolvconf(ctx, RESOLV_CONF);
	if (error != 0)
		return fail(-EINVAL, ret_why, "%s: %s", RESOLV_CONF, ub_strerror(error));
	return 0;
}

static int set_trust_anchor(struct world *w, struct ub_ctx *ctx, const struct log *log, const struct dns_config *config,
			    char **ret_why)
{
	const char *file = config->trust_anchor ? config->trust_anchor : TRUST_ANCHOR;
	struct file_info info;
	int error, r;

	r = path_info(w, file, &info);
	if (r < 0 && config->trust_anchor)
		return fail(r, ret_why, "dns.trust_anchor: %s: %s", file, strerror(-r));
	if (r < 0) {
		LOG(log, LOG_NOTICE, "DNSSEC is off: there is no trust anchor (Debian has it in dns-root-data)", F_STR("file", file));
		return 0;
	}
	error = ub_ctx_add_ta_file(ctx, file);
	if (error != 0)
		return fail(-EINVAL, ret_why, "%s: %s", file, ub_strerror(error));
	return 0;
}

static int set_up(struct world *w, struct unbound_resolver *u, const struct dns_config *config, char **ret_why)
{
	struct file_info info;
	bool forwarding = config->n_servers > 0 || path_info(w, RESOLV_CONF, &info) >= 0;
	int error, r;

	u->ctx = ub_ctx_create();
	if (!u->ctx)
		return -ENOMEM;
	(void) ub_ctx_debugout(u->ctx, NULL); /* what it has to say comes with the answers */
	r = set_options(u->ctx, forwarding, ret_why);
	if (r >= 0 && forwarding) /* else the library asks the root servers and their delegates by itself */
		r = set_servers(u->ctx, config, ret_why);
	if (r >= 0)
		r = set_trust_anchor(w, u->ctx, u->log, config, ret_why);
	if (r < 0)
		return r;
	error = ub_ctx_async(u->ctx, 1);
	/* Anything that changes data makes the library read its files now: while this process may still open
	 * them, and where a mistake can be reported. */
	if (error == 0)
		error = ub_ctx_data_remove(u->ctx, "yizhan.invalid.");
	if (error == UB_NOMEM)
		return -ENOMEM;
	if (error != 0)
		return fail(-EINVAL, ret_why, "the resolver could not be set up (is %s a file with a root key?): %s",
			    config->trust_anchor ? config->trust_anchor : TRUST_ANCHOR, ub_strerror(error));
	return 0;
}

struct set_up_job {
	struct world *world;
	struct unbound_resolver *u;
	const struct dns_config *config;
	char **ret_why;
};

/* Off the fibers: the library reads files, and its parsers want more stack than a fiber has. */
static int set_up_job(void *arg)
{
	struct set_up_job *j = arg;

	return set_up(j->world, j->u, j->config, j->ret_why);
}

static int start_pump(struct world *w, struct unbound_resolver *u)
{
	int r;

	r = loop_new(w, "dns", 0, DNS_LOOP_FIBERS, &u->loop);
	if (r < 0)
		return r;
	r = loop_start(u->loop);
	if (r < 0) {
		loop_free(TAKE_PTR(u->loop));
		return r;
	}
	return loop_spawn(u->loop, "dns-results", pump, u);
}

int unbound_resolver_new(struct world *w, const struct log *log, const struct dns_config *config,
			 struct resolver **ret, char **ret_why)
{
	struct unbound_resolver *u;
	int r;

	*ret_why = NULL;
	if (world_is_simulated(w))
		return fail(-ENOSYS, ret_why, "a simulated world has no DNS but a zone file");
	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	u->resolver = (struct resolver) { .ops = &unbound_ops, .world = w };
	u->log = log;
	u->timeout = config->timeout ? config->timeout : TIMEOUT_DEFAULT;
	r = world_offload(w, set_up_job, &(struct set_up_job) { w, u, config, ret_why });
	if (r >= 0)
		r = start_pump(w, u);
	if (r >= 0)
		r = dns_cache_new(w, config->cache_entries, &u->resolver.cache);
	if (r < 0) {
		unbound_free(&u->resolver);
		return r;
	}
	*ret = &u->resolver;
	return 0;
}
