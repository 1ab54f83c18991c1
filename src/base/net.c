#include "base/net.h"

#include <arpa/inet.h>
#include <stdio.h>

#define UNIX_PREFIX "unix:"

static const uint8_t mapped_prefix[12] = { [10] = 0xff, [11] = 0xff };

static bool is_mapped(const uint8_t bytes[static 16])
{
	return memcmp(bytes, mapped_prefix, sizeof(mapped_prefix)) == 0;
}

static unsigned ip_bits(const struct ip *ip)
{
	return ip->family == 4 ? 32 : ip->family == 6 ? 128 : 0;
}

struct ip ip_from_v4(const uint8_t bytes[static 4])
{
	struct ip ip = { .family = 4 };

	memcpy(ip.bytes, bytes, 4);
	return ip;
}

struct ip ip_from_v6(const uint8_t bytes[static 16])
{
	struct ip ip = { .family = 6 };

	if (is_mapped(bytes))
		return ip_from_v4(bytes + sizeof(mapped_prefix));
	memcpy(ip.bytes, bytes, 16);
	return ip;
}

/* As written, a wrapped IPv4 address still wrapped. */
static int parse_as_written(struct slice text, struct ip *ret)
{
	struct ip ip = { 0 };
	char s[IP_TEXT];

	if (text.len == 0 || text.len >= sizeof(s) || slice_find(text, '\0') >= 0)
		return -EINVAL;
	slice_copy(text, s, sizeof(s));
	ip.family = slice_find(text, ':') >= 0 ? 6 : 4;
	if (inet_pton(ip.family == 6 ? AF_INET6 : AF_INET, s, ip.bytes) != 1)
		return -EINVAL;
	*ret = ip;
	return 0;
}

int ip_parse(struct slice text, struct ip *ret)
{
	struct ip ip;
	int r;

	r = parse_as_written(text, &ip);
	if (r < 0)
		return r;
	*ret = ip.family == 6 ? ip_from_v6(ip.bytes) : ip;
	return 0;
}

/* RFC 5952 section 4.2: the longest run of zero groups, the first of equals, none of a single group. */
static int longest_zeros(const unsigned groups[static 8], int *ret_start)
{
	int best = 0, run = 0;

	*ret_start = -1;
	for (int i = 0; i < 8; i++) {
		run = groups[i] == 0 ? run + 1 : 0;
		if (run >= 2 && run > best) {
			best = run;
			*ret_start = i - run + 1;
		}
	}
	return best;
}

static void format_v6(const uint8_t bytes[static 16], char out[static IP_TEXT])
{
	unsigned groups[8];
	int start, zeros;
	size_t used = 0;

	for (int i = 0; i < 8; i++)
		groups[i] = (unsigned) bytes[2 * i] << 8 | bytes[2 * i + 1];
	zeros = longest_zeros(groups, &start);
	for (int i = 0; i < 8; i++) {
		if (i == start) {
			used += (size_t) snprintf(out + used, IP_TEXT - used, "::");
			i += zeros - 1;
			continue;
		}
		if (i > 0 && i != start + zeros)
			out[used++] = ':';
		used += (size_t) snprintf(out + used, IP_TEXT - used, "%x", groups[i]);
	}
}

static void format_v4(const uint8_t *bytes, char *out)
{
	for (int i = 0; i < 4; i++) {
		if (i > 0)
			*out++ = '.';
		if (bytes[i] >= 100)
			*out++ = (char) ('0' + bytes[i] / 100);
		if (bytes[i] >= 10)
			*out++ = (char) ('0' + bytes[i] / 10 % 10);
		*out++ = (char) ('0' + bytes[i] % 10);
	}
	*out = '\0';
}

const char *ip_format(const struct ip *ip, char out[static IP_TEXT])
{
	const uint8_t *b = ip->bytes;

	if (ip->family == 4)
		format_v4(b, out);
	else if (ip->family == 6)
		format_v6(b, out);
	else
		snprintf(out, IP_TEXT, "none");
	return out;
}

bool ip_equal(const struct ip *a, const struct ip *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, ip_bits(a) / 8) == 0;
}

struct ip ip_network(const struct ip *ip, unsigned bits)
{
	struct ip net = *ip;

	for (unsigned i = 0; i < sizeof(net.bytes); i++) {
		unsigned kept = bits > 8 * i ? MIN(bits - 8 * i, 8u) : 0;

		net.bytes[i] &= (uint8_t) (0xff00u >> kept);
	}
	return net;
}

/* The number behind the slash: decimal, without leading zeros. */
static int parse_bits(struct slice text, unsigned most, unsigned *ret)
{
	uint64_t bits;

	if (slice_to_u64(text, &bits) < 0 || bits > most)
		return -EINVAL;
	if (text.len > 1 && text.data[0] == '0')
		return -EINVAL;
	*ret = (unsigned) bits;
	return 0;
}

