/* A world and a fiber for commands that need them, and the configuration. */
#include <semaphore.h>
#include <stdio.h>

#include "cli/cli.h"
#include "world/fiber.h"
#include "world/linux.h"

struct work {
	struct world *world;
	int (*fn)(struct world *w, void *arg);
	void *arg;
	int result;
	sem_t done;
};

static void work_fiber(void *arg)
{
	struct work *work = arg;

	work->result = work->fn(work->world, work->arg);
	sem_post(&work->done);
}

static int run_in_loop(struct work *work)
{
	struct loop *loop;
	int r;

	r = loop_new(work->world, "command", 0, 0, &loop);
	if (r < 0)
		return cli_failed("%s", strerrordesc_np(-r));
	r = loop_start(loop);
	if (r >= 0)
		r = loop_spawn(loop, "command", work_fiber, work);
	if (r >= 0)
		while (sem_wait(&work->done) < 0)
			;
	loop_stop(loop);
	loop_free(loop);
	return r < 0 ? cli_failed("%s", strerrordesc_np(-r)) : work->result;
}

int cli_run(int (*fn)(struct world *w, void *arg), void *arg)
{
	struct work work = { .fn = fn, .arg = arg };
	int r = world_linux_new(NULL, &work.world);

	if (r < 0)
		return cli_failed("%s", strerrordesc_np(-r));
	sem_init(&work.done, 0, 0);
	r = run_in_loop(&work);
	sem_destroy(&work.done);
	world_free(work.world);
	return r;
}

int cli_load_config(struct world *w, const char *path, bool warn, struct config **ret)
{
	_cleanup_config_errors_ struct config_errors errors = { 0 };
	int r = config_load(w, path, &errors, ret);

	if (warn && errors.warnings.len)
		fwrite(errors.warnings.data, 1, errors.warnings.len, stderr);
	if (r >= 0)
		return CLI_YES;
	if (errors.text.len)
		fwrite(errors.text.data, 1, errors.text.len, stderr);
	else
		cli_failed("%s: %s", path, strerrordesc_np(-r));
	return CLI_NO;
}

int cli_load_places(struct world *w, const char *path, struct config **ret)
{
	_cleanup_config_errors_ struct config_errors errors = { 0 };
	int r = config_load_places(w, path, &errors, ret);

	if (r >= 0)
		return CLI_YES;
	if (errors.text.len)
		fwrite(errors.text.data, 1, errors.text.len, stderr);
	else
		cli_failed("%s: %s", path, strerrordesc_np(-r));
	return CLI_NO;
}
