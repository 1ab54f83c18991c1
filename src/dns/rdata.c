/* RDATA to records, and answers packed into one block. */
#include "dns/rdata.h"

#include <stdalign.h>
#include <stdio.h>

static int parse_name(struct slice rdata, size_t offset, struct arena *a, struct dns_record *ret)
{
	char text[DNS_NAME_TEXT];
	struct dns_name name;
	int r;

	if (rdata.len < offset)
		return -EBADMSG;
	r = dns_name_from_wire((const uint8_t *) rdata.data + offset, rdata.len - offset, &name);
	if (r < 0)
		return r;
	if ((size_t) r != rdata.len - offset)
		return -EBADMSG;
	ret->name = arena_strdup(a, dns_name_format(&name, text));
	return ret->name ? 0 : -ENOMEM;
}

/* RFC 1035 section 3.3.14: one or more strings with a length byte each; they are read as one text. */
static int parse_text(struct slice rdata, struct arena *a, struct dns_record *ret)
{
	char *text = arena_alloc(a, rdata.len + 1);
	size_t len = 0, at = 0;

	if (!text)
		return -ENOMEM;
	if (rdata.len == 0)
		return -EBADMSG;
	while (at < rdata.len) {
		size_t n = (uint8_t) rdata.data[at++];

		if (n > rdata.len - at)
			return -EBADMSG;
		memcpy(text + len, rdata.data + at, n);
		len += n;
		at += n;
	}
	text[len] = '\0';
	ret->data = slice_new(text, len);
	return 0;
}

static uint16_t get_u16(struct slice rdata, size_t offset)
{
	const uint8_t *p = (const uint8_t *) rdata.data + offset;

	return (uint16_t) (p[0] << 8 | p[1]);
}

int dns_record_parse(enum dns_type type, struct slice rdata, struct arena *a, struct dns_record *ret)
{
	struct dns_record record = { .data = SLICE_NULL };
	char *copy;
	int r = 0;

	switch (type) {
	case DNS_A:
		if (rdata.len != 4)
			return -EBADMSG;
		record.ip = ip_from_v4((const uint8_t *) rdata.data);
		break;
	case DNS_AAAA:
		if (rdata.len != 16)
			return -EBADMSG;
		record.ip = ip_from_v6((const uint8_t *) rdata.data);
		break;
	case DNS_MX:
		if (rdata.len < 2)
			return -EBADMSG;
		record.preference = get_u16(rdata, 0);
		r = parse_name(rdata, 2, a, &record);
		break;
	case DNS_SRV:
		if (rdata.len < 6)
			return -EBADMSG;
		record.preference = get_u16(rdata, 0);
		record.weight = get_u16(rdata, 2);
		record.port = get_u16(rdata, 4);
		r = parse_name(rdata, 6, a, &record);
		break;
	case DNS_NS:
	case DNS_CNAME:
	case DNS_PTR:
		r = parse_name(rdata, 0, a, &record);
		break;
	case DNS_TXT:
		r = parse_text(rdata, a, &record);
		break;
	default:
		copy = arena_slice(a, rdata);
		if (!copy)
			return -ENOMEM;
		record.data = slice_new(copy, rdata.len);
	}
	if (r < 0)
		return r;
	*ret = record;
	return 0;
}

/* --- packing --------------------------------------------------------------------------------------- */

static size_t text_size(const char *s)
{
	return s ? strlen(s) + 1 : 0;
}

size_t dns_answer_packed_size(const struct dns_answer *answer)
{
	size_t size = answer->n_records * sizeof(struct dns_record) + text_size(answer->canonical) + text_size(answer->why);

	for (unsigned i = 0; i < answer->n_records; i++) {
		const struct dns_record *record = &answer->records[i];

		size += text_size(record->name);
		if (record->data.data)
			size += record->data.len + 1;
	}
	return size;
}

static const char *pack_bytes(char **at, const char *data, size_t len)
{
	char *p = *at;

	memcpy(p, data, len);
	p[len] = '\0';
	*at = p + len + 1;
	return p;
}

static const char *pack_text(char **at, const char *s)
{
	return s ? pack_bytes(at, s, strlen(s)) : NULL;
}

void dns_answer_pack(const struct dns_answer *answer, void *block, struct dns_answer *ret)
{
	struct dns_record *records = block;
	char *at = (char *) (records + answer->n_records);
	struct dns_answer packed = *answer;

	packed.records = answer->n_records ? records : NULL;
	for (unsigned i = 0; i < answer->n_records; i++) {
		const struct dns_record *from = &answer->records[i];

		records[i] = *from;
		records[i].name = pack_text(&at, from->name);
		if (from->data.data)
			records[i].data.data = pack_bytes(&at, from->data.data, from->data.len);
	}
	packed.canonical = pack_text(&at, answer->canonical);
	packed.why = pack_text(&at, answer->why);
	*ret = packed;
}

int dns_answer_copy(const struct dns_answer *answer, struct arena *a, struct dns_answer *ret)
{
	void *block = arena_alloc(a, dns_answer_packed_size(answer));

	if (!block)
		return -ENOMEM;
	dns_answer_pack(answer, block, ret);
	return 0;
}

/* --- names of things ---------------------------------------------------------------------------------- */

const char *dns_type_name(enum dns_type type, char buffer[static 16])
{
	switch (type) {
	case DNS_A: return "A";
	case DNS_NS: return "NS";
	case DNS_CNAME: return "CNAME";
	case DNS_SOA: return "SOA";
	case DNS_PTR: return "PTR";
	case DNS_MX: return "MX";
	case DNS_TXT: return "TXT";
	case DNS_AAAA: return "AAAA";
	case DNS_SRV: return "SRV";
	case DNS_TLSA: return "TLSA";
	}
	snprintf(buffer, 16, "TYPE%u", (unsigned) type);
	return buffer;
}

const char *dns_status_name(enum dns_status status)
{
	switch (status) {
	case DNS_OK: return "OK";
	case DNS_NODATA: return "NODATA";
	case DNS_NXDOMAIN: return "NXDOMAIN";
	case DNS_SERVFAIL: return "SERVFAIL";
	case DNS_TIMEOUT: return "TIMEOUT";
	case DNS_BOGUS: return "BOGUS";
	}
	return "?";
}
