#include "cli/reports.h"

#include <stdio.h>
#include <stdlib.h>

#include "report/rows.h"
#include "report/unpack.h"
#include "world/file.h"

#define FILE_SIZE_MAX (256u << 20) /* of a mailbox file */

enum { OPTION_DRY_RUN = 256 };

struct reports_command {
	const struct cli_command *self;
	enum report_kind kind;
	struct cli_options common;
	bool dry_run;
	const char *verb;
	int argc; /* behind the verb */
	char **argv;
	json_t *list; /* with --json */
	uint64_t count, troubles;
};

/* --- show: from the file, with or without a server ------------------------------------------------------------------ */

struct looking {
	struct reports_command *c;
	const char *path, *domain;
	struct arena *arena;
	struct report_items items;
	char error[STORE_ERROR];
};

static int list_on_worker(void *arg)
{
	struct looking *l = arg;

	return report_store_list(l->path, l->c->kind, 0, l->domain, l->arena, &l->items, l->error);
}

static json_t *item_json(const struct report_item *item)
{
	char begin[25], end[25];

	return json_pack("{s:s, s:s, s:s, s:I, s:I, s:i}", "domain", item->domain, "begin",
			 wall_format_seconds(item->begin, begin, sizeof(begin)), "end", wall_format_seconds(item->end, end, sizeof(end)),
			 "rows", (json_int_t) item->rows, "count", (json_int_t) item->count, "attempts", (int) item->attempts);
}

static void show_item(struct reports_command *c, const struct report_item *item)
{
	char begin[25], end[25], domain[300];

	if (c->common.json) {
		json_array_append_new(c->list, item_json(item));
		return;
	}
	if (c->count++ == 0)
		printf("%-20s  %-20s  %9s  %6s  %s\n", "from", "to", c->kind == REPORT_TLS ? "sessions" : "messages", "rows", "domain");
	printf("%-20s  %-20s  %9llu  %6llu  %s", wall_format_seconds(item->begin, begin, sizeof(begin)),
	       wall_format_seconds(item->end, end, sizeof(end)), (unsigned long long) item->count, (unsigned long long) item->rows,
	       cli_safe(item->domain, domain, sizeof(domain)));
	if (item->attempts)
		printf(" (not handed over yet, %u attempt%s)", item->attempts, item->attempts == 1 ? "" : "s");
	printf("\n");
}

struct details {
	struct looking *l;
	const struct report_item *item;
};

/* On a worker: what would be reported, as the report will have it. */
static int show_details(void *arg)
{
	struct details *d = arg;
	struct looking *l = d->l;
	struct dmarc_report dmarc = { 0 };
	struct tls_report tls = { 0 };
	struct report_data data;
	bool is_tls = l->c->kind == REPORT_TLS;
	int r = report_store_load(l->path, d->item, l->arena, &data, l->error);

	if (r >= 0)
		r = is_tls ? tls_report_from(&data, l->arena, &tls) : dmarc_report_from(&data, l->arena, &dmarc);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	dmarc.begin = tls.begin = d->item->begin;
	dmarc.end = tls.end = d->item->end;
	if (l->c->common.json)
		json_array_append_new(l->c->list, is_tls ? tls_report_json(&tls) : dmarc_report_json(&dmarc));
	else if (is_tls)
		tls_report_print(&tls);
	else
		dmarc_report_print(&dmarc);
	return 0;
}

static int show_items(struct world *w, struct looking *l)
{
	int r = world_offload(w, list_on_worker, l);

	for (unsigned i = 0; i < l->items.n && r >= 0; i++) {
		struct details d = { l, &l->items.items[i] };

		if (l->domain)
			r = world_offload(w, show_details, &d);
		else
			show_item(l->c, &l->items.items[i]);
	}
	if (r < 0)
		return cli_failed("%s: %s", l->path, l->error[0] ? l->error : strerrordesc_np(-r));
	if (l->c->common.json)
		cli_print_json(l->c->list);
	else if (!l->items.n)
		printf("nothing was collected yet%s%s\n", l->domain ? " about " : "", l->domain ? l->domain : "");
	return CLI_YES;
}

