/* `atrn`: who picks up whose mail (RFC 2645). */
#include "mail/address.h"
#include "main/config_keys.h"
#include "main/config_sections.h"
#include "queue/pickup.h"

static void check_domains(struct config_reader *reader, const struct config_node *node, const struct receive_customer *one)
{
	for (unsigned i = 0; i < one->n_domains; i++)
		if (!domain_is_valid(slice_from(one->domains[i]), false))
			config_error(reader->errors, &node->mark, "atrn: \"%.64s\" is no domain name (in ASCII: xn--...)", one->domains[i]);
	if (one->n_domains > PICKUP_DOMAINS_MAX)
		config_error(reader->errors, &node->mark, "atrn: at most %u domains are picked up at once", PICKUP_DOMAINS_MAX);
}

int config_read_atrn(struct config_reader *reader, struct config *c)
{
	const struct config_node *node = c->raw.atrn;
	struct receive_customer *customers;

	if (!node)
		return 0;
	customers = arena_new_array(reader->arena, struct receive_customer, node->n + 1);
	if (!customers)
		return -ENOMEM;
	c->receive.customers = customers;
	for (unsigned i = 0; i < node->n; i++) {
		struct receive_customer one = { 0 };
		int r = config_fill(reader, "atrn[]", node->items[i], &one);

		if (r < 0)
			return r;
		check_domains(reader, node->items[i], &one);
		if (one.user)
			customers[c->receive.n_customers++] = one;
	}
	return 0;
}
