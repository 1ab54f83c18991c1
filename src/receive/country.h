/* The country of an address, by a MaxMind file (GeoLite2-Country.mmdb and its like), where the build has libmaxminddb. The
 * file is mapped into memory when the configuration is read; a look-up asks nobody. */
#pragma once

#include "base/net.h"

struct country;
/* On failure *ret_why says what to mend (on the heap). -EOPNOTSUPP: this build can't read such files. */
int country_open(const char *path, struct country **ret, char **ret_why);
void country_close(struct country *c); /* NULL is fine */
DEFINE_FREEP(struct country, country_close)
/* Two capital letters into out, or "" when the file does not know the address. From any thread. */
void country_find(const struct country *c, const struct ip *ip, char out[static 3]);
