#include "sim/scene.h"

#include <unistd.h>

#include "dns/zone.h"
#include "sim/letter.h"
#include "sim/remote.h"
#include "sim/seeds.h"
#include "sim/watch.h"
#include "world/file.h"

#define STORY_MAX (256u << 10)
#define START_MAX (10 * USEC_MIN) /* for a server to be up */
#define STOP_GRACE (30 * USEC_SEC)

/* --- the story ------------------------------------------------------------------------------------------ */

void scene_tell(struct scene *s, const char *format, ...)
{
	usec_t t = scene_now(s);
	size_t before = s->story.len;
	char text[600];
	va_list ap;

	va_start(ap, format);
	(void) vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (before > STORY_MAX)
		return;
	buffer_printf(&s->story, "%6llu.%06llu  %s\n", (unsigned long long) (t / USEC_SEC), (unsigned long long) (t % USEC_SEC), text);
	if (seeds_asked_for("LOG") || seeds_asked_for("TRACE"))
		fputs(s->story.data + before, stderr);
}

_noreturn_ void scene_fail(struct scene *s, const char *format, ...)
{
	char text[1000], command[1500];
	va_list ap;

	va_start(ap, format);
	(void) vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (seeds_note_failure(format, text)) {
		fprintf(stderr, "--- the story of seed %llu:\n%s--- at %.6f: %s\n", (unsigned long long) s->seed,
			s->story.data ? s->story.data : "", (double) scene_now(s) / 1e6, text);
		fprintf(stderr, "--- to repeat it: %s (LOG=1 shows more)\n", seeds_command(s->seed, command, sizeof(command)));
	}
	seeds_end_failed();
	if (loop_current())
		abort(); /* on the stack of a fiber, from which the test's frame can't be reached */
	fail();
	abort();
}

void scene_trouble(struct scene *s, enum trouble_kind kind, const struct node *node, const struct node *other, usec_t from,
		   usec_t until)
{
	s->troubles = realloc(s->troubles, (s->n_troubles + 1) * sizeof(*s->troubles));
	assert_non_null(s->troubles);
	s->troubles[s->n_troubles++] = (struct trouble) { .kind = kind, .node = node, .other = other, .from = from, .until = until };
}

bool scene_was_troubled(const struct scene *s, enum trouble_kind kind, const struct node *node, usec_t from, usec_t until)
{
	for (unsigned i = 0; i < s->n_troubles; i++) {
		const struct trouble *t = &s->troubles[i];

		if (t->kind == kind && (!node || t->node == node || t->other == node) && t->from <= until && t->until >= from)
			return true;
	}
	return false;
}

/* --- small things ------------------------------------------------------------------------------------------- */

usec_t scene_now(const struct scene *s)
{
	return sim_now(s->sim);
}

uint64_t scene_dice(struct scene *s, uint64_t n)
{
	return sim_random_below(s->sim, n);
}

bool scene_chance(struct scene *s, unsigned per_cent)
{
	return scene_dice(s, 100) < per_cent;
}

struct node *scene_node_of(struct scene *s, const struct sim_host *host)
{
	for (unsigned i = 0; i < s->n_nodes; i++)
		if (s->nodes[i].host == host)
			return &s->nodes[i];
	return NULL;
}

void scene_machine_new(struct scene *s, const char *name, const char *ips, struct machine *ret)
{
	struct machine m;

	assert_int_equal(sim_host_new(s->sim, name, ips, &m.host, &m.world), 0);
	assert_int_equal(loop_new(m.world, "main", 0, 0, &m.loop), 0);
	assert_int_equal(loop_start(m.loop), 0);
	*ret = m;
}

void scene_machine_free(struct machine *m)
{
	loop_stop(m->loop);
	loop_free(m->loop);
	world_free(m->world);
	*m = (struct machine) { 0 };
}

static wall_t log_now(void *context)
{
	const struct node *n = context;

	return (wall_t) scene_now(n->scene) + n->scene->wall_offset;
}

/* What a server has to say from a warning upwards belongs into the story. */
static void log_line(void *context, const char *line, size_t len)
{
	struct node *n = context;
	const char *text = memchr(line, ' ', len);

	if (text && len > 0)
		scene_tell(n->scene, "%s:%.*s", n->name, (int) (line + len - text - 1), text);
}