static int show(struct world *w, struct reports_command *c, const struct config *config)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	struct looking l = { .c = c, .path = config->report.path, .domain = c->argc ? c->argv[0] : NULL };
	json_t *request = json_pack("{s:s}", "command", "reports.flush"), *answer = NULL;

	/* A running server writes down what it still holds in memory. */
	cli_ask(w, config, request, NULL, NULL, true, &answer);
	json_decref(answer);
	json_decref(request);
	if (arena_new(0, &arena) < 0)
		return cli_failed("out of memory");
	l.arena = arena;
	return show_items(w, &l);
}

/* --- send: by the server ---------------------------------------------------------------------------------------------- */

static void take_outcome(const json_t *row, void *context)
{
	struct reports_command *c = context;
	char domain[300], to[600], what[400], size[16];

	c->count++;
	if (c->common.json) {
		json_array_append(c->list, (json_t *) row);
		return;
	}
	printf("%s  %.10s  %llu %s", cli_safe(cli_text(row, "domain"), domain, sizeof(domain)), cli_text(row, "begin"),
	       (unsigned long long) cli_number(row, "count"), c->kind == REPORT_TLS ? "sessions" : "messages");
	if (cli_number(row, "size"))
		printf(", %s", cli_size(cli_number(row, "size"), size));
	if (cli_text(row, "to")[0])
		printf(" to %s", cli_safe(cli_text(row, "to"), to, sizeof(to)));
	printf(": %s\n", cli_safe(cli_text(row, "result"), what, sizeof(what)));
}

static int send_now(struct world *w, struct reports_command *c, const struct config *config)
{
	json_t *request = json_pack("{s:s, s:s, s:b, s:s*}", "command", "reports.send", "kind", c->kind == REPORT_TLS ? "tls" : "dmarc",
				    "dry_run", c->dry_run, "domain", c->argc ? c->argv[0] : NULL);
	json_t *answer = NULL;
	int r = request ? cli_ask(w, config, request, take_outcome, c, false, &answer) : cli_failed("out of memory");

	json_decref(request);
	if (r != CLI_YES)
		return r;
	json_decref(answer);
	if (c->common.json)
		cli_print_json(c->list);
	else if (!c->count)
		printf("there is nothing to report\n");
	return CLI_YES;
}

/* --- read: what others sent ------------------------------------------------------------------------------------------- */

struct reading {
	struct reports_command *c;
	const char *path;
	char *data;
	size_t len;
};

static void take_trouble(const char *why, void *context)
{
	struct reading *rd = context;

	rd->c->troubles++;
	cli_failed("%s: %s", rd->path, why);
}

/* 0, also when it is no report, which was said; -ENOMEM. */
static int take_dmarc(struct reading *rd, struct slice text, struct arena *a)
{
	struct dmarc_report report;
	const char *why = NULL;
	int r = dmarc_report_read(text, NULL, a, &report, &why);

	if (r < 0) {
		if (r != -ENOMEM)
			take_trouble(why, rd);
		return r == -ENOMEM ? r : 0;
	}
	rd->c->count++;
	if (rd->c->common.json)
		json_array_append_new(rd->c->list, dmarc_report_json(&report));
	else
		dmarc_report_print(&report);
	return 0;
}

static int take_tls(struct reading *rd, struct slice text, struct arena *a)
{
	struct tls_report report;
	const char *why = NULL;
	int r = tls_report_read(text, a, &report, &why);

	if (r < 0) {
		if (r != -ENOMEM)
			take_trouble(why, rd);
		return r == -ENOMEM ? r : 0;
	}
	rd->c->count++;
	if (rd->c->common.json)
		json_array_append_new(rd->c->list, tls_report_json(&report));
	else
		tls_report_print(&report);
	return 0;
}

static int take_document(enum document_kind kind, struct slice text, void *context)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	struct reading *rd = context;
	bool tls = rd->c->kind == REPORT_TLS;
	int r = arena_new(0, &arena);

	if (r < 0)
		return r;
	if (tls != (kind == DOCUMENT_JSON)) {
		take_trouble(tls ? "this is XML; yizhan dmarc read knows it" : "this is JSON; yizhan tlsrpt read knows it", rd);
		return 0;
	}
	return tls ? take_tls(rd, text, arena) : take_dmarc(rd, text, arena);
}

static int read_on_worker(void *arg)
{
	struct reading *rd = arg;
	struct unpack_found found = { .document = take_document, .trouble = take_trouble, .context = rd };

	return report_unpack(slice_new(rd->data, rd->len), NULL, &found);
}

static int read_path(struct world *w, struct reports_command *c, const char *path, unsigned depth);

