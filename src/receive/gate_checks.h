/* The ready-made checks behind the rules (gate.h). Each returns 1 when there is nothing against the client, 0 with *ret when
 * it is refused, or -errno. */
#pragma once

#include "receive/gate.h"

/* For the observer: what a check has found. */
void gate_found(const struct gate_visit *v, enum gate_stage stage, const char *check, const char *format, ...) _printf_(4, 5);

/* Connections and places that a stage counts. */
int gate_count(struct gate_visit *v, enum gate_stage stage, enum rate_unit unit, struct gate_answer *ret);
int gate_take_places(struct gate_visit *v, enum gate_stage stage, struct gate_answer *ret);

int gate_check_lists(struct gate_visit *v, enum gate_stage stage, struct gate_answer *ret);
int gate_check_reverse(struct gate_visit *v, enum gate_stage stage, struct gate_answer *ret);
int gate_check_helo(struct gate_visit *v, enum gate_stage stage, struct gate_answer *ret);
int gate_check_sender_domain(struct gate_visit *v, struct gate_answer *ret);
int gate_check_recipient(struct gate_visit *v, struct gate_answer *ret);
int gate_check_greylist(struct gate_visit *v, struct gate_answer *ret);