static void write_zone(struct scene *s, const char *more)
{
	for (unsigned i = 0; i < s->n_nodes; i++) {
		char c = (char) ('a' + i);

		buffer_printf(&s->zone, "%c.example. 300 IN MX 10 mx.%c.example.\nmx.%c.example. 300 IN A 192.0.2.%u\n", c, c, c, 11 + i);
		buffer_printf(&s->zone, "%u.2.0.192.in-addr.arpa. 300 IN PTR mx.%c.example.\n", 11 + i, c);
	}
	if (more)
		buffer_append_str(&s->zone, more);
	assert_int_equal(buffer_error(&s->zone), 0);
}

/* --- a server's machine ----------------------------------------------------------------------------------------- */

static void put_file(struct node *n, const char *path, struct slice text)
{
	assert_int_equal(file_write_atomically(n->world, path, text, 0600), 0);
}

static void write_config(struct node *n, const char *path, unsigned port)
{
	_cleanup_buffer_ struct buffer text = { 0 };

	buffer_printf(&text, "hostname: mx.%s\n", n->domain);
	buffer_printf(&text, "threads: %u\n", n->threads);
	buffer_append_str(&text, "trusted: [192.0.2.96/27]\n");
	buffer_printf(&text, "listen: [{address: [\"%s:%u\"]}]\n", n->ip, port);
	buffer_printf(&text, "domains: {%s: {deliver: \"maildir:/var/mail/{domain}/{local}\", recipients: [alice, bob, carol]}}\n", n->domain);
	buffer_append_str(&text, "dns: {zone: /etc/zone}\n");
	buffer_append_str(&text, "spool: {path: /var/spool/yizhan, reserve: 1M}\n");
	buffer_append_str(&text, "log: {level: warning}\n");
	if (n->scene->config)
		buffer_append_str(&text, n->scene->config);
	assert_int_equal(buffer_error(&text), 0);
	put_file(n, path, buffer_slice(&text));
}

static void node_new(struct scene *s, unsigned index)
{
	struct node *n = &s->nodes[index];

	*n = (struct node) { .scene = s, .index = index, .boot_at = DEADLINE_NEVER, .left = UINT64_MAX };
	(void) snprintf(n->name, sizeof(n->name), "%c", (char) ('a' + index));
	(void) snprintf(n->domain, sizeof(n->domain), "%s.example", n->name);
	(void) snprintf(n->ip, sizeof(n->ip), "192.0.2.%u", 11 + index);
	n->log = (struct log) { .level = seeds_asked_for("LOG") ? LOG_DEBUG : LOG_WARNING, .now = log_now, .write = log_line, .context = n };
	n->threads = 1 + (unsigned) scene_dice(s, 3);
	/* Small, so that segments come and go. */
	n->spool.segment_size = (64u << 10) + scene_dice(s, 192u << 10);
	n->spool.compact_percent = 30 + (unsigned) scene_dice(s, 60);
	n->spool.spare = (unsigned) (n->spool.segment_size % 3);
	n->spool.compact_after = 1 + scene_dice(s, scene_chance(s, 50) ? USEC_SEC : 30 * USEC_SEC);
	assert_int_equal(sim_host_new(s->sim, n->name, n->ip, &n->host, &n->world), 0);
	s->wall_offset = world_wall(n->world) - (int64_t) world_now(n->world);
	assert_int_equal(path_make_directory(n->world, "/etc", 0755), 0);
	assert_int_equal(path_make_directories(n->world, "/var/mail", 0755), 0);
	put_file(n, "/etc/zone", buffer_slice(&s->zone));
	write_config(n, "/etc/yizhan.yaml", 25);
	write_config(n, "/etc/rival.yaml", 2525);
	sim_host_sync(n->host);
	sim_host_kill(n->host);
	world_free(TAKE_PTR(n->world));
}

/* Servers start a dozen times in a seed, and a sixth of all time went into machine code for patterns that see a few
 * replies each. It stands before the library's: the patterns are interpreted, to the same effect. */
int pcre2_jit_compile_8(void *code, uint32_t options);

int pcre2_jit_compile_8(void *code, uint32_t options)
{
	return -1; /* nobody asks why */
}

/* --- starting and ending a server --------------------------------------------------------------------------------- */

/* What is left of a process that has ended is taken away. */
static void bury(struct node *n)
{
	if (n->loop)
		loop_stop(n->loop);
	server_free(TAKE_PTR(n->server));
	if (n->loop)
		loop_free(TAKE_PTR(n->loop));
	if (n->world)
		world_free(TAKE_PTR(n->world));
	n->state = NODE_DOWN;
}

