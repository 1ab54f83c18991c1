/* `reports`: what is told to other domains, and from whom it comes. */
#include "mail/address.h"
#include "main/config_sections.h"

/* What is not given follows from the hostname. */
static int complete(struct config_reader *reader, struct config *c)
{
	struct report_config *r = &c->report;

	r->hostname = c->hostname;
	if (!r->path && c->spool.path)
		r->path = arena_printf(reader->arena, "%s/reports.db", c->spool.path);
	if (!r->organization)
		r->organization = c->hostname;
	if (!r->from && c->hostname)
		r->from = arena_printf(reader->arena, "postmaster@%s", c->hostname);
	if (!r->contact)
		r->contact = r->from;
	return (c->spool.path && !r->path) || (c->hostname && !r->from) ? -ENOMEM : 0;
}

static void check_address(struct config_reader *reader, const struct config_node *section, const char *key, const char *value)
{
	const struct config_node *node = config_get(section, key);
	struct address a;

	if (node && value && (address_parse(slice_from(value), 0, &a) < 0 || a.literal))
		config_error(reader->errors, &node->mark, "%s: expected an address like reports@example.org, found \"%s\"", key, value);
}

int config_read_reports(struct config_reader *reader, const struct config_node *root, struct config *c)
{
	const struct config_node *section = config_get(root, "reports");

	check_address(reader, section, "from", c->report.from);
	check_address(reader, section, "contact", c->report.contact);
	if (c->report.failures && !c->report.dmarc)
		config_error(reader->errors, &config_get(section, "failures")->mark,
			     "failures: failure reports are a part of DMARC; set dmarc: true, too");
	return complete(reader, c);
}
