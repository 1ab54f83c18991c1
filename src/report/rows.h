/* What happened, as the line of JSON that the store adds up by, and back again as the reports that are made of them. Pure.
 *
 * Two things that are to be counted as one give the same bytes. */
#pragma once

#include "identity/dmarc_sink.h"
#include "queue/tls_sink.h"
#include "report/dmarc_report.h"
#include "report/store.h"
#include "report/tls_report.h"

/* Appends. Check the buffers' errors. */
void dmarc_row_write(const struct dmarc_note *note, struct buffer *row);
void dmarc_policy_write(const struct dmarc_note *note, struct buffer *policy);
void tls_row_write(const struct tls_note *note, struct buffer *row);

/* Fills what the rows know: domain, policy and records. Rows that can't be read are left out. Everything lies in the arena
 * or in `data`. On a worker or another deep stack. 0, -ENOMEM; -ENOENT: nothing can be read. */
int dmarc_report_from(const struct report_data *data, struct arena *a, struct dmarc_report *ret);
int tls_report_from(const struct report_data *data, struct arena *a, struct tls_report *ret);
/* The value of rua=, or ruf=, in a policy; "" when there is none. NULL: memory is out. */
const char *dmarc_policy_tag(const char *policy, const char *tag, struct arena *a);