static void start_fiber(void *arg)
{
	struct node *n = arg;
	_cleanup_(freep) char *why = NULL;
	int r = server_start(n->server, &why);

	if (r < 0 && sim_host_is_up(n->host))
		scene_tell(n->scene, "%s cannot start: %s", n->name, why ? why : strerrordesc_np(-r));
	n->state = r < 0 ? NODE_FAILED : NODE_UP;
	if (r < 0)
		return;
	n->found = *server_recovery(n->server);
	n->up_since = scene_now(n->scene);
	scene_check(n->scene, n->left == UINT64_MAX || n->left == n->found.messages,
		    "%s found %llu messages, and its index had %llu when it stopped", n->name, (unsigned long long) n->found.messages,
		    (unsigned long long) n->left);
	n->left = UINT64_MAX;
}

static void ask_dns(void *context, const char *name, enum dns_type type, enum dns_status *status, usec_t *delay)
{
	struct scene *s = context;

	if (!scene_chance(s, s->dns_trouble))
		return;
	*delay = scene_dice(s, 30 * USEC_SEC);
	if (scene_chance(s, 70))
		*status = scene_chance(s, 50) ? DNS_SERVFAIL : DNS_TIMEOUT;
}

/* The zone file is the one of the beginning; what the DNS says now is the scene's. */
static void answer_anew(struct node *n)
{
	_cleanup_(freep) char *why = NULL;
	struct zone *zone;

	if (!n->scene->zone_changed)
		return;
	assert_int_equal(zone_parse(buffer_slice(&n->scene->zone), "the new zone", &zone, &why), 0);
	zone_resolver_set_zone(server_resolver(n->server), zone);
}

void scene_change_zone(struct scene *s, const char *more)
{
	buffer_clear(&s->zone);
	write_zone(s, more);
	s->zone_changed = true;
	for (unsigned i = 0; i < s->n_nodes; i++)
		if (s->nodes[i].server)
			answer_anew(&s->nodes[i]);
}

static int make_server(struct node *n)
{
	_cleanup_config_errors_ struct config_errors errors = { 0 };
	_cleanup_(freep) char *why = NULL;
	struct server_options options = { .no_admin = true };
	struct config *config;
	int r;

	r = config_load(n->world, "/etc/yizhan.yaml", &errors, &config);
	if (r == -EBADMSG && sim_host_is_up(n->host) && !scene_was_troubled(n->scene, TROUBLE_DISK, n, 0, scene_now(n->scene)))
		scene_fail(n->scene, "%s: the configuration is wrong:\n%s", n->name, errors.text.data);
	if (r < 0)
		return r;
	config->spool.segment_size = n->spool.segment_size;
	config->spool.compact_percent = n->spool.compact_percent;
	config->spool.spare = n->spool.spare;
	config->spool.compact_after = n->spool.compact_after;
	config->queue.connections = n->scene->connections;
	r = server_new(n->world, &n->log, &options, config, &n->server, &why);
	if (r >= 0) {
		zone_resolver_set_hook(server_resolver(n->server), ask_dns, n->scene);
		answer_anew(n);
	} else
		scene_tell(n->scene, "%s cannot be made: %s", n->name, why ? why : strerrordesc_np(-r));
	return r;
}

void node_boot(struct node *n)
{
	assert(n->state == NODE_DOWN);
	n->boot_at = DEADLINE_NEVER;
	n->starts++;
	assert_int_equal(sim_host_restart(n->host, &n->world), 0);
	n->state = NODE_STARTING;
	if (make_server(n) < 0) {
		n->state = NODE_FAILED;
		return;
	}
	assert_int_equal(loop_new(n->world, "process", 0, 0, &n->loop), 0);
	assert_int_equal(loop_start(n->loop), 0);
	assert_int_equal(loop_spawn(n->loop, "start", start_fiber, n), 0);
}

static void node_died(struct node *n, usec_t pause)
{
	/* It may be seen late: while another server was being stopped. */
	scene_trouble(n->scene, TROUBLE_DEATH, n, NULL, sim_host_died_at(n->host), scene_now(n->scene));
	bury(n);
	n->boot_at = deadline_after(scene_now(n->scene), pause);
}

void node_crash(struct node *n, usec_t pause)
{
	if (n->state == NODE_DOWN)
		return;
	scene_tell(n->scene, "the power of %s is cut", n->name);
	sim_host_crash(n->host);
	node_died(n, pause);
}

void node_kill(struct node *n, usec_t pause)
{
	if (n->state == NODE_DOWN)
		return;
	scene_tell(n->scene, "%s is killed", n->name);
	sim_host_kill(n->host);
	node_died(n, pause);
}

