#include "smtp/client_attributes.h"

#include "mail/address.h"
#include "mail/text.h"
#include "mail/xtext.h"

#define VALUE_MAX 255

static const struct {
	const char *name;
	unsigned bit;
} attributes[] = {
	{ "NAME", ATTRIBUTE_NAME },   { "ADDR", ATTRIBUTE_ADDR },         { "PORT", ATTRIBUTE_PORT },
	{ "PROTO", ATTRIBUTE_PROTO }, { "HELO", ATTRIBUTE_HELO },         { "LOGIN", ATTRIBUTE_LOGIN },
	{ "IDENT", ATTRIBUTE_IDENT }, { "DESTADDR", ATTRIBUTE_DESTADDR }, { "DESTPORT", ATTRIBUTE_DESTPORT },
	{ "SOURCE", ATTRIBUTE_SOURCE },
};

static unsigned attribute_of(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(attributes); i++)
		if (slice_ieq_str(name, attributes[i].name))
			return attributes[i].bit;
	return 0;
}

static bool is_unknown(struct slice value)
{
	return slice_ieq_str(value, "[UNAVAILABLE]") || slice_ieq_str(value, "[TEMPUNAVAIL]");
}

/* "192.0.2.1", "IPV6:2001:db8::1". */
static bool take_ip(struct slice value, struct ip *ret)
{
	bool tagged = slice_istarts(value, "IPV6:");

	return ip_parse(tagged ? slice_skip(value, strlen("IPV6:")) : value, ret) == 0;
}

static bool take_port(struct slice value, uint16_t *ret)
{
	uint64_t n;

	if (slice_to_u64(value, &n) < 0 || n > UINT16_MAX)
		return false;
	*ret = (uint16_t) n;
	return true;
}

static bool take_text(struct slice value, const char **ret)
{
	if (value.len > VALUE_MAX || !text_is_printable_ascii(value))
		return false;
	*ret = value.data;
	return true;
}

/* value: decoded and terminated. */
static bool take(struct client_attributes *c, unsigned bit, struct slice value)
{
	switch (bit) {
	case ATTRIBUTE_NAME:
		return domain_is_valid(value, false) && take_text(value, &c->name);
	case ATTRIBUTE_ADDR:
		return take_ip(value, &c->addr);
	case ATTRIBUTE_PORT:
		return take_port(value, &c->port);
	case ATTRIBUTE_PROTO:
		c->proto = slice_ieq_str(value, "SMTP") ? "SMTP" : slice_ieq_str(value, "ESMTP") ? "ESMTP" : NULL;
		return c->proto;
	case ATTRIBUTE_HELO:
		return take_text(value, &c->helo);
	case ATTRIBUTE_LOGIN:
		return take_text(value, &c->login);
	case ATTRIBUTE_IDENT:
		return take_text(value, &c->ident);
	case ATTRIBUTE_DESTADDR:
		return take_ip(value, &c->dest);
	case ATTRIBUTE_DESTPORT:
		return take_port(value, &c->dest_port);
	default: /* SOURCE: nothing here depends on where the message came from first */
		return slice_ieq_str(value, "LOCAL") || slice_ieq_str(value, "REMOTE");
	}
}

static void forget(struct client_attributes *c, unsigned bit)
{
	switch (bit) {
	case ATTRIBUTE_NAME:
		c->name = NULL;
		break;
	case ATTRIBUTE_ADDR:
		c->addr = (struct ip) { .family = 0 };
		break;
	case ATTRIBUTE_PORT:
		c->port = 0;
		break;
	case ATTRIBUTE_PROTO:
		c->proto = NULL;
		break;
	case ATTRIBUTE_HELO:
		c->helo = NULL;
		break;
	case ATTRIBUTE_LOGIN:
		c->login = NULL;
		break;
	case ATTRIBUTE_IDENT:
		c->ident = NULL;
		break;
	case ATTRIBUTE_DESTADDR:
		c->dest = (struct ip) { .family = 0 };
		break;
	case ATTRIBUTE_DESTPORT:
		c->dest_port = 0;
		break;
	default:
		break;
	}
}

int client_attributes_parse(struct slice args, unsigned takes, struct arena *a, struct client_attributes *ret,
			    struct slice *ret_wrong)
{
	struct client_attributes c = *ret;

	while (args.len > 0) {
		struct slice value, decoded, word = slice_cut(args, ' ', &args), name = slice_cut(word, '=', &value);
		unsigned bit = attribute_of(name) & takes;
		int r;

		if (word.len == 0)
			continue;
		*ret_wrong = word;
		if (!bit || value.len == 0)
			return -EINVAL;
		forget(&c, bit);
		c.given |= bit;
		if (is_unknown(value))
			continue;
		r = xtext_decode(a, value, &decoded);
		if (r < 0)
			return r == -ENOMEM ? r : -EINVAL;
		if (!take(&c, bit, decoded))
			return -EINVAL;
	}
	*ret = c;
	return 0;
}
