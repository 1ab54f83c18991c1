/* The reply classifier: whose fault is it, and what is to be done?
 *
 * A server's reply has a code, perhaps an enhanced code, and a text, and only together with who said it and
 * where in the dialogue do they tell whether our address is blocked, we are too fast, or there is no such
 * mailbox. The rules are data (reply-classes.yaml, whose head explains them): the first that fits decides,
 * the user's own file is asked before the shipped one. What follows
 * from a class is queue/consequence.h. */
#pragma once

#include "queue/outcome.h"
#include "world/world.h"

struct classifier;
enum treat {
	TREAT_AS_SAID,   /* by the first digit of the code */
	TREAT_TEMPORARY, /* a 5xx that time heals */
	TREAT_PERMANENT, /* a 4xx that never will be better */
};
/* Whose fault it is: who would have to change something. */
enum fault {
	FAULT_NONE,
	FAULT_PATH,      /* our address, our connections: another way may work */
	FAULT_SENDER,    /* the sender, its domain, our login */
	FAULT_RECIPIENT,
	FAULT_CONTENT,
	FAULT_SERVER,    /* the remote one */
};
const char *fault_name(enum fault f);
int fault_from_name(struct slice name, enum fault *ret); /* -EINVAL; never FAULT_NONE */

/* What a limit that we ran into counts. */
enum limit_key { KEY_ADDRESS, KEY_NETBLOCK, KEY_DKIM, KEY_SPF, KEY_URL, KEY_RECIPIENT, KEY_SENDER };
const char *limit_key_name(enum limit_key k);
int limit_key_from_name(struct slice name, enum limit_key *ret); /* -EINVAL */

struct classification {
	enum reply_class class;
	enum treat treat;
	enum fault fault;
	enum limit_key key;
	/* The rule's name and place, which belong to the classifier. NULL, NULL, 0: no rule fitted. */
	const char *rule, *file;
	unsigned line;
};

/* Reads the shipped rules, and the user's file when path isn't NULL. -EINVAL with *ret_why ("file:line:column:
 * what is wrong", on the heap) when they can't be used; other errors when the file can't be read, also with
 * *ret_why; -ENOMEM. */
int classifier_new(struct world *w, const char *path, struct classifier **ret, char **ret_why);
/* The same from text. name: for messages. */
int classifier_from_text(const char *name, struct slice text, struct classifier **ret, char **ret_why);
void classifier_free(struct classifier *c);
DEFINE_FREEP(struct classifier, classifier_free)
/* What the configuration says of providers: their limits, and further ones. Before anybody uses it. -ENOMEM; -EINVAL with
 * *ret_why when one is neither known nor has hosts. */
struct shaping_config;
int classifier_shape(struct classifier *c, const struct shaping_config *config, char **ret_why);
/* The provider whose limits hold for a host; NULL: none has any. */
struct provider;
const struct provider *classifier_provider_of(const struct classifier *c, const char *host);
unsigned classifier_rules(const struct classifier *c); /* how many there are */
/* The providers by number, from 0: name, and in *ret_ending an ending of their hosts' names. NULL beyond the last. */
const char *classifier_provider(const struct classifier *c, unsigned i, const char **ret_ending);

/* host: name of the server that answered, or NULL. From any thread. Code 0 (there was no reply) is
 * CLASS_UNREACHABLE. Always fills *ret. */
void classify(const struct classifier *c, const struct reply *reply, enum stage stage, const char *host,
	      struct classification *ret);
