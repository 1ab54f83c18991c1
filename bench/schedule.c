/* What does it cost to pick the next message among MESSAGES?
 *
 *	schedule MESSAGES PICKS
 *
 * To be run under callgrind, which counts the instructions of schedule_pick alone (bench/size does that):
 *	valgrind --tool=callgrind --collect-atstart=no --toggle-collect=schedule_pick schedule 1000000 10000 */
#include <stdio.h>

#include "unit/schedule_scene.h"

int main(int argc, char **argv)
{
	uint64_t n = argc == 3 ? strtoull(argv[1], NULL, 10) : 0, picks = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
	struct schedule s;

	if (n < 20) {
		fprintf(stderr, "Usage: schedule MESSAGES PICKS\n");
		return 2;
	}
	if (!schedule_fill(&s, n)) {
		fprintf(stderr, "No memory for %llu messages\n", (unsigned long long) n);
		return 1;
	}
	for (uint64_t i = 0; i < picks; i++)
		schedule_pick(&s);
	schedule_done(&s);
	return 0;
}
