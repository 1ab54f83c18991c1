#include "smtp/scan.h"

#ifdef __SSE2__
#include <emmintrin.h>

#define STEP 64

/* The octets of a block as bits, the first octet in the lowest. */
struct block {
	uint64_t cr, lf, nul, dot, high;
};

static uint64_t equal_bits(__m128i v, char c)
{
	return (unsigned) _mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(c)));
}

static inline void block_load(const char *p, struct block *b)
{
	*b = (struct block) { 0 };
	for (unsigned i = 0; i < STEP; i += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *) (const void *) (p + i));

		b->cr |= equal_bits(v, '\r') << i;
		b->lf |= equal_bits(v, '\n') << i;
		b->nul |= equal_bits(v, '\0') << i;
		b->dot |= equal_bits(v, '.') << i;
		b->high |= (uint64_t) (unsigned) _mm_movemask_epi8(v) << i; /* the top bit of each */
	}
}

static bool scan_block(const char *p, unsigned *ret_at, uint64_t *ret_high)
{
	struct block b;
	uint64_t hits;

	block_load(p, &b);
	hits = b.cr | b.lf | b.nul;
	*ret_high = b.high;
	if (hits == 0)
		return false;
	*ret_at = (unsigned) __builtin_ctzll(hits);
	*ret_high = b.high & ((hits & -hits) - 1);
	return true;
}

size_t scan_flawless(const char *data, size_t len, bool dots, struct scan_place *place, bool *eight_bit)
{
	uint64_t after_cr = place->after_cr, line_start = place->line_start, high = 0;
	size_t i = 0;

	for (; len - i >= STEP; i += STEP) {
		struct block b;

		block_load(data + i, &b);
		/* The LFs stand exactly behind the CRs: neither is ever alone, and no CR follows a CR. */
		if (b.lf != (b.cr << 1 | after_cr) || b.nul)
			break;
		if (dots && (b.dot & (b.lf << 1 | line_start)))
			break;
		after_cr = b.cr >> (STEP - 1);
		line_start = b.lf >> (STEP - 1);
		high |= b.high;
	}
	if (i > 0) {
		*place = (struct scan_place) { .line_start = line_start, .after_cr = after_cr };
		*eight_bit |= high != 0;
	}
	return i;
}
#else
#define STEP 8
#define ONES 0x0101010101010101ull
#define TOPS 0x8080808080808080ull

/* The exact test for a zero octet; the cheaper one also reports octets above the first hit wrongly, which
 * only matters on big-endian machines, but there it does. */
static uint64_t zero_octets(uint64_t v)
{
	return ~(((v & ~TOPS) + ~TOPS) | v | ~TOPS);
}

static bool scan_block(const char *p, unsigned *ret_at, uint64_t *ret_high)
{
	uint64_t v, hits;

	memcpy(&v, p, sizeof(v));
	hits = zero_octets(v) | zero_octets(v ^ ('\r' * ONES)) | zero_octets(v ^ ('\n' * ONES));
	*ret_high = v & TOPS;
	if (hits == 0)
		return false;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	*ret_at = (unsigned) __builtin_clzll(hits) / 8;
	*ret_high = *ret_at == 0 ? 0 : v & TOPS & ~(UINT64_MAX >> (8 * *ret_at));
#else
	*ret_at = (unsigned) __builtin_ctzll(hits) / 8;
	*ret_high = v & TOPS & ((1ull << (8 * *ret_at)) - 1);
#endif
	return true;
}

/* Without an instruction that gathers bits from a vector there is nothing to be won. */
size_t scan_flawless(const char *data, size_t len, bool dots, struct scan_place *place, bool *eight_bit)
{
	return 0;
}
#endif

size_t scan_text(const char *data, size_t len, bool *eight_bit)
{
	size_t i = 0;
	uint64_t high = 0, all_high = 0;
	unsigned at = 0;
	bool found = false;

	while (len - i >= STEP && !found) {
		found = scan_block(data + i, &at, &high);
		all_high |= high;
		i += found ? at : STEP;
	}
	for (; i < len && !found; i++) {
		char c = data[i];

		if (c == '\r' || c == '\n' || c == '\0')
			break;
		all_high |= (unsigned char) c & 0x80;
	}
	if (all_high)
		*eight_bit = true;
	return i;
}
