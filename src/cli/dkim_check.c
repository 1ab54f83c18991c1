#include <stdio.h>
#include <stdlib.h>

#include "cli/dkim.h"
#include "identity/own_key.h"

#define CHECK_TIME (20 * USEC_SEC)

struct checking {
	struct world *world;
	const struct dkim_command *command;
	struct resolver *resolver;
	struct arena *arena;
	json_t *rows;
	bool trouble;
};

/* What the key does today. */
static const char *use_of(const struct signing_key *k, wall_t now, bool seals)
{
	if (k->end && k->end <= now)
		return "retired";
	if (k->begin > now)
		return "not yet";
	return seals ? "seals" : "signs";
}

static void add_date(json_t *row, const char *key, wall_t t)
{
	char text[32];

	if (t)
		json_object_set_new(row, key, json_string(wall_format_seconds(t, text, sizeof(text))));
}

/* What is to be published, where the world finds something else. */
static int add_record(struct checking *c, json_t *row, const char *name, const struct signing_key *k)
{
	_cleanup_buffer_ struct buffer line = { 0 };
	const char *record;
	int r = own_key_record(k->key, c->arena, &record);

	if (r < 0)
		return r;
	own_key_zone_line(name, record, &line);
	if (buffer_error(&line) < 0)
		return -ENOMEM;
	json_object_set_new(row, "publish", json_string(line.data));
	return 0;
}

static int check_key(struct checking *c, const char *domain, const struct signing_key *k, bool seals)
{
	wall_t now = world_wall(c->world);
	const char *name = own_key_name(c->arena, k->selector, domain), *use = use_of(k, now, seals);
	bool rsa = !crypto_is_ed25519(k->key), retired = k->end && k->end <= now;
	struct key_comparison found;
	json_t *row = json_object();
	int r = name ? own_key_compare(c->resolver, domain, k->selector, k->key, deadline_after(world_now(c->world), CHECK_TIME), c->arena,
				       &found)
		     : -ENOMEM;

	json_array_append_new(c->rows, row);
	if (r < 0)
		return r;
	json_object_set_new(row, "domain", json_string(domain));
	json_object_set_new(row, "selector", json_string(k->selector));
	json_object_set_new(row, "type", json_string(rsa ? "rsa" : "ed25519"));
	if (rsa)
		json_object_set_new(row, "bits", json_integer(EVP_PKEY_get_bits(k->key)));
	json_object_set_new(row, "weak", json_boolean(rsa && EVP_PKEY_get_bits(k->key) < (int) OWN_KEY_BITS));
	json_object_set_new(row, "use", json_string(use));
	add_date(row, "begin", k->begin);
	add_date(row, "end", k->end);
	json_object_set_new(row, "result", json_string(key_finding_text(found.finding)));
	json_object_set_new(row, "testing", json_boolean(found.testing));
	json_object_set_new(row, "reason", json_string(found.reason));
	json_object_set_new(row, "file", json_string(k->file));
	/* The record of a retired key may go when the last of its mail has arrived. */
	if (found.finding == KEY_SAME || retired)
		return 0;
	c->trouble = true;
	return found.finding == KEY_UNKNOWN ? 0 : add_record(c, row, name, k);
}

static bool is_meant(const struct checking *c, const char *domain)
{
	return !c->command->domain || strcmp(domain, c->command->domain) == 0;
}

static int check_all(struct checking *c, const struct signing_config *s)
{
	int r = 0;

	for (unsigned i = 0; i < s->n_domains; i++)
		for (unsigned k = 0; k < s->domains[i].n_keys && r >= 0; k++)
			if (is_meant(c, s->domains[i].domain))
				r = check_key(c, s->domains[i].domain, &s->domains[i].keys[k], false);
	if (r >= 0 && s->seal && is_meant(c, s->seal->domain))
		r = check_key(c, s->seal->domain, &s->seal->key, true);
	return r;
}

/* --- for people -------------------------------------------------------------------------------------------------- */

static void print_row(const json_t *row)
{
	char key[32], name[400];

	if (json_object_get(row, "bits"))
		snprintf(key, sizeof(key), "rsa %llu%s", (unsigned long long) cli_number(row, "bits"),
			 json_is_true(json_object_get(row, "weak")) ? ", weak" : "");
	else
		snprintf(key, sizeof(key), "%s", cli_text(row, "type"));
	snprintf(name, sizeof(name), "%s._domainkey.%s", cli_text(row, "selector"), cli_text(row, "domain"));
	printf("%-40s  %-14s  %-8s  %-9s  %s\n", name, key, cli_text(row, "use"), cli_text(row, "result"), cli_text(row, "reason"));
}

/* A key may sign and seal. */
static bool was_printed(const json_t *rows, size_t before, const char *line)
{
	for (size_t i = 0; i < before; i++)
		if (strcmp(cli_text(json_array_get(rows, i), "publish"), line) == 0)
			return true;
	return false;
}

static void print(const json_t *rows)
{
	bool any = false;

	printf("%-40s  %-14s  %-8s  %-9s\n", "RECORD", "KEY", "USE", "DNS");
	for (size_t i = 0; i < json_array_size(rows); i++)
		print_row(json_array_get(rows, i));
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const char *line = cli_text(json_array_get(rows, i), "publish");

		if (*line && !was_printed(rows, i, line)) {
			printf("%s%s", any ? "" : "\nTo be published:\n\n", line);
			any = true;
		}
	}
}

/* --- the command ------------------------------------------------------------------------------------------------- */

static int open_resolver(struct checking *c, const struct config *config)
{
	_cleanup_(freep) char *why = NULL;
	struct dns_config zone = { .zone = c->command->zone };
	int r = resolver_new(c->world, NULL, c->command->zone ? &zone : &config->dns, &c->resolver, &why);

	return r < 0 ? cli_failed("%s", why ? why : strerrordesc_np(-r)) : CLI_YES;
}

static int check(struct checking *c, const struct config *config)
{
	int r = open_resolver(c, config);

	if (r != CLI_YES)
		return r;
	r = check_all(c, &config->signing);
	if (r < 0)
		return cli_failed("%s", strerrordesc_np(-r));
	if (!json_array_size(c->rows))
		return c->command->domain ? cli_failed("%s names no key of %s under identity.sign; `yizhan dkim keygen %s` makes one",
						       c->command->common.config, c->command->domain, c->command->domain)
					  : cli_failed("%s names no keys under identity.sign", c->command->common.config);
	if (c->command->common.json)
		cli_print_json(c->rows);
	else
		print(c->rows);
	return c->trouble ? CLI_NO : CLI_YES;
}

int dkim_check(struct world *w, void *arg)
{
	const struct dkim_command *command = arg;
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	struct checking c = { .world = w, .command = command };
	int r = cli_load_config(w, command->common.config, true, &config);

	if (r != CLI_YES)
		return r;
	if (arena_new(0, &arena) < 0)
		return cli_failed("out of memory");
	c.arena = arena;
	c.rows = json_array();
	r = check(&c, config);
	json_decref(c.rows);
	resolver_free(c.resolver);
	return r;
}