int cidr_parse(struct slice text, struct cidr *ret)
{
	struct slice tail, head = slice_cut(text, '/', &tail);
	struct ip ip;
	unsigned bits;
	int r;

	r = parse_as_written(head, &ip);
	if (r < 0)
		return r;
	bits = ip_bits(&ip);
	if (tail.data) {
		r = parse_bits(tail, bits, &bits);
		if (r < 0)
			return r;
	}
	/* A block of wrapped addresses is an IPv4 block; a wider one stays what it says. */
	if (ip.family == 6 && is_mapped(ip.bytes) && bits >= 96) {
		ip = ip_from_v6(ip.bytes);
		bits -= 96;
	}
	*ret = (struct cidr) { .base = ip_network(&ip, bits), .bits = (uint8_t) bits };
	return 0;
}

const char *cidr_format(const struct cidr *c, char out[static CIDR_TEXT])
{
	char ip[IP_TEXT];

	snprintf(out, CIDR_TEXT, "%s/%u", ip_format(&c->base, ip), c->bits);
	return out;
}

bool cidr_contains(const struct cidr *c, const struct ip *ip)
{
	struct ip net;

	if (c->base.family != ip->family || ip->family == 0)
		return false;
	net = ip_network(ip, c->bits);
	return ip_equal(&net, &c->base);
}

static int parse_unix(struct slice path, struct endpoint *ret)
{
	if (path.len == 0 || path.data[0] != '/' || slice_find(path, '\0') >= 0)
		return -EINVAL;
	if (path.len >= ENDPOINT_PATH)
		return -ENAMETOOLONG;
	*ret = (struct endpoint) { .kind = ENDPOINT_UNIX };
	slice_copy(path, ret->path, sizeof(ret->path));
	return 0;
}

/* An IPv6 address with a port needs its brackets: in "::1:25" nobody can tell where it ends. */
int endpoint_parse(struct slice text, struct endpoint *ret)
{
	struct slice host, port;
	struct ip ip;
	uint64_t number;
	bool brackets;
	int r;

	if (slice_istarts(text, UNIX_PREFIX))
		return parse_unix(slice_skip(text, strlen(UNIX_PREFIX)), ret);
	brackets = text.len > 0 && text.data[0] == '[';
	if (brackets) {
		host = slice_cut(slice_skip(text, 1), ']', &port);
		if (port.len == 0 || port.data[0] != ':' || slice_find(host, ':') < 0)
			return -EINVAL;
		port = slice_skip(port, 1);
	} else {
		host = slice_cut(text, ':', &port);
	}
	r = ip_parse(host, &ip);
	if (r < 0)
		return r;
	if (slice_to_u64(port, &number) < 0 || number > UINT16_MAX)
		return -EINVAL;
	*ret = (struct endpoint) { .kind = ENDPOINT_IP, .ip = ip, .port = (uint16_t) number };
	return 0;
}

const char *endpoint_format(const struct endpoint *e, char out[static ENDPOINT_TEXT])
{
	char ip[IP_TEXT];

	switch (e->kind) {
	case ENDPOINT_IP:
		snprintf(out, ENDPOINT_TEXT, e->ip.family == 6 ? "[%s]:%u" : "%s:%u", ip_format(&e->ip, ip), e->port);
		break;
	case ENDPOINT_UNIX:
		snprintf(out, ENDPOINT_TEXT, UNIX_PREFIX "%s", e->path);
		break;
	case ENDPOINT_NONE:
		snprintf(out, ENDPOINT_TEXT, "none");
		break;
	}
	return out;
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == ENDPOINT_UNIX)
		return strcmp(a->path, b->path) == 0;
	return a->kind == ENDPOINT_NONE || (a->port == b->port && ip_equal(&a->ip, &b->ip));
}

/* --- the Internet --------------------------------------------------------------------------------- */

/* An IPv4 address inside of one of IPv6, where a gateway may take it out: 6to4 (RFC 3056), NAT64 (RFC 6052). */
static bool find_embedded(const struct ip *ip, struct ip *ret)
{
	static const uint8_t nat64[12] = { 0x00, 0x64, 0xff, 0x9b };

	if (ip->family != 6)
		return false;
	if (memcmp(ip->bytes, nat64, sizeof(nat64)) == 0)
		*ret = ip_from_v4(ip->bytes + 12);
	else if (ip->bytes[0] == 0x20 && ip->bytes[1] == 0x02)
		*ret = ip_from_v4(ip->bytes + 2);
	else
		return false;
	return true;
}

bool ip_is_public(const struct ip *ip)
{
	static const char *const others[] = {
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3",
	};
	struct ip embedded;

	if (find_embedded(ip, &embedded))
		return ip_is_public(&embedded);
	if (ip->family == 6) /* global unicast */
		return (ip->bytes[0] & 0xe0) == 0x20;
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		struct cidr block;

		if (cidr_parse(slice_from(others[i]), &block) == 0 && cidr_contains(&block, ip))
			return false;
	}
	return ip->family == 4;
}
