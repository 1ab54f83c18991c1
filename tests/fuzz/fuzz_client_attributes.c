/* The arguments of XCLIENT and XFORWARD: what is accepted is clean and belongs to the command; what isn't changes
 * nothing. */
#include "mail/text.h"
#include "smtp/client_attributes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void clean(const char *s)
{
	if (s)
		assert(!text_has_control(slice_from(s)) && text_is_ascii(slice_from(s)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct client_attributes c = { 0 };
	struct slice wrong = SLICE_NULL;
	struct arena *a;
	unsigned takes;

	if (size < 1 || arena_new(0, &a) < 0)
		return 0;
	takes = data[0] & 1 ? ATTRIBUTES_OF_XCLIENT : ATTRIBUTES_OF_XFORWARD;
	if (client_attributes_parse(slice_new((const char *) data + 1, size - 1), takes, a, &c, &wrong) < 0) {
		assert(c.given == 0 && wrong.data);
	} else {
		assert((c.given & ~takes) == 0);
		clean(c.name);
		clean(c.helo);
		clean(c.login);
		clean(c.ident);
		assert(!c.name || (c.given & ATTRIBUTE_NAME));
		assert(!c.login || (c.given & ATTRIBUTE_LOGIN));
	}
	arena_free(a);
	return 0;
}
