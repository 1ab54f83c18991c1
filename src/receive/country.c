#include "receive/country.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef WITH_MAXMIND

#include <maxminddb.h>
#include <netinet/in.h>
#include <sys/socket.h>

struct country {
	MMDB_s file;
};

int country_open(const char *path, struct country **ret, char **ret_why)
{
	struct country *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	r = MMDB_open(path, MMDB_MODE_MMAP, &c->file);
	if (r != MMDB_SUCCESS) {
		if (asprintf(ret_why, "%s: %s", path, MMDB_strerror(r)) < 0)
			*ret_why = NULL;
		free(c);
		return -EINVAL;
	}
	*ret = c;
	return 0;
}

void country_close(struct country *c)
{
	if (!c)
		return;
	MMDB_close(&c->file);
	free(c);
}

void country_find(const struct country *c, const struct ip *ip, char out[static 3])
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	MMDB_lookup_result_s found;
	MMDB_entry_data_s code;
	int error;

	out[0] = '\0';
	if (!ip->family)
		return;
	memcpy(&v4.sin_addr, ip->bytes, 4);
	memcpy(&v6.sin6_addr, ip->bytes, 16);
	found = MMDB_lookup_sockaddr(&c->file, ip->family == 4 ? (struct sockaddr *) &v4 : (struct sockaddr *) &v6, &error);
	if (error != MMDB_SUCCESS || !found.found_entry)
		return;
	if (MMDB_get_value(&found.entry, &code, "country", "iso_code", NULL) != MMDB_SUCCESS || !code.has_data)
		return;
	if (code.type == MMDB_DATA_TYPE_UTF8_STRING && code.data_size == 2) {
		memcpy(out, code.utf8_string, 2);
		out[2] = '\0';
	}
}

#else

int country_open(const char *path, struct country **ret, char **ret_why)
{
	if (asprintf(ret_why, "%s: this build of Yizhan can't read MaxMind files; build it where libmaxminddb is installed", path) < 0)
		*ret_why = NULL;
	return -EOPNOTSUPP;
}

void country_close(struct country *c)
{
}

void country_find(const struct country *c, const struct ip *ip, char out[static 3])
{
	out[0] = '\0';
}

#endif
