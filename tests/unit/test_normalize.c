#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "smtp/normalize.h"

static void feed(struct normalizer *n, struct slice piece, struct buffer *out)
{
	struct slice run;

	while (normalizer_next(n, &piece, &run))
		buffer_append(out, run.data, run.len);
}

/* However it is cut in two. */
static void becomes(const char *from, const char *to, unsigned changed)
{
	size_t len = strlen(from);

	for (size_t cut = 0; cut <= len; cut++) {
		_cleanup_buffer_ struct buffer out = { 0 };
		struct normalizer n = { 0 };
		struct slice end;

		feed(&n, slice_new(from, cut), &out);
		feed(&n, slice_new(from + cut, len - cut), &out);
		end = normalizer_finish(&n);
		buffer_append(&out, end.data, end.len);
		buffer_append_char(&out, '\0');
		if (strcmp(out.data, to) != 0 || n.changed != changed)
			fail_msg("cut at %zu: \"%s\", %llu changed", cut, out.data, (unsigned long long) n.changed);
	}
}

static void test_every_line_end_becomes_crlf_and_none_is_lost(void **state)
{
	becomes("", "", 0);
	becomes("a", "a", 0);
	becomes("a\r\nb\r\n", "a\r\nb\r\n", 0);
	becomes("a\nb\n", "a\r\nb\r\n", 2);
	becomes("a\rb\r", "a\r\nb\r\n", 2);
	becomes("a\r\r\nb", "a\r\n\r\nb", 1);
	becomes("a\r\r\r\nb", "a\r\n\r\n\r\nb", 2);
	becomes("a\n\r\nb", "a\r\n\r\nb", 1);
	becomes("a\r\n\nb", "a\r\n\r\nb", 1);
	becomes("a\n\rb", "a\r\n\r\nb", 2);
	becomes("\n.\n", "\r\n.\r\n", 2);
	becomes("\n.\r\n", "\r\n.\r\n", 1);
	becomes("\r.\r", "\r\n.\r\n", 2);
	becomes("\n\n\n", "\r\n\r\n\r\n", 3);
	becomes("0123456789012345678901234567890123456789012345678901234567890123456789\n\r\n",
		"0123456789012345678901234567890123456789012345678901234567890123456789\r\n\r\n", 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_line_end_becomes_crlf_and_none_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
