/* Domain names, text and wire. */
#include "dns/name.h"

#include <stdio.h>

/* One byte of a label, which may be written as \X or \DDD. Takes it from *s; -EINVAL for a broken escape. */
static int take_byte(struct slice *s, uint8_t *ret)
{
	const char *p = s->data;

	if (*p != '\\') {
		*ret = (uint8_t) *p;
		*s = slice_skip(*s, 1);
		return 0;
	}
	if (s->len < 2)
		return -EINVAL;
	if (!ascii_is_digit(p[1])) {
		*ret = (uint8_t) p[1];
		*s = slice_skip(*s, 2);
		return 0;
	}
	if (s->len < 4 || !ascii_is_digit(p[2]) || !ascii_is_digit(p[3]))
		return -EINVAL;
	unsigned v = (unsigned) (p[1] - '0') * 100 + (unsigned) (p[2] - '0') * 10 + (unsigned) (p[3] - '0');
	if (v > 255)
		return -EINVAL;
	*ret = (uint8_t) v;
	*s = slice_skip(*s, 4);
	return 0;
}

/* One label with the dot behind it, appended to n (whose len counts what is there without a final 0). */
static int take_label(struct slice *s, struct dns_name *n, bool *ret_dot)
{
	unsigned start = n->len, len = 0;
	uint8_t byte;
	int r;

	*ret_dot = false;
	while (s->len > 0) {
		if (*s->data == '.') {
			*s = slice_skip(*s, 1);
			*ret_dot = true;
			break;
		}
		r = take_byte(s, &byte);
		if (r < 0)
			return r;
		if (len == DNS_LABEL_MAX)
			return -EINVAL;
		len++;
		if (start + len >= DNS_NAME_MAX - 1) /* the final 0 must fit, too */
			return -ENAMETOOLONG;
		n->wire[start + len] = (uint8_t) ascii_lower((char) byte);
	}
	if (len == 0)
		return -EINVAL;
	n->wire[start] = (uint8_t) len;
	n->len = (uint8_t) (start + 1 + len);
	return 0;
}

int dns_name_parse(struct slice text, const struct dns_name *origin, struct dns_name *ret)
{
	struct dns_name n = { .len = 0 };
	bool dot = false;
	int r;

	if (text.len == 0 || slice_eq_str(text, ".")) {
		*ret = (struct dns_name) { .len = 1 };
		return 0;
	}
	while (text.len > 0) {
		r = take_label(&text, &n, &dot);
		if (r < 0)
			return r;
	}
	if (!dot && origin) {
		if (n.len + origin->len > DNS_NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(n.wire + n.len, origin->wire, origin->len);
		n.len = (uint8_t) (n.len + origin->len);
	} else {
		n.wire[n.len++] = 0;
	}
	*ret = n;
	return 0;
}

int dns_name_from_wire(const uint8_t *data, size_t len, struct dns_name *ret)
{
	struct dns_name n = { .len = 0 };
	size_t at = 0;

	for (;;) {
		unsigned label;

		if (at >= len)
			return -EBADMSG;
		label = data[at];
		if (label > DNS_LABEL_MAX || at + 1 + label > len || at + 1 + label > DNS_NAME_MAX)
			return -EBADMSG;
		n.wire[at] = (uint8_t) label;
		for (unsigned i = 1; i <= label; i++)
			n.wire[at + i] = (uint8_t) ascii_lower((char) data[at + i]);
		at += 1 + label;
		if (label == 0)
			break;
	}
	n.len = (uint8_t) at;
	*ret = n;
	return (int) at;
}

const char *dns_name_format(const struct dns_name *n, char out[static DNS_NAME_TEXT])
{
	char *p = out;

	for (unsigned at = 0; n->wire[at] != 0; at += 1u + n->wire[at]) {
		if (at > 0)
			*p++ = '.';
		for (unsigned i = 1; i <= n->wire[at]; i++) {
			uint8_t c = n->wire[at + i];

			if (c <= ' ' || c >= 0x7f) {
				*p++ = '\\';
				*p++ = (char) ('0' + c / 100);
				*p++ = (char) ('0' + c / 10 % 10);
				*p++ = (char) ('0' + c % 10);
			} else {
				if (strchr(".\\\"();@$", c))
					*p++ = '\\';
				*p++ = (char) c;
			}
		}
	}
	*p = '\0';
	return out;
}

bool dns_name_equal(const struct dns_name *a, const struct dns_name *b)
{
	return a->len == b->len && memcmp(a->wire, b->wire, a->len) == 0;
}

bool dns_name_parent(struct dns_name *n)
{
	unsigned label = 1u + n->wire[0];

	if (n->wire[0] == 0)
		return false;
	memmove(n->wire, n->wire + label, n->len - label);
	n->len = (uint8_t) (n->len - label);
	return true;
}

int dns_name_wildcard(const struct dns_name *n, struct dns_name *ret)
{
	struct dns_name wildcard = { .wire = { 1, '*' } };

	if (n->len + 2 > DNS_NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(wildcard.wire + 2, n->wire, n->len);
	wildcard.len = (uint8_t) (n->len + 2);
	*ret = wildcard;
	return 0;
}

bool dns_name_is_host(const char *text)
{
	struct slice rest = slice_from(text);
	bool digits = false;

	if (rest.len == 0 || rest.len > DNS_NAME_MAX - 2)
		return false;
	while (rest.data) {
		struct slice label = slice_cut(rest, '.', &rest);

		if (label.len == 0 || label.len > DNS_LABEL_MAX || label.data[0] == '-')
			return false;
		digits = true;
		for (size_t i = 0; i < label.len; i++) {
			char c = label.data[i];

			if (!ascii_is_alnum(c) && c != '-' && c != '_')
				return false;
			digits = digits && ascii_is_digit(c);
		}
	}
	return !digits;
}
