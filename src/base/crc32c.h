/* CRC-32C (Castagnoli), the checksum of the records in the spool. */
#pragma once

#include "base/macro.h"

/* The checksum of the bytes so far and `len` more: start with 0, then pass the result on. The machine's
 * own instruction is used where it has one; the values are the same everywhere. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

/* The portable way, for machines without the instruction and for the tests, which compare both. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len);
