/* `tls`: the certificates that this server shows. */
#include "main/config_keys.h"
#include "main/config_sections.h"

static int read_certificates(struct config_reader *reader, const struct config_node *node, struct config *c)
{
	struct tls_certificate *list = arena_new_array(reader->arena, struct tls_certificate, node->n ? node->n : 1);

	if (!list)
		return -ENOMEM;
	c->receive.tls.certificates = list;
	for (unsigned i = 0; i < node->n; i++) {
		struct certificate_section section = { 0 };
		int r = config_fill(reader, "tls.certificates[]", node->items[i], &section);

		if (r < 0)
			return r;
		if (section.certificate && section.key)
			list[c->receive.tls.n_certificates++] = (struct tls_certificate) {
				.certificate = section.certificate,
				.key = section.key,
				.names = section.names,
				.n_names = section.n_names,
			};
	}
	return 0;
}

int config_read_tls(struct config_reader *reader, const struct config_node *root, struct config *c)
{
	struct tls_server_config *t = &c->receive.tls;
	bool pair = t->certificate && t->key;
	int r = 0;

	c->raw.tls = config_get(root, "tls");
	if (c->raw.certificates)
		r = read_certificates(reader, c->raw.certificates, c);
	c->receive.has_tls = pair || (!t->certificate && !t->key && t->n_certificates > 0);
	if (c->raw.tls && !c->receive.has_tls)
		config_error(reader->errors, &c->raw.tls->mark, "tls: needs both certificate and key");
	return r;
}