struct directory {
	struct world *world;
	struct reports_command *c;
	const char *path;
	unsigned depth;
	bool maildir; /* only cur and new count */
};

static int is_maildir_part(const char *name, void *context)
{
	bool *found = context;

	*found = *found || strcmp(name, "cur") == 0 || strcmp(name, "new") == 0;
	return 0;
}

static int read_entry(const char *name, void *context)
{
	struct directory *d = context;
	_cleanup_(freep) char *path = NULL;
	int r;

	if (name[0] == '.' || (d->maildir && strcmp(name, "cur") != 0 && strcmp(name, "new") != 0))
		return 0;
	if (asprintf(&path, "%s/%s", d->path, name) < 0)
		return -ENOMEM;
	r = read_path(d->world, d->c, path, d->depth + 1);
	return r == -ENOMEM ? r : 0;
}

static int read_directory(struct world *w, struct reports_command *c, const char *path, unsigned depth)
{
	struct directory d = { .world = w, .c = c, .path = path, .depth = depth };
	int r = path_list(w, path, is_maildir_part, &d.maildir);

	return r < 0 ? r : path_list(w, path, read_entry, &d);
}

/* 0; what can't be read was said; -ENOMEM. */
static int read_path(struct world *w, struct reports_command *c, const char *path, unsigned depth)
{
	struct reading rd = { .c = c, .path = path };
	struct file_info info;
	int r = path_info(w, path, &info);

	if (r >= 0 && info.is_directory)
		r = depth > 2 ? 0 : read_directory(w, c, path, depth);
	else if (r >= 0)
		r = file_read_all(w, path, FILE_SIZE_MAX, &rd.data, &rd.len);
	if (r >= 0 && rd.data)
		r = world_offload(w, read_on_worker, &rd);
	free(rd.data);
	if (r < 0 && r != -ENOMEM) {
		c->troubles++;
		cli_failed("%s: %s", path, strerrordesc_np(-r));
		return 0;
	}
	return r;
}

static int read_all(struct world *w, struct reports_command *c)
{
	int r = 0;

	for (int i = 0; i < c->argc && r >= 0; i++)
		r = read_path(w, c, c->argv[i], 0);
	if (r < 0)
		return cli_failed("%s", strerrordesc_np(-r));
	if (c->common.json)
		cli_print_json(c->list);
	return c->count && !c->troubles ? CLI_YES : CLI_NO;
}

/* --- the command --------------------------------------------------------------------------------------------------------- */

static int work(struct world *w, void *arg)
{
	struct reports_command *c = arg;
	_cleanup_(config_freep) struct config *config = NULL;
	int r;

	if (strcmp(c->verb, "read") == 0)
		return read_all(w, c);
	r = cli_load_places(w, c->common.config, &config);
	if (r != CLI_YES)
		return r;
	return strcmp(c->verb, "show") == 0 ? show(w, c, config) : send_now(w, c, config);
}

static int check(const struct reports_command *c)
{
	bool read = strcmp(c->verb, "read") == 0;

	if (!read && strcmp(c->verb, "show") != 0 && strcmp(c->verb, "send") != 0)
		return cli_wrong_usage(c->self, "there is no \"%s\"; show, send or read?", c->verb);
	if (read && c->argc == 0)
		return cli_wrong_usage(c->self, "read needs a file or a mailbox");
	if (!read && c->argc > 1)
		return cli_wrong_usage(c->self, "one domain at a time");
	if (c->dry_run && strcmp(c->verb, "send") != 0)
		return cli_wrong_usage(c->self, "--dry-run goes with send");
	return CLI_YES;
}

int cli_reports(const struct cli_command *self, enum report_kind kind, int argc, char **argv)
{
	static const struct option options[] = { CLI_LONG_OPTIONS, { "dry-run", no_argument, NULL, OPTION_DRY_RUN }, { 0 } };
	struct reports_command c = { .self = self, .kind = kind, .common.config = CLI_CONFIG };
	int status;

	while (cli_next_option(self, argc, argv, options, &c.common, &status) >= 0)
		c.dry_run = true;
	if (status >= 0)
		return status;
	if (optind >= argc)
		return cli_wrong_usage(self, "show, send or read?");
	c.verb = argv[optind];
	c.argc = argc - optind - 1;
	c.argv = argv + optind + 1;
	status = check(&c);
	if (status != CLI_YES)
		return status;
	c.list = json_array();
	status = cli_run(work, &c);
	json_decref(c.list);
	return status;
}
