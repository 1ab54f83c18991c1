#include "main/server.h"

#include <stdio.h>
#include <stdlib.h>

#include "deliver/verify.h"

#define LOOPS_MAX 16u /* an id has four bits for the loop that made it */
#define SERVER_MAGIC 0x5e12e200u

/* A configuration that was in force; sessions may still look at it. */
struct kept_config {
	struct kept_config *next;
	struct config *config;
};

struct server {
	unsigned magic;
	struct world *world;
	const struct log *log;
	struct server_options options;
	struct kept_config *configs; /* the newest first */
	usec_t created;

	struct loop *loops[LOOPS_MAX]; /* sessions and deliveries */
	unsigned n_loops;
	struct loop *admin_loop, *journal_loop;
	struct journal *journal;
	struct resolver *resolver;
	struct router *router;
	struct sts *sts; /* NULL: off, or in a simulation, which has no HTTPS */
	struct deliverer *deliverer;
	struct queue *queue;
	struct receiver *receiver;
	struct reporter *reporter;
	struct spool *spool;
	struct admin *admin;
	struct spool_recovery recovery;
};

static _printf_(3, 4) int say_why(char **ret_why, int error, const char *format, ...)
{
	char *text;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	va_end(ap);
	free(*ret_why);
	*ret_why = text;
	return error;
}

/* What a room did not explain itself. */
static int explain(char **ret_why, int error, const char *what)
{
	if (*ret_why)
		return error;
	return say_why(ret_why, error, "%s: %s", what, strerrordesc_np(-error));
}

const struct config *server_config(const struct server *s)
{
	return s->configs->config;
}

/* --- making the parts, in the order in which they lean on each other ------------------------------------ */

static int keep_config(struct server *s, struct config *config)
{
	struct kept_config *kept = calloc(1, sizeof(*kept));

	if (!kept) {
		config_free(config);
		return -ENOMEM;
	}
	kept->config = config;
	kept->next = s->configs;
	s->configs = kept;
	return 0;
}

static int make_loops(struct server *s)
{
	static const char *const names[LOOPS_MAX] = {
		"loop0", "loop1", "loop2", "loop3", "loop4", "loop5", "loop6", "loop7",
		"loop8", "loop9", "loop10", "loop11", "loop12", "loop13", "loop14", "loop15",
	};
	unsigned n = server_config(s)->threads;
	int r;

	if (!n)
		n = s->options.threads ? s->options.threads : 1;
	n = MIN(n, LOOPS_MAX);
	for (unsigned i = 0; i < n; i++) {
		r = loop_new(s->world, names[i], 0, 0, &s->loops[i]);
		if (r < 0)
			return r;
		s->n_loops++;
	}
	r = loop_new(s->world, "journal", LOOP_BLOCKING, 0, &s->journal_loop);
	if (r < 0)
		return r;
	return loop_new(s->world, "admin", LOOP_BLOCKING, 0, &s->admin_loop);
}

static int make_journal(struct server *s)
{
	_cleanup_(freep) char *directory = NULL;

	if (asprintf(&directory, "%s/journal", server_config(s)->spool.path) < 0)
		return -ENOMEM;
	return journal_new(s->world, s->log, &server_config(s)->journal, directory, &s->journal);
}

/* What rooms tell each other without knowing each other. */
static void introduce_rooms(struct server *s)
{
	struct verifier verifier = deliverer_verifier(s->deliverer);
	struct dmarc_sink verdicts = reporter_dmarc_sink(s->reporter);
	struct tls_sink connections = reporter_tls_sink(s->reporter);

	receiver_set_verifier(s->receiver, &verifier);
	receiver_set_dmarc_sink(s->receiver, &verdicts);
	deliverer_set_tls_sink(s->deliverer, &connections);
}

