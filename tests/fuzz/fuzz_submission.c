/* Headers of people's mail programs: whatever comes in, what goes out has what a header must have, and no blind copies. */
#include "mail/address.h"
#include "mail/header.h"
#include "receive/submission.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct submission_facts facts = {
		.sender = "alice@example.org", .id = "0123456789abc", .hostname = "mx.example.org", .when = (wall_t) 1795406706 * USEC_SEC,
	};
	struct submission_config config;
	_cleanup_buffer_ struct buffer out = { 0 };
	struct slice text, body, section;
	struct address a;

	if (size < 1)
		return 0;
	config = (struct submission_config) {
		.complete = data[0] & 1, .remove_bcc = data[0] & 2, .add_sender = data[0] & 4, .missing_from = data[0] / 8 % 3,
	};
	text = slice_new((const char *) data + 1, size - 1);
	(void) submission_field_address(text, &a);
	if (submission_rewrite(&config, &facts, text, &out) < 0)
		return 0;
	section = buffer_slice(&out);
	body = slice_skip(text, header_section_length(text));
	assert(section.len >= body.len && slice_eq(slice_skip(section, section.len - body.len), body));
	section = slice_head(section, section.len - body.len);
	if (config.remove_bcc)
		assert(header_count(section, "bcc") == 0 && header_count(section, "resent-bcc") == 0);
	if (config.complete)
		assert(header_count(section, "date") > 0 && header_count(section, "message-id") > 0);
	if (config.missing_from != MISSING_FROM_ACCEPT)
		assert(header_count(section, "from") == 1);
	return 0;
}
