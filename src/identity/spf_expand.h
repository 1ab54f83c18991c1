/* Macros of SPF (RFC 7208 section 7), expanded for one client and sender. */
#pragma once

#include "base/buffer.h"
#include "dns/resolver.h"

/* What the letters stand for, and the means to find out. */
struct spf_scene {
	struct resolver *resolver;
	struct arena *arena;
	usec_t deadline;
	unsigned max_names; /* of one address */
	struct ip client;
	const char *local, *sender_domain; /* of the sender */
	const char *helo;
	const char *receiver;
	wall_t time;
};

/* Appends the text with its macros expanded; domain is that of the record at hand. explain: the text is that of an
 * explanation. -EINVAL: a syntax error; -ENOMEM, -ECANCELED. */
int spf_expand(const struct spf_scene *s, const char *domain, struct slice text, bool explain, struct buffer *out);
/* The same as a name to ask for (in the arena, raw bytes): a final dot is gone, labels are taken off the front until
 * it has at most 253 octets (section 7.3). */
int spf_expand_name(const struct spf_scene *s, const char *domain, struct slice text, const char **ret);

/* The names that the client's address has and that have its address (section 5.5), until wanted() says 1 to one. At
 * most scene->max_names are looked at. wanted may be NULL. *ret is that name, or the last resort: NULL. *ret_void: the
 * address has no name at all. 0, -ECANCELED, -ENOMEM. */
int spf_validated_name(const struct spf_scene *s, const char *domain, bool any, const char **ret, bool *ret_void);
