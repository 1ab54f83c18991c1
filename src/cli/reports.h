/* What `yizhan dmarc` and `yizhan tlsrpt` share: reports seen, sent and read. */
#pragma once

#include "cli/cli.h"
#include "report/dmarc_report.h"
#include "report/tls_report.h"

/* The whole command of a kind. */
int cli_reports(const struct cli_command *self, enum report_kind kind, int argc, char **argv);

/* One report for people on standard output (reports_show.c), and as a JSON value, NULL when memory is out. */
void dmarc_report_print(const struct dmarc_report *r);
json_t *dmarc_report_json(const struct dmarc_report *r);
void tls_report_print(const struct tls_report *r);
json_t *tls_report_json(const struct tls_report *r);
