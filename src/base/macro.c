#include "base/macro.h"

#include <stdlib.h>
#include <string.h>

void freep(void *p)
{
	void *victim;

	/* p points to a pointer of any type; copying its bytes keeps the aliasing rules. */
	memcpy(&victim, p, sizeof(victim));
	free(victim);
}
