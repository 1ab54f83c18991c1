#include "smtp/scan.h"

#ifdef __SSE2__
#include <immintrin.h>

#define STEP 64

/* The octets of a block as bits, the first octet in the lowest. */
struct block {
	uint64_t cr, lf, dot;
	bool nul, high; /* somewhere in it */
};

static uint64_t equal_bits(__m128i v, char c)
{
	return (unsigned) _mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(c)));
}

static bool scan_block(const char *p, unsigned *ret_at, uint64_t *ret_high)
{
	uint64_t hits = 0, high = 0;

	for (unsigned i = 0; i < STEP; i += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *) (const void *) (p + i));

		hits |= (equal_bits(v, '\r') | equal_bits(v, '\n') | equal_bits(v, '\0')) << i;
		high |= (uint64_t) (unsigned) _mm_movemask_epi8(v) << i; /* the top bit of each */
	}
	*ret_high = high;
	if (hits == 0)
		return false;
	*ret_at = (unsigned) __builtin_ctzll(hits);
	*ret_high = high & ((hits & -hits) - 1);
	return true;
}

static inline void load_sse2(const char *p, struct block *b)
{
	__m128i least = _mm_set1_epi8(-1), all = _mm_setzero_si128();

	*b = (struct block) { 0 };
	for (unsigned i = 0; i < STEP; i += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *) (const void *) (p + i));

		b->cr |= equal_bits(v, '\r') << i;
		b->lf |= equal_bits(v, '\n') << i;
		b->dot |= equal_bits(v, '.') << i;
		least = _mm_min_epu8(least, v);
		all = _mm_or_si128(all, v);
	}
	b->nul = equal_bits(least, '\0') != 0;
	b->high = _mm_movemask_epi8(all) != 0;
}

#define AVX2 __attribute__((target("avx2")))

AVX2 static inline uint64_t equal_bits_avx2(__m256i v, char c)
{
	return (unsigned) _mm256_movemask_epi8(_mm256_cmpeq_epi8(v, _mm256_set1_epi8(c)));
}

AVX2 static inline void load_avx2(const char *p, struct block *b)
{
	__m256i v = _mm256_loadu_si256((const __m256i *) (const void *) p);
	__m256i w = _mm256_loadu_si256((const __m256i *) (const void *) (p + 32));

	b->cr = equal_bits_avx2(v, '\r') | equal_bits_avx2(w, '\r') << 32;
	b->lf = equal_bits_avx2(v, '\n') | equal_bits_avx2(w, '\n') << 32;
	b->dot = equal_bits_avx2(v, '.') | equal_bits_avx2(w, '.') << 32;
	b->nul = equal_bits_avx2(_mm256_min_epu8(v, w), '\0') != 0;
	b->high = _mm256_movemask_epi8(_mm256_or_si256(v, w)) != 0;
}

/* In one piece with the function that loads, so that each set of instructions has a loop of its own. */
__attribute__((always_inline)) static inline size_t flawless(void (*load)(const char *, struct block *), const char *data,
							     size_t len, bool dots, struct scan_place *place, bool *eight_bit)
{
	uint64_t after_cr = place->after_cr, line_start = place->line_start;
	bool high = false;
	size_t i = 0;

	for (; len - i >= STEP; i += STEP) {
		struct block b;

		load(data + i, &b);
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
		*eight_bit |= high;
	}
	return i;
}

AVX2 static size_t flawless_avx2(const char *data, size_t len, bool dots, struct scan_place *place, bool *eight_bit)
{
	return flawless(load_avx2, data, len, dots, place, eight_bit);
}

size_t scan_flawless_everywhere(const char *data, size_t len, bool dots, struct scan_place *place, bool *eight_bit)
{
	return flawless(load_sse2, data, len, dots, place, eight_bit);
}

size_t scan_flawless(const char *data, size_t len, bool dots, struct scan_place *place, bool *eight_bit)
{
	return __builtin_cpu_supports("avx2") ? flawless_avx2(data, len, dots, place, eight_bit)
					      : scan_flawless_everywhere(data, len, dots, place, eight_bit);
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
size_t scan_flawless_everywhere(const char *data, size_t len, bool dots, struct scan_place *place, bool *eight_bit)
{
	return 0;
}

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
