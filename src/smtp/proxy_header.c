#include "smtp/proxy_header.h"

#include "base/crc32c.h"

#define V1_MAX 107u /* with its CRLF */
#define V2_HEAD 16u
#define TLV_HEAD 3u
#define TLV_CRC32C 0x03

static const uint8_t v2_signature[12] = { '\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n' };

static unsigned get_u16(const uint8_t *p)
{
	return (unsigned) p[0] << 8 | p[1];
}

/* --- version 1: a line of text ---------------------------------------------------------------------------- */

static bool take_port(struct slice text, uint16_t *ret)
{
	uint64_t n;

	/* No leading zeros: "00025" is not written by anybody who means it. */
	if (slice_to_u64(text, &n) < 0 || n > UINT16_MAX || (text.len > 1 && text.data[0] == '0'))
		return false;
	*ret = (uint16_t) n;
	return true;
}

static bool take_ip(struct slice text, unsigned family, struct endpoint *ret)
{
	struct ip ip;
	bool colon = slice_find(text, ':') >= 0;

	/* A wrapped IPv4 address has become one already, so the form tells the family. */
	if (ip_parse(text, &ip) < 0 || colon != (family == 6))
		return false;
	*ret = (struct endpoint) { .kind = ENDPOINT_IP, .ip = ip };
	return true;
}

static int parse_line(struct slice line, struct proxy_header *ret)
{
	struct slice rest, word, source, target, source_port;
	struct proxy_header h = { .kind = PROXY_CLIENT, .version = 1 };
	unsigned family;

	slice_cut(line, ' ', &rest); /* "PROXY" */
	word = slice_cut(rest, ' ', &rest);
	if (slice_eq_str(word, "UNKNOWN")) {
		/* Whatever stands behind it is to be passed over. */
		*ret = (struct proxy_header) { .kind = PROXY_UNKNOWN, .version = 1 };
		return 1;
	}
	family = slice_eq_str(word, "TCP4") ? 4 : slice_eq_str(word, "TCP6") ? 6 : 0;
	source = slice_cut(rest, ' ', &rest);
	target = slice_cut(rest, ' ', &rest);
	source_port = slice_cut(rest, ' ', &rest);
	if (family == 0 || !take_ip(source, family, &h.client) || !take_ip(target, family, &h.server) ||
	    !take_port(source_port, &h.client.port) || !take_port(rest, &h.server.port))
		return -EBADMSG;
	*ret = h;
	return 1;
}

static int parse_v1(struct slice in, struct proxy_header *ret, size_t *ret_len)
{
	struct slice line = slice_head(in, V1_MAX);
	ssize_t lf = slice_find(line, '\n');
	int r;

	if (lf < 0)
		return in.len >= V1_MAX ? -EBADMSG : 0;
	if (lf == 0 || line.data[lf - 1] != '\r')
		return -EBADMSG;
	r = parse_line(slice_head(line, (size_t) lf - 1), ret);
	if (r > 0)
		*ret_len = (size_t) lf + 1;
	return r;
}

/* --- version 2: binary ------------------------------------------------------------------------------------- */

static struct endpoint unix_endpoint(const uint8_t path[static ENDPOINT_PATH])
{
	struct endpoint e = { .kind = ENDPOINT_UNIX };

	memcpy(e.path, path, ENDPOINT_PATH - 1);
	return e;
}

/* The octets of the addresses, or -EBADMSG. */
static int parse_addresses(unsigned family, const uint8_t *p, size_t len, struct proxy_header *h)
{
	switch (family) {
	case 1:
		if (len < 12)
			return -EBADMSG;
		h->client = (struct endpoint) { .kind = ENDPOINT_IP, .ip = ip_from_v4(p), .port = (uint16_t) get_u16(p + 8) };
		h->server = (struct endpoint) { .kind = ENDPOINT_IP, .ip = ip_from_v4(p + 4), .port = (uint16_t) get_u16(p + 10) };
		return 12;
	case 2:
		if (len < 36)
			return -EBADMSG;
		h->client = (struct endpoint) { .kind = ENDPOINT_IP, .ip = ip_from_v6(p), .port = (uint16_t) get_u16(p + 32) };
		h->server = (struct endpoint) { .kind = ENDPOINT_IP, .ip = ip_from_v6(p + 16), .port = (uint16_t) get_u16(p + 34) };
		return 36;
	case 3:
		if (len < 2 * ENDPOINT_PATH)
			return -EBADMSG;
		h->client = unix_endpoint(p);
		h->server = unix_endpoint(p + ENDPOINT_PATH);
		return 2 * ENDPOINT_PATH;
	default:
		return -EBADMSG;
	}
}

/* The checksum is made over the whole header with its own place as zeros. */
static bool checksum_holds(const uint8_t *header, size_t len, size_t at)
{
	static const uint8_t zeros[4];
	uint32_t sum = crc32c(0, header, at);

	sum = crc32c(sum, zeros, sizeof(zeros));
	sum = crc32c(sum, header + at + 4, len - at - 4);
	return sum == ((uint32_t) get_u16(header + at) << 16 | get_u16(header + at + 2));
}

/* All additions are passed over, but a checksum must hold. */
static int check_additions(const uint8_t *header, size_t at, size_t len)
{
	while (at < len) {
		size_t size;

		if (len - at < TLV_HEAD)
			return -EBADMSG;
		size = get_u16(header + at + 1);
		if (size > len - at - TLV_HEAD)
			return -EBADMSG;
		if (header[at] == TLV_CRC32C && (size != 4 || !checksum_holds(header, len, at + TLV_HEAD)))
			return -EBADMSG;
		at += TLV_HEAD + size;
	}
	return 0;
}

static int parse_v2(struct slice in, struct proxy_header *ret, size_t *ret_len)
{
	const uint8_t *p = (const uint8_t *) in.data;
	struct proxy_header h = { .kind = PROXY_UNKNOWN, .version = 2 };
	unsigned command, family, transport;
	size_t len;
	int used = 0;

	if (in.len < V2_HEAD)
		return 0;
	command = p[12];
	family = p[13] >> 4;
	transport = p[13] & 15;
	len = V2_HEAD + get_u16(p + 14);
	if (command != 0x20 && command != 0x21)
		return -EBADMSG;
	if (len > PROXY_HEADER_MAX)
		return -E2BIG;
	if (in.len < len)
		return 0;
	if (command == 0x20) {
		*ret = (struct proxy_header) { .kind = PROXY_LOCAL, .version = 2 };
		*ret_len = len;
		return 1;
	}
	if (family > 3 || transport > 2)
		return -EBADMSG;
	if (family != 0 && transport == 1) { /* others than streams are no mail clients */
		used = parse_addresses(family, p + V2_HEAD, len - V2_HEAD, &h);
		if (used < 0)
			return used;
		h.kind = PROXY_CLIENT;
		if (check_additions(p, V2_HEAD + (size_t) used, len) < 0)
			return -EBADMSG;
	}
	*ret = h;
	*ret_len = len;
	return 1;
}

int proxy_header_parse(struct slice in, struct proxy_header *ret, size_t *ret_len)
{
	if (in.len == 0)
		return 0;
	if (memcmp(in.data, v2_signature, MIN(in.len, sizeof(v2_signature))) == 0)
		return parse_v2(in, ret, ret_len);
	if (memcmp(in.data, "PROXY ", MIN(in.len, (size_t) 6)) == 0)
		return parse_v1(in, ret, ret_len);
	return -EBADMSG;
}
