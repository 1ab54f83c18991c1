/* For tests of the spool: one simulated machine, messages whose content follows from their id, and a list of what
 * a recovery found. */
#pragma once

#include "spool/spool.h"
#include "world/fiber.h"
#include "world/sim.h"

#define SCENE_MESSAGES 4096

struct scene_message {
	msgid_t id;
	uint64_t size;
	uint32_t note; /* as the note says; 0: empty */
	bool wrong;    /* size, envelope or note are not those of this id */
};

struct scene {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct loop *loop;
	struct spool *spool;
	struct spool_config config;
	struct log log;
	unsigned lines[LOG_CRITICAL + 1]; /* of the log, by level */
	struct spool_recovery recovery;
	struct scene_message found[SCENE_MESSAGES];
	unsigned found_count;
	bool stop_found; /* found() returns -ECANCELED */
};

void scene_begin(struct scene *c, uint64_t seed); /* an empty machine, a spool of small segments in /spool */
void scene_end(struct scene *c);                  /* closes what is open */
int scene_open(struct scene *c);                  /* what spool_open returns */
void scene_close(struct scene *c);
void scene_reopen(struct scene *c);
/* The power goes, the machine boots, the spool is opened again. */
void scene_crash(struct scene *c);
/* The power went: closes what is left of the old world and boots. The spool is not opened. */
void scene_restart(struct scene *c);

/* Runs fn in a fiber until it returns. */
int scene_run(struct scene *c, int (*fn)(struct scene *c, void *arg), void *arg);
void scene_pass(struct scene *c, usec_t time); /* lets time pass */

/* The following from within a fiber. Content: byte i of message id is scene_byte(id, i). */
char scene_byte(msgid_t id, uint64_t i);
int scene_commit(struct scene *c, msgid_t id, uint64_t size);
/* The same, but its first bytes, so many, are put in front when the others are there. */
int scene_commit_front(struct scene *c, msgid_t id, uint64_t size, uint64_t front);
int scene_note(struct scene *c, msgid_t id, uint32_t note, bool sync);
/* Reads the whole message: 0 when every byte is right, -EILSEQ when one is not, or what the spool returned. */
int scene_check(struct scene *c, msgid_t id, uint64_t size);

/* From outside. */
const struct scene_message *scene_find(const struct scene *c, msgid_t id);
/* Reads a file of the machine as a whole; to be freed. */
unsigned char *scene_file(struct scene *c, const char *path, size_t *ret_len);
void scene_write_file(struct scene *c, const char *path, const unsigned char *data, size_t len);
unsigned scene_count_files(struct scene *c, const char *directory, const char *containing);
