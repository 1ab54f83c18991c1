#include "cli/reports.h"

static int run(const struct cli_command *self, int argc, char **argv)
{
	return cli_reports(self, REPORT_DMARC, argc, argv);
}

const struct cli_command cli_dmarc = {
	.name = "dmarc",
	.summary = "aggregate reports: ours seen and sent, others' read",
	.usage = "Usage: yizhan dmarc show [DOMAIN]\n"
		 "       yizhan dmarc send [DOMAIN] [--dry-run]\n"
		 "       yizhan dmarc read FILE|MAILBOX...\n"
		 "\n"
		 "show    what was collected and not yet reported; of a domain, in full. Works with and without a\n"
		 "        running server.\n"
		 "send    has the running server send its reports now instead of tonight, the present day's part\n"
		 "        included; with --dry-run nothing leaves, and it is shown who would get what.\n"
		 "read    shows reports that others sent: XML, gzip, zip, a message, a mailbox file, a Maildir, or\n"
		 "        a directory of these.\n"
		 "\n"
		 "  -c, --config FILE     the server's configuration (default " CLI_CONFIG ")\n"
		 "      --json            as a JSON array\n"
		 "\n"
		 "Status 1: the server can't be asked or refused; for read, something held no report.\n",
	.run = run,
};