static int make_rooms(struct server *s, char **ret_why)
{
	const struct config *c = server_config(s);
	const struct event_sink *events;
	int r;

	r = make_loops(s);
	if (r < 0)
		return explain(ret_why, r, "cannot make the loops");
	r = make_journal(s);
	if (r < 0)
		return explain(ret_why, r, "cannot make the journal");
	events = journal_sink(s->journal);
	r = resolver_new(s->world, s->log, &c->dns, &s->resolver, ret_why);
	if (r < 0)
		return explain(ret_why, r, "cannot make the resolver");
	r = router_new(s->world, s->log, s->resolver, &c->route, &s->router);
	if (r < 0)
		return explain(ret_why, r, "cannot make the router");
	r = deliverer_new(s->world, s->log, events, &c->deliver, s->router, &s->deliverer, ret_why);
	if (r < 0)
		return explain(ret_why, r, "cannot make the way out");
	r = queue_new(s->world, s->log, events, &c->queue, s->router, deliverer_courier(s->deliverer), s->loops, s->n_loops,
		      &s->queue);
	if (r < 0)
		return explain(ret_why, r, "cannot make the queue");
	r = reporter_new(s->world, s->log, &c->report, s->resolver, s->queue, s->loops[0], &s->reporter);
	if (r < 0)
		return explain(ret_why, r, "cannot make the reports");
	r = receiver_new(s->world, s->log, events, &c->receive, s->router, s->resolver, s->queue, s->loops, s->n_loops,
			 &s->receiver, ret_why);
	if (r < 0)
		return explain(ret_why, r, "cannot make the way in");
	introduce_rooms(s);
	return 0;
}

int server_new(struct world *w, const struct log *log, const struct server_options *options, struct config *config,
	       struct server **ret, char **ret_why)
{
	_cleanup_(server_freep) struct server *s = calloc(1, sizeof(*s));
	int r;

