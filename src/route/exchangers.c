#include "route/exchangers.h"

#include "base/buffer.h"

unsigned exchangers_before_us(struct target_host *hosts, const bool *own, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned left = 0;

		if (!own[i])
			continue;
		while (left < n && hosts[left].preference < hosts[i].preference)
			left++;
		return left;
	}
	return n;
}

char *exchangers_key(const struct target_host *hosts, unsigned n, const char *suffix, struct arena *a)
{
	size_t size = strlen("mx:") + strlen(suffix) + 1;
	char *key, *p;

	for (unsigned i = 0; i < n; i++)
		size += strlen(hosts[i].name) + 1;
	key = arena_alloc(a, size);
	if (!key)
		return NULL;
	p = stpcpy(key, "mx:");
	for (unsigned i = 0; i < n; i++) {
		if (i > 0)
			*p++ = hosts[i].preference == hosts[i - 1].preference ? ',' : '>';
		p = stpcpy(p, hosts[i].name);
	}
	strcpy(p, suffix);
	return key;
}