void node_break_at(struct node *n, uint64_t changes, usec_t pause)
{
	if (n->state == NODE_DOWN && changes > 0)
		return;
	sim_host_crash_at(n->host, changes);
	n->break_pause = pause;
}

/* A power cut that node_break_at ordered has come, or the start has failed and the process ended. */
static void look_after(struct node *n)
{
	if (n->state == NODE_DOWN)
		return;
	if (!sim_host_is_up(n->host)) {
		scene_tell(n->scene, "the power of %s is cut in the middle of a change of its disk", n->name);
		node_died(n, n->break_pause);
	} else if (n->state == NODE_FAILED) {
		n->failed_starts++;
		sim_host_kill(n->host);
		node_died(n, 10 * USEC_SEC); /* as a service manager does */
	}
}

static bool needs_care(void *context)
{
	struct scene *s = context;

	watch_moment(s);
	for (unsigned i = 0; i < s->n_nodes; i++)
		if (s->nodes[i].state != NODE_DOWN && (s->nodes[i].state == NODE_FAILED || !sim_host_is_up(s->nodes[i].host)))
			return true;
	return false;
}

void scene_run(struct scene *s, usec_t until)
{
	for (;;) {
		usec_t next = until;

		for (unsigned i = 0; i < s->n_nodes; i++) {
			struct node *n = &s->nodes[i];

			look_after(n);
			if (n->state != NODE_DOWN)
				continue;
			if (n->boot_at <= scene_now(s))
				node_boot(n);
			else
				next = MIN(next, n->boot_at);
		}
		if (scene_now(s) >= until && !needs_care(s))
			return;
		sim_run_until(s->sim, needs_care, s, next);
	}
}

void scene_run_for(struct scene *s, usec_t time)
{
	scene_run(s, deadline_after(scene_now(s), time));
}

static void stop_fiber(void *arg)
{
	struct node *n = arg;

	n->stop_result = server_stop(n->server, deadline_after(now(), STOP_GRACE));
	n->state = NODE_STOPPING;
}

static bool has_stopped(void *context)
{
	const struct node *n = context;

	return n->state == NODE_STOPPING;
}

void node_stop(struct node *n, usec_t pause)
{
	struct scene *s = n->scene;
	struct spool_stats stats;

	assert(n->state == NODE_UP);
	if (!sim_host_is_up(n->host)) { /* its power went while another one was being stopped: it is seen now */
		look_after(n);
		return;
	}
	node_break_at(n, 0, 0);
	assert_int_equal(loop_spawn(n->loop, "stop", stop_fiber, n), 0);
	if (!sim_run_until(s->sim, has_stopped, n, deadline_after(scene_now(s), 2 * STOP_GRACE)))
		scene_fail(s, "%s does not stop", n->name);
	if (n->stop_result < 0) /* what was cut off is as if it had died */
		scene_trouble(s, TROUBLE_DEATH, n, NULL, scene_now(s) - STOP_GRACE, scene_now(s));
	sim_run(s->sim, deadline_after(scene_now(s), 30 * USEC_SEC)); /* what is noted lazily is noted, also by a slow disk */
	spool_stats(server_spool(n->server), &stats);
	if (!scene_was_troubled(s, TROUBLE_DISK, n, 0, scene_now(s)))
		n->left = stats.messages;
	bury(n);
	n->boot_at = deadline_after(scene_now(s), pause);
}

struct rival {
	struct node *node;
	struct server *server;
	int result;
	bool done;
};

static void rival_fiber(void *arg)
{
	struct rival *r = arg;
	_cleanup_(freep) char *why = NULL;

	r->result = server_start(r->server, &why);
	r->done = true;
}

static bool rival_is_done(void *context)
{
	return ((struct rival *) context)->done;
}

static int rival_make(struct rival *r, struct world *w)
{
	_cleanup_config_errors_ struct config_errors errors = { 0 };
	_cleanup_(freep) char *why = NULL;
	struct server_options options = { .no_admin = true };
	struct config *config;
	int e = config_load(w, "/etc/rival.yaml", &errors, &config);

	return e < 0 ? e : server_new(w, NULL, &options, config, &r->server, &why);
}

