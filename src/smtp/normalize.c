#include "smtp/normalize.h"

#include "smtp/scan.h"

/* How much of data can go as it is: text, and CRs with a LF behind them. */
static size_t plain_run(const char *data, size_t len)
{
	bool eight_bit = false;
	size_t i = 0;

	while (i < len) {
		i += scan_text(data + i, len - i, &eight_bit);
		if (len - i >= 2 && data[i] == '\r' && data[i + 1] == '\n')
			i += 2;
		else if (i < len && data[i] == '\0')
			i++;
		else
			break;
	}
	return i;
}

bool normalizer_next(struct normalizer *n, struct slice *in, struct slice *ret)
{
	size_t len;

	if (in->len == 0)
		return false;
	if (n->after_cr) {
		bool is_line_end = in->data[0] == '\n';

		n->after_cr = false;
		n->changed += !is_line_end;
		*in = slice_skip(*in, is_line_end);
		*ret = SLICE("\r\n");
		return true;
	}
	len = plain_run(in->data, in->len);
	if (len > 0) {
		*ret = slice_head(*in, len);
		*in = slice_skip(*in, len);
		return true;
	}
	n->after_cr = in->data[0] == '\r';
	*in = slice_skip(*in, 1);
	if (n->after_cr)
		return normalizer_next(n, in, ret);
	n->changed++;
	*ret = SLICE("\r\n");
	return true;
}

struct slice normalizer_finish(struct normalizer *n)
{
	if (!n->after_cr)
		return SLICE("");
	n->after_cr = false;
	n->changed++;
	return SLICE("\r\n");
}
