/* A zone, a resolver in front of it, an arena: what the tests of src/identity ask. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dns/zone.h"
#include "world/linux.h"

struct fixture {
	struct world *world;
	struct resolver *resolver;
	struct arena *arena;
};

static inline struct fixture open_zone(const char *text)
{
	struct fixture f;
	struct zone *zone;
	char *why;

	assert_int_equal(world_linux_new(NULL, &f.world), 0);
	assert_int_equal(arena_new(0, &f.arena), 0);
	if (zone_parse(slice_from(text), "test.zone", &zone, &why) < 0)
		fail_msg("%s", why);
	assert_int_equal(zone_resolver_new(f.world, zone, 0, &f.resolver), 0);
	return f;
}

static inline void close_zone(struct fixture *f)
{
	resolver_free(f->resolver);
	arena_free(f->arena);
	world_free(f->world);
}
