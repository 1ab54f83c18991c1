#include "route/source.h"

bool source_reaches(const struct source *s, unsigned family)
{
	if (s->proxy) /* the family of our own address says nothing about the way behind the proxy */
		return family != 0 || s->proxy->resolves;
	return family != 0 && s->ip.family == family;
}

unsigned source_pool_weight(const struct source_pool *p, unsigned family, source_filter filter, void *context)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < p->n_sources; i++)
		if (source_reaches(&p->sources[i], family) && (!filter || filter(context, &p->sources[i])))
			sum += p->sources[i].weight;
	return sum;
}

const struct source *source_pool_choose(const struct source_pool *p, unsigned family, uint64_t draw, source_filter filter,
					void *context)
{
	for (unsigned i = 0; i < p->n_sources; i++) {
		const struct source *s = &p->sources[i];

		if (!source_reaches(s, family) || (filter && !filter(context, s)))
			continue;
		if (draw < s->weight)
			return s;
		draw -= s->weight;
	}
	return NULL;
}

bool proxy_scheme(struct slice text, bool *ret_resolves, struct slice *ret_host_port)
{
	static const char *const schemes[] = { "socks5://", "socks5h://" };

	for (unsigned i = 0; i < ARRAY_LEN(schemes); i++) {
		if (!slice_istarts(text, schemes[i]))
			continue;
		*ret_resolves = i == 1;
		*ret_host_port = slice_skip(text, strlen(schemes[i]));
		if (ret_host_port->len && ret_host_port->data[ret_host_port->len - 1] == '/')
			ret_host_port->len--;
		return ret_host_port->len > 0;
	}
	return false;
}
