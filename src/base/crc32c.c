#include "base/crc32c.h"

#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#include <wmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>

#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif
#endif

/* table[k][b] is the CRC of byte b with k zero bytes behind it. A CRC is linear: that of a byte is the
 * exclusive or of those of its bits, so that the eight values for the single bits of a row are enough
 * to have the compiler write down all 256. */
#define BIT(b, n, v) ((b) >> (n) & 1 ? (v) : 0u)
#define E(b, r) r(b)
#define E4(b, r) E(b, r), E((b) + 1, r), E((b) + 2, r), E((b) + 3, r)
#define E16(b, r) E4(b, r), E4((b) + 4, r), E4((b) + 8, r), E4((b) + 12, r)
#define E64(b, r) E16(b, r), E16((b) + 16, r), E16((b) + 32, r), E16((b) + 48, r)
#define ROW(r) { E64(0, r), E64(64, r), E64(128, r), E64(192, r) }
#define BITS(b, v0, v1, v2, v3, v4, v5, v6, v7)                                       \
	(BIT(b, 0, v0) ^ BIT(b, 1, v1) ^ BIT(b, 2, v2) ^ BIT(b, 3, v3) ^ BIT(b, 4, v4) ^ \
	 BIT(b, 5, v5) ^ BIT(b, 6, v6) ^ BIT(b, 7, v7))

#define R0(b) \
	BITS(b, 0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf, \
	     0x105ec76f, 0x20bd8ede, 0x417b1dbc, 0x82f63b78)
#define R1(b) \
	BITS(b, 0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8, \
	     0x3fc5f181, 0x7f8be302, 0xff17c604, 0xfbc3faf9)
#define R2(b) \
	BITS(b, 0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5, \
	     0x70a27d8a, 0xe144fb14, 0xc76580d9, 0x8b277743)
#define R3(b) \
	BITS(b, 0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6, \
	     0xe964b13d, 0xd725148b, 0xaba65fe7, 0x52a0c93f)
#define R4(b) \
	BITS(b, 0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91, \
	     0x8f2261d3, 0x1ba8b557, 0x37516aae, 0x6ea2d55c)
#define R5(b) \
	BITS(b, 0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f, \
	     0xc00c303e, 0x85f4168d, 0x0e045beb, 0x1c08b7d6)
#define R6(b) \
	BITS(b, 0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53, \
	     0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a, 0xf56e0ef4)
#define R7(b) \
	BITS(b, 0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da, \
	     0x847609b4, 0x0d006599, 0x1a00cb32, 0x34019664)

static const uint32_t table[8][256] = { ROW(R0), ROW(R1), ROW(R2), ROW(R3), ROW(R4), ROW(R5), ROW(R6), ROW(R7) };

static inline uint32_t load_u32(const unsigned char *p)
{
	return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

/* Eight bytes at a time: each of them looks up its share of the new CRC in the row for the number of
 * bytes that follow it. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;

	crc = ~crc;
	for (; len >= 8; p += 8, len -= 8) {
		uint32_t low = crc ^ load_u32(p), high = load_u32(p + 4);

		crc = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff] ^
		      table[4][low >> 24] ^ table[3][high & 0xff] ^ table[2][high >> 8 & 0xff] ^
		      table[1][high >> 16 & 0xff] ^ table[0][high >> 24];
	}
	for (; len > 0; p++, len--)
		crc = crc >> 8 ^ table[0][(crc ^ *p) & 0xff];
	return ~crc;
}

#if defined(__x86_64__)

static inline uint64_t word_at(const unsigned char *p)
{
	uint64_t word;

	memcpy(&word, p, 8);
	return word;
}

/* The instruction takes three cycles but one can begin in each: three checksums, of three stretches side by side, cost
 * what one costs. LANE zero bytes behind a checksum multiply it by x^(8 LANE) modulo the polynomial; multiplied without
 * carry by x^(8 LANE - 33) it is that, but for the x^33 that the next instruction brings along. */
#define LANE 512u
#define BEHIND_ONE_LANE 0xdd7e3b0c  /* x^(8 * 512 - 33), bits reflected */
#define BEHIND_TWO_LANES 0x170076fa /* x^(8 * 1024 - 33) */

__attribute__((target("sse4.2,pclmul"))) static uint64_t three_lanes(uint64_t crc, const unsigned char *p)
{
	const __m128i factors = _mm_set_epi64x(BEHIND_ONE_LANE, BEHIND_TWO_LANES);
	uint64_t first = crc, second = 0, third = 0, moved;
	__m128i product;

	for (const unsigned char *end = p + LANE; p < end; p += 8) {
		first = _mm_crc32_u64(first, word_at(p));
		second = _mm_crc32_u64(second, word_at(p + LANE));
		third = _mm_crc32_u64(third, word_at(p + 2 * (size_t) LANE));
	}
	product = _mm_xor_si128(_mm_clmulepi64_si128(_mm_cvtsi64_si128((long long) first), factors, 0x00),
				_mm_clmulepi64_si128(_mm_cvtsi64_si128((long long) second), factors, 0x10));
	moved = (uint64_t) _mm_cvtsi128_si64(product);
	return _mm_crc32_u64(0, moved) ^ third;
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_machine(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t wide = ~crc;

	if (len >= 3 * LANE && __builtin_cpu_supports("pclmul"))
		for (; len >= 3 * LANE; p += 3 * (size_t) LANE, len -= 3 * (size_t) LANE)
			wide = three_lanes(wide, p);
	for (; len >= 8; p += 8, len -= 8)
		wide = _mm_crc32_u64(wide, word_at(p));
	crc = (uint32_t) wide;
	for (; len > 0; p++, len--)
		crc = _mm_crc32_u8(crc, *p);
	return ~crc;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
	/* libgcc asked the processor before main began; this only looks at the answer. */
	return __builtin_cpu_supports("sse4.2") ? crc32c_machine(crc, data, len) : crc32c_portable(crc, data, len);
}

#elif defined(__aarch64__)

/* Optional in ARMv8.0, part of every processor from ARMv8.1 on. */
__attribute__((target("+crc"))) static uint32_t crc32c_machine(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;

	crc = ~crc;
	for (; len >= 8; p += 8, len -= 8)
		crc = __crc32cd(crc, (uint64_t) load_u32(p + 4) << 32 | load_u32(p));
	for (; len > 0; p++, len--)
		crc = __crc32cb(crc, *p);
	return ~crc;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
	/* The kernel said it when the program began; the C library only looks at what it noted then. */
	return getauxval(AT_HWCAP) & HWCAP_CRC32 ? crc32c_machine(crc, data, len) : crc32c_portable(crc, data, len);
}

#else

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
	return crc32c_portable(crc, data, len);
}

#endif
