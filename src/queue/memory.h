/* What is remembered of sites that are forgotten otherwise: a site without mail goes after some minutes, a restart takes
 * them all. What its window, its pace and its usual answers were is kept here, by key, and given back when the site is made
 * again.
 *
 * It belongs to the home that owned the site. Every ten minutes, when something has changed, and at the end, everything is
 * written to a file (learned.h), and read when the queue starts: in the spool's directory, mode 0600. What is older than a
 * day counts for nothing, and a home remembers MEMORIES_MAX sites at most, those that were used last. */
#pragma once

#include "queue/learned.h"

#define MEMORIES_MAX 10000u
#define MEMORY_INTERVAL (10 * USEC_MIN)
#define MEMORY_AGES USEC_DAY

struct home;
struct queue;
struct site;

/* The site is about to be forgotten. */
void memory_keep(struct site *s);
/* It is made again. */
void memory_recall(struct site *s);
/* Reads the file, before the queue moves. A damaged one is left out, with a warning. -ENOMEM. */
int memory_load(struct queue *q);
/* Writes it, in a fiber of its own; by the keeper of the first home. */
void memory_save_soon(struct home *h);
/* The last writing, when no home has work any more: each home adds what it has, then it is written. */
void memory_collect(struct home *h);
void memory_save_last(struct queue *q);
void memory_free_all(struct home *h);
