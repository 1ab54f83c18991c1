/* The SQLite file of MTA-STS policies. Everything here blocks: at the start, or on a worker; from any thread. */
#pragma once

#include "base/log.h"
#include "base/slice.h"
#include "base/time.h"

struct sts_kept {
	const char *domain, *id;
	struct slice text;      /* of the policy */
	wall_t fetched, used;
};

struct sts_store;
/* Opens or makes the file and gives each policy in it. -EIO with *ret_why (on the heap); -ENOMEM. */
int sts_store_open(const char *path, void (*found)(const struct sts_kept *k, void *context), void *context, struct sts_store **ret,
		   char **ret_why);
void sts_store_close(struct sts_store *s);
DEFINE_FREEP(struct sts_store, sts_store_close)
/* 0 or -EIO. */
int sts_store_put(struct sts_store *s, const struct sts_kept *k);
int sts_store_remove(struct sts_store *s, const char *domain);
