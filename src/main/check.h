/* What `yizhan check` looks at beyond the file itself: keys, zone files, rules, directories, users. Nothing is
 * changed, no port is bound. */
#pragma once

#include "main/config.h"

/* Of these the files alone: what may be said although the configuration has mistakes, and was read by
 * config_load_places. 0 or -ENOMEM. */
int check_named_files(struct world *w, const struct config *c, struct config_errors *errors);
/* Adds a line to errors for each thing that would keep a server from working. 0 or -ENOMEM. */
int check_surroundings(struct world *w, const struct config *c, struct config_errors *errors);