void node_rival(struct node *n)
{
	struct rival r = { .node = n };
	struct scene *s = n->scene;
	struct world *w;
	struct loop *loop = NULL;

	if (sim_host_process(n->host, &w) < 0)
		return;
	if (rival_make(&r, w) >= 0) {
		assert_int_equal(loop_new(w, "rival", 0, 0, &loop), 0);
		assert_int_equal(loop_start(loop), 0);
		assert_int_equal(loop_spawn(loop, "rival", rival_fiber, &r), 0);
		scene_check(s, sim_run_until(s->sim, rival_is_done, &r, deadline_after(scene_now(s), START_MAX)),
			    "a second server on the spool of %s does not end", n->name);
		scene_check(s, r.result < 0, "two servers have the spool of %s open", n->name);
		scene_check(s, r.result == -EWOULDBLOCK || scene_was_troubled(s, TROUBLE_DISK, n, 0, scene_now(s)) || !sim_host_is_up(n->host),
			    "a second server on the spool of %s is told: %s", n->name, strerrorname_np(-r.result));
		loop_stop(loop);
		server_free(r.server);
		loop_free(loop);
	}
	sim_world_kill(w);
	world_free(w);
}

static bool is_settled(void *context)
{
	const struct node *n = context;

	return n->state != NODE_STARTING;
}

void node_start(struct node *n)
{
	node_boot(n);
	sim_run_until(n->scene->sim, is_settled, n, deadline_after(scene_now(n->scene), START_MAX));
	scene_check(n->scene, n->state == NODE_UP, "%s does not start", n->name);
}

uint64_t node_messages(const struct node *n)
{
	struct spool_stats stats;

	if (n->state != NODE_UP)
		return 0;
	spool_stats(server_spool(n->server), &stats);
	return stats.messages;
}

unsigned node_fibers(const struct node *n)
{
	unsigned fibers = 0;

	for (unsigned i = 0; i < n->threads; i++)
		fibers += loop_fiber_count(server_loop(n->server, i));
	return fibers;
}

/* --- the scene ------------------------------------------------------------------------------------------------------ */

static bool is_drained(const struct scene *s)
{
	for (unsigned i = 0; i < s->n_nodes; i++)
		if (s->nodes[i].state != NODE_UP || node_messages(&s->nodes[i]) > 0)
			return false;
	return true;
}

/* A spool whose disk has failed too often takes nothing more until somebody has looked at the disk and starts the
 * server again. */
static void obey_log(struct node *n)
{
	struct spool_stats stats;

	if (n->state != NODE_UP)
		return;
	spool_stats(server_spool(n->server), &stats);
	if (!stats.failed)
		return;
	scene_tell(n->scene, "%s is stopped and started, because its spool asks for that", n->name);
	node_stop(n, DEADLINE_NEVER);
	node_start(n);
}

bool scene_drain(struct scene *s, usec_t limit)
{
	usec_t step = 5 * USEC_SEC;

	for (;;) {
		/* Also one that has nothing left: its disk may hold what it could not take out any more. */
		for (unsigned i = 0; i < s->n_nodes; i++)
			obey_log(&s->nodes[i]);
		if (is_drained(s))
			break;
		if (scene_now(s) >= limit)
			return false;
		scene_run(s, MIN(deadline_after(scene_now(s), step), limit));
		step = MIN(step * 2, 10 * USEC_MIN);
	}
	/* What is noted lazily becomes durable, what is idle hangs up. */
	scene_run_for(s, 10 * USEC_MIN);
	return true;
}

void scene_new(uint64_t seed, const struct scene_options *o, struct scene **ret)
{
	struct scene *s = calloc(1, sizeof(*s));
	struct sim_options options = { .seed = seed, .trace = seeds_asked_for("TRACE") ? stderr : NULL };

	assert_non_null(s);
	assert(o->n_servers <= SCENE_SERVERS);
	s->seed = seed;
	s->config = o->config;
	s->connections = o->connections;
	s->n_nodes = o->n_servers;
	assert_int_equal(sim_new(&options, &s->sim), 0);
	write_zone(s, o->zone);
	for (unsigned i = 0; i < s->n_nodes; i++)
		node_new(s, i);
	*ret = s;
}

void scene_free(struct scene *s)
{
	for (unsigned i = 0; i < s->n_nodes; i++) {
		struct node *n = &s->nodes[i];

		if (n->state == NODE_UP)
			node_stop(n, DEADLINE_NEVER);
		else if (n->state != NODE_DOWN)
			bury(n);
	}
	while (s->n_remotes > 0)
		remote_free(s->remotes[--s->n_remotes]);
	scene_check(s, sim_connection_count(s->sim) == 0, "%u connections were left open", sim_connection_count(s->sim));
	sim_free(s->sim);
	letters_free(s);
	buffer_done(&s->zone);
	buffer_done(&s->story);
	free(s->troubles);
	free(s);
}
