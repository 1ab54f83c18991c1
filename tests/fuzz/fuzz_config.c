/* The configuration reader: any bytes are either a configuration or refused with lines that say why. */
#include <stdlib.h>

#include "main/config.h"
#include "world/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_errors errors = { 0 };
	struct config *config = NULL;
	struct sim_host *host;
	struct world *world;
	struct sim *sim;
	int r;

	/* No file of this machine is looked at: passwords and the like are asked of an empty disk. */
	if (sim_new(&(struct sim_options) { .seed = 1 }, &sim) < 0)
		return 0;
	if (sim_host_new(sim, "host", "192.0.2.1", &host, &world) < 0)
		abort();
	r = config_parse(world, slice_new((const char *) data, size), "input", &errors, &config);
	if (r == 0 && (!config->hostname || errors.count))
		abort();
	if (r == -EBADMSG && !errors.text.len)
		abort();
	config_free(config);
	config_errors_done(&errors);
	world_free(world);
	sim_free(sim);
	return 0;
}