	*ret_why = NULL;
	if (!s) {
		config_free(config);
		return -ENOMEM;
	}
	s->magic = SERVER_MAGIC;
	s->world = w;
	s->log = log;
	s->options = *options;
	s->created = world_now(w);
	r = keep_config(s, config);
	if (r < 0)
		return r;
	r = make_rooms(s, ret_why);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

/* --- starting ------------------------------------------------------------------------------------------- */

static int take_over(const struct spool_found *m, void *context)
{
	struct server *s = context;

	return queue_recover(s->queue, m);
}

static int explain_spool(const struct server *s, char **ret_why, int r)
{
	const char *path = server_config(s)->spool.path;

	switch (r) {
	case -EWOULDBLOCK:
		return say_why(ret_why, r, "another server has the spool %s open; stop it first, or give this one another spool", path);
	case -EPROTONOSUPPORT:
		return say_why(ret_why, r, "the spool %s was written by a newer version of Yizhan; use that one, or another spool", path);
	case -EACCES:
	case -EPERM:
		return say_why(ret_why, r, "no permission for the spool %s; its owner must be the user that Yizhan runs as", path);
	default:
		return say_why(ret_why, r, "cannot open the spool %s: %s", path, strerrordesc_np(-r));
	}
}

static int open_spool(struct server *s, char **ret_why)
{
	int r;

	r = spool_open(s->world, s->log, &server_config(s)->spool, take_over, s, &s->recovery, &s->spool);
	if (r < 0)
		return explain_spool(s, ret_why, r);
	deliverer_set_spool(s->deliverer, s->spool);
	return 0;
}

static void count_traffic(struct admin_traffic *ret, void *context)
{
	struct server *s = context;
	struct receive_counters c;

	receiver_counters(s->receiver, &c);
	*ret = (struct admin_traffic) {
		.connections = c.connections, .accepted = c.accepted, .refused = c.refused, .messages = c.messages,
		.bytes = c.bytes, .sessions = c.sessions,
		.repeated = c.duplicates.recognized,
		.gate_rejected = c.gate_rejected, .gate_deferred = c.gate_deferred,
		.logins = c.logins, .logins_failed = c.logins_failed, .logins_locked = c.logins_locked,
		.crowded = c.crowded, .refused_crowded = c.refused_crowded,
		.refused_addresses = c.clients.refused_addresses, .refused_networks = c.clients.refused_networks,
		.limited_addresses = c.clients.limited_addresses, .limited_networks = c.clients.limited_networks,
		.n_pressures = PRESSURE_KINDS,
	};
	static_assert(PRESSURE_KINDS <= ARRAY_LEN(ret->pressures), "there is a place for each");
	for (unsigned i = 0; i < PRESSURE_KINDS; i++) {
		const struct receive_pressure *p = &c.pressures[i];

		ret->pressures[i] = (struct admin_pressure) { p->name, p->level, p->value, p->mark, p->refused };
	}
}

static void report(void (*say)(void *to, const char *text), void *to, void *context)
{
	struct server *s = context;

	receiver_report(s->receiver, say, to);
}

static uint64_t count_lost_lines(void *context)
{
	struct server *s = context;

	return s->options.log_dropped ? s->options.log_dropped(s->options.context) : 0;
}

static int pass_request(enum admin_request what, char **ret_why, void *context)
{
	struct server *s = context;

	return s->options.request ? s->options.request(what, ret_why, s->options.context) : -EOPNOTSUPP;
}

static int open_admin(struct server *s, char **ret_why)
{
	const struct config *c = server_config(s);
	struct admin_parts parts = {
		.version = YIZHAN_VERSION,
		.hostname = c->hostname,
		.spool_path = c->spool.path,
		.config_file = c->file,
		.started = s->created,
		.queue = s->queue,
		.router = s->router,
		.spool = s->spool,
		.journal = s->journal,
		.reporter = s->reporter,
		.loops = s->loops,
		.n_loops = s->n_loops,
		.traffic = count_traffic,
		.report = report,
		.log_dropped = count_lost_lines,
		.request = pass_request,
		.context = s,
	};

	if (s->options.no_admin)
		return 0;
	return admin_new(s->world, s->log, &c->admin, &parts, s->admin_loop, &s->admin, ret_why);
}

/* Before mail moves: the policies that are kept must be known to the first message. */
static int open_sts(struct server *s)
{
	const struct sts_config *c = &server_config(s)->sts;
	int r;

	if (c->off || world_is_simulated(s->world))
		return 0;
	r = sts_new(s->world, s->log, s->resolver, c, NULL, &s->sts);
	if (r < 0)
		return r;
	router_set_sts(s->router, s->sts);
	return sts_start(s->sts, s->loops[0]);
}

static int start_loops(struct server *s)
{
	int r;

	for (unsigned i = 0; i < s->n_loops; i++) {
		r = loop_start(s->loops[i]);
		if (r < 0)
			return r;
	}
	r = loop_start(s->journal_loop);
	return r < 0 ? r : loop_start(s->admin_loop);
}

int server_start(struct server *s, char **ret_why)
{
	int r;

	CHECK_MAGIC(s, SERVER_MAGIC);
	*ret_why = NULL;
	r = open_spool(s, ret_why);
	if (r < 0)
		return r;
	r = open_admin(s, ret_why);
	if (r < 0)
		return explain(ret_why, r, "cannot open the control socket");
	r = start_loops(s);
	if (r < 0)
		return explain(ret_why, r, "cannot start the threads");
	/* What a loop was asked to spawn is given back only by a loop that runs. */
	r = journal_start(s->journal, s->journal_loop);
	if (r < 0)
		return explain(ret_why, r, "cannot make the directory of the journal");
	r = open_sts(s);
	if (r < 0)
		return explain(ret_why, r, "cannot prepare for MTA-STS");
	r = queue_start(s->queue, s->spool);
	if (r < 0)
		return explain(ret_why, r, "cannot start the queue");
	r = reporter_start(s->reporter);
	if (r < 0)
		return explain(ret_why, r, "cannot start the reports");
	if (s->admin) {
		r = admin_start(s->admin);
		if (r < 0)
			return explain(ret_why, r, "cannot start the control socket");
	}
	r = receiver_start(s->receiver);
	return r < 0 ? explain(ret_why, r, "cannot start the way in") : 0;
}

/* --- changing ------------------------------------------------------------------------------------------- */

/* What each room has made of a new configuration. */
struct prepared {
	struct deliver_settings *deliver;
	struct route_index *routes;
	struct queue_rules *rules;
};

static void prepared_done(struct prepared *p)
{
	deliver_settings_unref(p->deliver);
	route_index_free(p->routes);
	queue_rules_free(p->rules);
}

static int prepare(struct server *s, const struct config *config, struct prepared *p, char **ret_why)
{
	int r = deliverer_prepare(s->deliverer, &config->deliver, &p->deliver, ret_why);

	if (r >= 0)
		r = router_prepare(s->router, &config->route, &p->routes);
	if (r >= 0)
		r = queue_prepare(s->queue, &config->queue, &p->rules, ret_why);
	return r;
}

/* The new one was put in front, and is not used: it goes behind the one in force. Kept in any case, because something
 * may have looked at it. */
static void put_back(struct server *s)
{
	struct kept_config *newest = s->configs;

	s->configs = newest->next;
	newest->next = s->configs->next;
	s->configs->next = newest;
}

int server_reload(struct server *s, struct config *config, char **ret_why)
{
	_cleanup_(prepared_done) struct prepared p = { 0 };
	const char *fixed = config_needs_restart(server_config(s), config);
	int r;

	CHECK_MAGIC(s, SERVER_MAGIC);
	*ret_why = NULL;
	r = keep_config(s, config);
	if (r < 0)
		return r;
	/* All that may fail comes first; the receiver, when it does not fail, has changed. */
	r = prepare(s, config, &p, ret_why);
	if (r >= 0)
		r = receiver_reload(s->receiver, &config->receive, ret_why);
	if (r < 0) {
		put_back(s);
		return explain(ret_why, r, "the new configuration cannot be used");
	}
	deliverer_adopt(s->deliverer, TAKE_PTR(p.deliver));
	router_adopt(s->router, TAKE_PTR(p.routes));
	queue_adopt(s->queue, &config->queue, TAKE_PTR(p.rules));
	queue_reroute(s->queue);
	reporter_reload(s->reporter, &config->report);
	if (fixed)
		LOG(s->log, LOG_NOTICE, "some changes take effect after a restart only", F_STR("section", fixed));
	return 0;
}

void server_look_at_files(struct server *s)
{
	CHECK_MAGIC(s, SERVER_MAGIC);
	receiver_renew_certificates(s->receiver);
}

/* --- stopping ------------------------------------------------------------------------------------------- */

int server_stop(struct server *s, usec_t deadline)
{
	int r, q;

	CHECK_MAGIC(s, SERVER_MAGIC);
	r = receiver_stop(s->receiver, deadline);
	q = queue_stop(s->queue, deadline);
	reporter_stop(s->reporter);
	if (s->admin)
		admin_stop(s->admin);
	return r < 0 ? r : q;
}

static void stop_loop(struct loop **loop)
{
	if (*loop)
		loop_stop(*loop);
}

static void free_loop(struct loop **loop)
{
	if (*loop)
		loop_free(TAKE_PTR(*loop));
}

/* The loops end first (the journal's last), so that nothing runs while its ground is taken away. */
void server_free(struct server *s)
{
	if (!s)
		return;
	CHECK_MAGIC(s, SERVER_MAGIC);
	if (s->admin)
		admin_stop(s->admin);
	stop_loop(&s->admin_loop);
	for (unsigned i = 0; i < s->n_loops; i++)
		stop_loop(&s->loops[i]);
	admin_free(s->admin);
	receiver_free(s->receiver);
	reporter_free(s->reporter);
	queue_free(s->queue);
	deliverer_free(s->deliverer);
	spool_close(s->spool);
	if (s->journal)
		journal_stop(s->journal);
	stop_loop(&s->journal_loop);
	journal_free(s->journal);
	router_free(s->router);
	sts_free(s->sts);
	resolver_free(s->resolver);
	for (unsigned i = 0; i < s->n_loops; i++)
		free_loop(&s->loops[i]);
	free_loop(&s->admin_loop);
	free_loop(&s->journal_loop);
	while (s->configs) {
		struct kept_config *next = s->configs->next;

		config_free(s->configs->config);
		free(s->configs);
		s->configs = next;
	}
	s->magic = 0;
	free(s);
}

struct queue *server_queue(struct server *s)
{
	return s->queue;
}

struct spool *server_spool(struct server *s)
{
	return s->spool;
}

const struct spool_recovery *server_recovery(const struct server *s)
{
	return &s->recovery;
}

struct journal *server_journal(struct server *s)
{
	return s->journal;
}

struct resolver *server_resolver(struct server *s)
{
	return s->resolver;
}

struct loop *server_loop(struct server *s, unsigned i)
{
	return s->loops[i];
}
