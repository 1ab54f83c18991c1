/* The reader of reply rules: any text is refused with a reason, or gives rules that can be asked. */
#include <stdlib.h>

#include "queue/classify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const struct classifier *c, int code, int subject, int detail, const char *text, const char *host)
{
	struct reply reply = { .code = code, .enhanced = { code / 100, subject, detail }, .text = text };
	struct classification found;

	for (enum stage s = STAGE_DNS; s <= STAGE_LOCAL; s++) {
		classify(c, &reply, s, host, &found);
		assert(found.class > CLASS_NONE && found.class <= CLASS_UNREACHABLE);
		assert(!found.rule || found.rule[0]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct classifier *c = NULL;
	char *why = NULL;
	int r = classifier_from_text("fuzz.yaml", slice_new((const char *) data, size), &c, &why);

	if (r < 0) {
		assert(r == -EINVAL || r == -ENOMEM);
		assert(r != -EINVAL || why);
		free(why);
		return 0;
	}
	ask(c, 550, 5, 1, "No such user", "mx.example.org");
	ask(c, 421, 7, 0, "too many connections from [192.0.2.1]", NULL);
	ask(c, 554, 0, 0, "", "gmail-smtp-in.l.google.com");
	classifier_free(c);
	return 0;
}
