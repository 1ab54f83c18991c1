/* Line ends made CRLF: what comes out has no stray one, the same text between them, and does not depend on how it was cut. */
#include "base/buffer.h"
#include "smtp/normalize.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(struct slice text, size_t cut, struct buffer *out)
{
	struct slice parts[2] = { slice_head(text, cut), slice_skip(text, cut) }, piece;
	struct normalizer n = { 0 };

	for (unsigned i = 0; i < 2; i++)
		while (normalizer_next(&n, &parts[i], &piece))
			buffer_append(out, piece.data, piece.len);
	piece = normalizer_finish(&n);
	buffer_append(out, piece.data, piece.len);
	assert(buffer_error(out) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buffer_ struct buffer whole = { 0 }, parts = { 0 };
	struct slice text;
	size_t at = 0;

	if (size < 1)
		return 0;
	text = slice_new((const char *) data + 1, size - 1);
	run(text, 0, &whole);
	run(text, text.len ? data[0] % text.len : 0, &parts);
	assert(slice_eq(buffer_slice(&whole), buffer_slice(&parts)));
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];

		if (c == '\n' && i > 0 && text.data[i - 1] == '\r')
			continue; /* of the pair that was looked at before */
		if (c == '\r' || c == '\n') {
			assert(at + 2 <= whole.len && whole.data[at] == '\r' && whole.data[at + 1] == '\n');
			at += 2;
		} else {
			assert(at < whole.len && whole.data[at] == c);
			at++;
		}
	}
	assert(at == whole.len);
	return 0;
}
