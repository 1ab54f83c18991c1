#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/dkim.h"
#include "identity/own_key.h"
#include "main/privileges.h"
#include "world/file.h"

struct keygen {
	struct world *world;
	const struct dkim_command *command;
	struct arena *arena;
	const char *selector, *path, *name, *record;
	EVP_PKEY *key;
};

/* r202611 for RSA, e202611 for Ed25519: each key has its own, and the next one, another month, gets another. */
static const char *choose_selector(const struct keygen *g)
{
	struct civil today;

	if (g->command->selector)
		return g->command->selector;
	wall_to_civil(world_wall(g->world), &today);
	return arena_printf(g->arena, "%c%04d%02d", g->command->ed25519 ? 'e' : 'r', today.year, today.month);
}

static int make_key(void *arg)
{
	struct keygen *g = arg;

	return crypto_generate(g->command->ed25519, g->command->bits, &g->key);
}

/* --- the file ---------------------------------------------------------------------------------------------------- */

/* The user that the server becomes must be able to read it at a reload. Without a configuration it stays whose it is. */
static int find_owner(const struct keygen *g, struct identity *ret)
{
	const char *path = g->command->common.config ? g->command->common.config : CLI_CONFIG;
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(freep) char *why = NULL;
	struct file_info info;
	int r;

	if (!g->command->common.config && path_info(g->world, path, &info) < 0)
		return CLI_YES;
	r = cli_load_places(g->world, path, &config);
	if (r != CLI_YES)
		return r;
	return privileges_find(config, ret, &why) < 0 ? cli_failed("%s", why ? why : "out of memory") : CLI_YES;
}

static int fill(struct keygen *g, struct file *f, const struct identity *owner)
{
	char *pem = NULL;
	int r = crypto_private_pem(g->key, &pem);

	if (r < 0)
		return r;
	r = file_append(f, slice_from(pem));
	explicit_bzero(pem, strlen(pem));
	free(pem);
	if (r >= 0)
		r = file_sync(f);
	if (r >= 0 && owner->change && chown(g->path, owner->uid, owner->gid) < 0)
		r = -errno;
	return r;
}

static int write_file(struct keygen *g, const struct identity *owner)
{
	_cleanup_(file_closep) struct file *f = NULL;
	int r = file_open(g->world, g->path, FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE | FILE_APPEND, 0600, &f);

	if (r == -EEXIST)
		return cli_failed("%s is there already, and a key is never overwritten; choose another --selector or --output", g->path);
	if (r >= 0) {
		r = fill(g, f, owner);
		if (r < 0)
			(void) path_unlink(g->world, g->path);
	}
	return r < 0 ? cli_failed("%s can't be written: %s", g->path, strerrordesc_np(-r)) : CLI_YES;
}

/* --- what is to be done with it ------------------------------------------------------------------------------------ */

/* As the configuration should name it, wherever that lies. */
static const char *whole_path(const struct keygen *g)
{
	_cleanup_(freep) char *path = realpath(g->path, NULL);

	return path ? arena_strdup(g->arena, path) : g->path;
}

static void print_text(const struct keygen *g, const char *path, const char *zone_line)
{
	printf("The private key is in %s (mode 0600). Keep it secret, and keep a copy.\n"
	       "\n"
	       "1. Publish this record in the zone of %s:\n"
	       "\n"
	       "%s"
	       "\n"
	       "2. Add the key to the configuration:\n"
	       "\n"
	       "identity:\n"
	       "  sign:\n"
	       "    - domain: %s\n"
	       "      keys:\n"
	       "        - { selector: %s, file: %s }\n"
	       "\n"
	       "3. When `yizhan dkim check %s` finds the record, reload the server.\n",
	       path, g->command->domain, zone_line, g->command->domain, g->selector, path, g->command->domain);
}

static int print(const struct keygen *g)
{
	_cleanup_buffer_ struct buffer line = { 0 };
	const char *path = whole_path(g);
	json_t *o;

	own_key_zone_line(g->name, g->record, &line);
	if (!path || buffer_error(&line) < 0)
		return cli_failed("out of memory");
	if (!g->command->common.json) {
		print_text(g, path, line.data);
		return CLI_YES;
	}
	o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "domain", g->command->domain, "selector", g->selector, "file", path, "name", g->name,
		      "record", g->record, "zone", line.data);
	cli_print_json(o);
	json_decref(o);
	return CLI_YES;
}

static int keygen(struct keygen *g)
{
	struct identity owner = { 0 };
	int r = find_owner(g, &owner);

	if (r != CLI_YES)
		return r;
	g->selector = choose_selector(g);
	if (!g->selector)
		return cli_failed("out of memory");
	g->path = g->command->output ? g->command->output : arena_printf(g->arena, "%s.%s.pem", g->command->domain, g->selector);
	g->name = own_key_name(g->arena, g->selector, g->command->domain);
	if (!g->path || !g->name)
		return cli_failed("out of memory");
	r = world_offload(g->world, make_key, g);
	if (r >= 0)
		r = own_key_record(g->key, g->arena, &g->record);
	if (r < 0)
		return cli_failed("the key can't be made: %s", strerrordesc_np(-r));
	r = write_file(g, &owner);
	return r != CLI_YES ? r : print(g);
}

int dkim_keygen(struct world *w, void *arg)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	struct keygen g = { .world = w, .command = arg };
	int r = arena_new(0, &arena);

	if (r < 0)
		return cli_failed("out of memory");
	g.arena = arena;
	r = keygen(&g);
	EVP_PKEY_free(g.key);
	return r;
}
