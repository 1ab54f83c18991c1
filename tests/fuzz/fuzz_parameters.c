/* The parameters of MAIL and RCPT: accepted values are clean, refusals carry a reply. */
#include "mail/text.h"
#include "mail/xtext.h"
#include "smtp/parameters.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void clean(const char *s)
{
	if (s)
		assert(!text_has_control(slice_from(s)));
}

static void check_error(int r, const struct reply *error)
{
	assert(r == -EINVAL && error->code >= 500 && error->code < 600 && error->text && error->enhanced[0] == 5);
}

static void try_mail(struct slice line, unsigned offered, struct arena *a)
{
	struct mail_parameters mail;
	struct path_args args;
	struct reply error;
	int r;

	if (mail_args_parse(line, true, &args) < 0)
		return;
	r = mail_parameters_parse(&args, offered, 1000, a, &mail, &error);
	if (r < 0) {
		check_error(r, &error);
		return;
	}
	clean(mail.envid);
	clean(mail.auth);
	assert(mail.size <= 1000);
	assert(mail.by.mode == 0 || mail.by.mode == 'N' || (mail.by.mode == 'R' && mail.by.seconds > 0));
	assert(!mail.hold_for || !mail.hold_until);
	assert(mail.priority >= -9 && mail.priority <= 9 && (mail.priority == 0 || mail.has_priority));
	assert(!mail.solicit || solicit_is_valid(slice_from(mail.solicit)));
	assert(mail.body != BODY_BINARYMIME || (offered & EXT_BINARYMIME));
}

static void try_rcpt(struct slice line, unsigned offered, bool utf8, struct arena *a)
{
	struct rcpt_parameters rcpt;
	struct buffer out = { 0 };
	struct path_args args;
	struct reply error;
	const char *again;
	char when[32];
	wall_t second;
	int r;

	if (rcpt_args_parse(line, true, &args) < 0)
		return;
	r = rcpt_parameters_parse(&args, offered, utf8, a, &rcpt, &error);
	if (r < 0) {
		check_error(r, &error);
		return;
	}
	clean(rcpt.orcpt);
	if (rcpt.has_rrvs) {
		wall_format_seconds(rcpt.rrvs, when, sizeof(when));
		assert(wall_parse_rfc3339(slice_from(when), &second) == 0 && second == rcpt.rrvs);
	}
	if (rcpt.orcpt) {
		assert(orcpt_encode(rcpt.orcpt, false, &out) == 0);
		if (out.len <= ORCPT_MAX) {
			assert(orcpt_decode(a, buffer_slice(&out), false, &again) == 0);
			assert(strcmp(again, rcpt.orcpt) == 0);
		}
	}
	buffer_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned offered;
	struct slice line;
	struct arena *a;

	if (size < 3 || arena_new(0, &a) < 0)
		return 0;
	offered = data[0] & 1 ? ~0u : (unsigned) (data[1] << 8 | data[2]) * 0x101u;
	line = slice_new((const char *) data + 3, size - 3);
	try_mail(line, offered, a);
	try_rcpt(line, offered, data[0] & 2, a);
	arena_free(a);
	return 0;
}
